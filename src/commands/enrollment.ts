/** Enrollment put together: the enrollment chart, the Fleet client and the identity file. */
import { randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { createActor, fromPromise, type InspectionEvent, toPromise } from 'xstate';
import { HoldfastError } from '../errors.ts';
import { type AdoptInput, enrollmentMachine, type PendingEnrollment } from '../machines/enrollment.ts';
import { emptyFacts } from '../machines/facts.ts';
import { absolutePem, checkPem } from '../services/fleet/pem.ts';
import { enrollPorts } from '../services/fleet/ports.ts';
import { systemClock } from '../services/host/clock.ts';
import { hostFacts, machineId } from '../services/host/host.ts';
import { watchForSleep } from '../services/host/sleep.ts';
import type { EncryptionSettings } from '../services/settings/settings.ts';
import { withIdentity } from '../services/settings/with-identity.ts';
import { type Files, nodeFiles } from '../services/store/files.ts';
import { readIdentity, writeIdentity } from '../services/store/identity.ts';
import { readKeyring } from '../services/store/keyring.ts';
import { lockHome } from '../services/store/lock.ts';
import { openStore } from '../services/store/store.ts';
import type { EnrollmentRequest } from './surroundings.ts';

export interface EnrollOptions extends EnrollmentRequest {
  readonly version: string;
  /** The real ones when absent. */
  readonly files?: Files;
  /** Sees every event of the chart; must not throw. */
  readonly inspect?: (event: InspectionEvent) => void;
}

/** Writes the identity and returns the agent's id. @throws HoldfastError with the problem that no further try can mend. */
export async function enroll(request: EnrollOptions): Promise<string> {
  const { home, settings, hosts, token, tags, attempts, version, files = nodeFiles, inspect } = request;
  await mkdir(home, { recursive: true, mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    throw new HoldfastError('HOME_UNUSABLE', `${home} cannot be made: ${error.message}`, { cause: error });
  });
  const how = {
    // What `http://` needs says nothing about the certificate of a host that is set later.
    insecure:
      settings.fleet.insecure &&
      settings.fleet.ssl.verificationMode === 'none' &&
      hosts.some((host) => /^https:/i.test(host)),
    // The daemon that reads them may be started elsewhere.
    certificateAuthorities: settings.fleet.ssl.certificateAuthorities.map(absolutePem),
  };
  await checkPem(settings.fleet.ssl);
  const ports = enrollPorts({
    settings: withIdentity(settings.fleet, null),
    clock: systemClock,
    local: () => ({
      host: hostFacts(),
      agentVersion: settings.fleet.agentVersion,
      version,
      logLevel: settings.logging.level,
      unprivileged: process.getuid?.() !== 0,
    }),
  });

  /** An enrollment that has no answer yet is asked for again under the same id, so that it makes no second agent. */
  async function prepare(): Promise<PendingEnrollment> {
    const { identity, pending } = await readIdentity(files, home, machineId() ?? '');
    const url = hosts[0] ?? '';
    if (pending !== null && pending.url === url) return { enrollmentId: pending.enrollmentId };
    const enrollmentId = randomUUID();
    await writeIdentity(files, home, {
      identity,
      pending: { enrollmentId, url, since: systemClock.wallMs(), ...how },
    });
    return { enrollmentId };
  }

  /** One rename switches the identity; the record of the agent before becomes a stranger's and is set aside. */
  async function adopt({ item, enrollmentId }: AdoptInput): Promise<null> {
    await writeIdentity(files, home, {
      identity: {
        agentId: item.agentId,
        hosts: [...hosts],
        accessApiKey: item.accessKey,
        enrolledAt: systemClock.wallMs(),
        enrollmentId,
        policyId: item.policyId === '' ? null : item.policyId,
        machineId: machineId() ?? '',
        ...how,
      },
      pending: null,
    });
    return null;
  }

  const actor = createActor(
    enrollmentMachine.provide({
      actors: {
        enroll: ports.enroll,
        prepare: fromPromise(prepare),
        adopt: fromPromise<null, AdoptInput>(({ input }) => adopt(input)),
      },
    }),
    {
      input: {
        hosts,
        token,
        tags,
        attempts,
        backoff: settings.fleet.enroll.backoff,
        jitterSeed: Math.floor(Math.random() * 2 ** 31),
      },
      ...(inspect !== undefined && { inspect }),
    },
  );
  const stopWatching = watchForSleep({ clock: systemClock, onWake: () => actor.send({ type: 'host.woke' }) });
  actor.on('enrollment.delayed', ({ problem, delayMs }) => request.onDelayed(problem, delayMs));
  const interrupted = new Promise<never>((_, reject) => {
    request.signal.addEventListener(
      'abort',
      () => reject(new HoldfastError('ENROLL_INTERRUPTED', 'interrupted before Fleet had agreed')),
      {
        once: true,
      },
    );
  });
  try {
    const done = toPromise(actor);
    actor.start();
    const output = await Promise.race([done, interrupted]);
    if (!output.enrolled) throw new HoldfastError(output.problem.code, output.problem.message);
    await beginRecord(files, home, output.agentId, settings.encryption);
    return output.agentId;
  } finally {
    stopWatching();
    actor.stop();
    await ports.close();
  }
}

/**
 * The new agent's first record, so that a later start can tell "never had a policy" from "lost it". A running daemon holds the lock and sees to
 * that itself; on a disk that takes no writes the worst is that Fleet is asked for everything.
 */
async function beginRecord(files: Files, home: string, agentId: string, encryption: EncryptionSettings): Promise<void> {
  try {
    const lock = await lockHome(home);
    try {
      const keys = await readKeyring({ files, home, settings: encryption, generate: true });
      const opened = await openStore({ files, home, agentId, now: systemClock.wallMs, keys });
      const { store, facts, locked } = opened;
      if (facts === null && locked.length === 0) await store.commit({ facts: emptyFacts(agentId), policies: {} });
      await store.close();
    } finally {
      await lock.release();
    }
  } catch {
    // Said above: nothing is lost by it.
  }
}
