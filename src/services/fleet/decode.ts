/** From the text of a check-in's answer to what is delivered. One action that cannot be read costs the others nothing. */
import { z } from 'zod';
import { asHoldfastError } from '../../errors.ts';
import type { DeliveredAction } from '../../machines/facts.ts';
import type { Decoded } from '../../machines/gateway-context.ts';
import { canonicalJson } from '../../policy/canonical.ts';
import { type PolicyBody, policyBody } from '../../policy/identity.ts';
import { getOwn, isObject, type JsonValue, parseJson } from '../../policy/json.ts';
import { type Action, describeIssues, parseCheckinResponse, type ReceivedAction } from '../../wire/fleet.ts';
import { sliceArray, sliceObject } from './json-slices.ts';

/** An action as far as it could be read, and the policy text of one that could not be parsed. */
type Read = ReceivedAction & { readonly rawPolicy?: string };

/**
 * Of several policies the newest wins; the empty policy of a graceful forced unenrollment is delivered as one, with the text `{}`. A policy
 * that is not usable JSON is delivered with its bytes, so that it is rejected like any other bad one. Actions without an id cannot be
 * answered and are left out, which `onDropped` is told in a sentence.
 */
export function decodeAnswer(text: string, onDropped: (message: string) => void = () => {}): Decoded {
  try {
    const { token, actions } = readAnswer(text);
    const policies: PolicyBody[] = [];
    const others: DeliveredAction[] = [];
    for (const received of actions) {
      const policy = policyOf(received);
      if (policy !== null) policies.push(policy);
      else if (received.ok) others.push(deliveredAction(received.action));
      else if (received.id !== null) others.push(undecodable(received.id, received.type ?? '', received.problem));
      else
        onDropped(
          `Fleet sent an action${ofType(received.type)} that cannot be answered: ${received.problem}; it is ignored`,
        );
    }
    return {
      kind: 'decoded',
      token: token === '' ? null : token,
      actions: others,
      policy: policies.reduce<PolicyBody | null>(newer, null),
    };
  } catch (thrown) {
    const why = thrown instanceof z.ZodError ? describeIssues(thrown) : asHoldfastError(thrown).message;
    return {
      kind: 'garbage',
      problem: { code: 'FLEET_GARBAGE', message: `the answer to the check-in cannot be used: ${why}` },
    };
  }
}

function readAnswer(text: string): { readonly token: string; readonly actions: readonly Read[] } {
  let whole: JsonValue;
  try {
    whole = parseJson(text);
  } catch (thrown) {
    const apart = readApart(text);
    if (apart === null) throw thrown;
    return apart;
  }
  const { ackToken, actions } = parseCheckinResponse(whole);
  return { token: ackToken, actions };
}

/** The answer action by action, when it cannot be parsed as a whole; null when it cannot be taken apart either. */
function readApart(text: string): { readonly token: string; readonly actions: readonly Read[] } | null {
  const parts = sliceObject(text);
  const actions = sliceArray(parts?.get('actions') ?? '');
  if (parts == null || actions === null) return null;
  const around = [...parts].filter(([key]) => key !== 'actions');
  const rest = around.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(',');
  const { ackToken } = parseCheckinResponse(parseJson(`{${rest}}`));
  return { token: ackToken, actions: actions.map(readOne) };
}

function readOne(text: string): Read {
  try {
    const wrapped = parseCheckinResponse({ action: 'checkin', actions: [parseJson(text)] });
    return wrapped.actions[0] as Read;
  } catch (thrown) {
    const parts = sliceObject(text);
    const named = (key: string): string | null => {
      const raw = parts?.get(key) ?? '';
      return /^"[^"\\]+"$/.test(raw) ? raw.slice(1, -1) : null;
    };
    const rawPolicy = sliceObject(parts?.get('data') ?? '')?.get('policy');
    const problem = asHoldfastError(thrown).message.replace('the policy is', 'it is');
    return {
      ok: false,
      id: named('id'),
      type: named('type'),
      data: undefined,
      problem,
      ...(rawPolicy === undefined ? {} : { rawPolicy }),
    };
  }
}

function policyOf(received: Read): PolicyBody | null {
  if (!received.ok) {
    const { id, type, rawPolicy, data } = received;
    if (type !== 'POLICY_CHANGE' || id === null) return null;
    // What is wrong with the rest of the action says nothing about its policy.
    const policy = rawPolicy ?? (isObject(data) ? getOwn(data, 'policy') : undefined);
    return policy === undefined ? null : policyBody(policy, { id });
  }
  if (received.action.type !== 'POLICY_CHANGE') return null;
  const { data, id } = received.action;
  const policy = isObject(data) ? getOwn(data, 'policy') : undefined;
  return policy === undefined ? null : policyBody(policy, { id });
}

const ofType = (type: string | null): string => (type === null ? '' : ` of type ${type}`);

function newer(before: PolicyBody | null, policy: PolicyBody): PolicyBody {
  return before !== null && before.id === policy.id && before.revision > policy.revision ? before : policy;
}

function deliveredAction(action: Action): DeliveredAction {
  if (action.type === 'POLICY_CHANGE') return undecodable(action.id, action.type, 'data.policy: it carries no policy');
  return {
    id: action.id,
    type: action.type,
    data: action.data === undefined || action.data === null ? null : canonicalJson(action.data),
    inputType: action.input_type || null,
    startTime: instantOf(action.start_time),
    expiration: instantOf(action.expiration),
    undecodable: null,
  };
}

function undecodable(id: string, type: string, problem: string): DeliveredAction {
  return { id, type, data: null, inputType: null, startTime: null, expiration: null, undecodable: problem };
}

function instantOf(instant: string | null): number | null {
  return instant === null ? null : Date.parse(instant);
}
