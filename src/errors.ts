/**
 * Every error Holdfast can show, in one table: a stable code, the exit code of a command that ends with it, and whether trying
 * the same thing again can help. Codes are never reused. The sentence is written where the error is raised, because only there
 * the place and the cause are known; `help` says what to do about it.
 */

/** Exit codes of every command (design, section 9). */
export const EXIT = { success: 0, failure: 1, usage: 2, notEnrolled: 3, notRunning: 4 } as const;

interface ErrorEntry {
  readonly exit: number;
  readonly retryable: boolean;
  readonly help: string;
}

const terminal = (help: string, exit: number = EXIT.failure): ErrorEntry => ({ exit, retryable: false, help });
const retryable = (help: string, exit: number = EXIT.failure): ErrorEntry => ({ exit, retryable: true, help });

export const ERRORS = {
  // usage, settings, control socket
  USAGE: terminal('See `holdfast --help`.', EXIT.usage),
  SETTINGS_INVALID: terminal('Correct the option, the variable or the settings file at the place named.', EXIT.usage),
  NOT_ENROLLED: terminal('Run `holdfast enroll --url URL --enrollment-token TOKEN` first.', EXIT.notEnrolled),
  NOT_RUNNING: terminal('Start the daemon with `holdfast run`.', EXIT.notRunning),
  CONTROL_REFUSED: terminal('Use the user the daemon runs as, or root.'),
  CONTROL_FAILED: retryable('See `holdfast logs`.'),
  NOTHING_TO_RETRY: terminal('See `holdfast status` for what runs, and why.'),
  DIAGNOSTICS_FAILED: terminal('Name another file with -f, where there is space and you may write.'),
  ARCHIVE_UNREADABLE: terminal('Open a file that `holdfast diagnostics` wrote; when a copy is damaged, copy it again.'),
  INTERNAL: terminal('This is a fault in Holdfast: please report it with the file that `holdfast diagnostics` writes.'),

  // state directory
  HOME_LOCKED: terminal('Another daemon runs on this home; stop it or use another --home.'),
  HOME_UNUSABLE: terminal('Create the directory or correct its owner and mode.'),
  STORE_WRITE_FAILED: retryable('Free space or make the file system writable; Holdfast goes on trying.'),
  STORE_UNREADABLE: terminal('What was unreadable is in state/quarantine; Fleet is asked for the policy again.'),
  STORE_READ_FAILED: retryable(
    'Check the disk. Holdfast goes on trying, and sets aside in the end what it cannot read.',
  ),
  STORE_READABLE_AGAIN: retryable('There is nothing to do: the agent begins anew with what it can read now.'),
  KEY_UNAVAILABLE: terminal(
    'Put the key back where it was, or name a file that holds it; see `holdfast rekey --help`.',
  ),
  IDENTITY_UNREADABLE: terminal('Enroll again with `holdfast enroll --force`.', EXIT.notEnrolled),

  // policy
  POLICY_UNPARSABLE: terminal('Correct the policy at the place named.'),
  POLICY_RENDER_FAILED: terminal('Correct the policy, the spec or the template at the place named.'),
  SPEC_INVALID: terminal('Correct the spec file at the place named.'),
  COMPONENT_UNHEALTHY: retryable('See `holdfast logs --component ID`.'),
  COMPONENT_START_FAILED: retryable('See `holdfast logs --component ID`.'),

  // Fleet
  FLEET_UNREACHABLE: retryable('Check the URL, the network and the proxy settings.'),
  FLEET_UNAUTHORISED: retryable('Fleet does not know this agent any more; enroll again if that is not temporary.'),
  FLEET_REFUSED: retryable('Fleet answered with an error: its own log says more. The same can work later.'),
  FLEET_UNSUPPORTED_VERSION: retryable('Set `fleet.agent_version` to a version that this Fleet Server accepts.'),
  FLEET_GARBAGE: retryable('Something between here and Fleet answers in its place: check URL and proxy.'),
  FLEET_TLS: retryable('Name the CA with `fleet.ssl.certificate_authorities` (or --ca).'),
  ENROLL_REFUSED: terminal('Check the enrollment token.'),
  ENROLL_INTERRUPTED: terminal('Run it again: it goes on with the same enrollment and makes no second agent.'),

  // the embedded Fleet server
  SERVER_POLICIES: terminal('Name a directory with one `<policy id>.yml` a policy.', EXIT.usage),
  SERVER_STATE: terminal('Correct owner, mode or space of the state directory, or name another with --state.'),
  SERVER_LISTEN: terminal('Stop what uses the address, or name another with --listen.'),
  SERVER_NOT_RUNNING: terminal(
    'Start it with `holdfast fleet --policies DIR`, or name its state directory with --state.',
    EXIT.notRunning,
  ),
  SERVER_REFUSED: terminal('See `holdfast fleet agents` for the agents and policies there are.'),
} as const satisfies Record<string, ErrorEntry>;

/** A stable error code; a key of {@link ERRORS}. */
export type ErrorCode = keyof typeof ERRORS;

/** The one error class. `message` is a sentence that names the place and the cause. */
export class HoldfastError extends Error {
  override readonly name = 'HoldfastError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  get exitCode(): number {
    return ERRORS[this.code].exit;
  }

  get retryable(): boolean {
    return ERRORS[this.code].retryable;
  }

  get help(): string {
    return ERRORS[this.code].help;
  }
}

/** The plain-JSON form of an error, for machine contexts and events. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
}

/** Turns anything thrown into a {@link HoldfastError}, keeping it as the cause. `fallback` names what was being done. */
export function asHoldfastError(thrown: unknown, fallback: ErrorCode = 'INTERNAL', doing?: string): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new HoldfastError(fallback, doing ? `${doing}: ${text}` : text, { cause: thrown });
}

/** {@link asHoldfastError} as plain JSON. */
export function asProblem(thrown: unknown, fallback: ErrorCode = 'INTERNAL', doing?: string): Problem {
  const error = asHoldfastError(thrown, fallback, doing);
  return { code: error.code, message: error.message };
}
