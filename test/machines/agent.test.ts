/** The agent, its store and its dispatcher together, over a disk that works, fills up and loses things, with the components played. */
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { retriedBy } from '../../src/machines/agent-context.ts';
import { actionNamed, RULES, World } from '../support/agent-world.ts';

const hashes = (all: readonly { readonly hash: string }[]) => all.map((one) => one.hash.slice(5));

// The store's last word reaches an agent that has ended: xstate warns of it in tests.
beforeAll(() => void vi.spyOn(console, 'warn').mockImplementation(() => {}));

/** An agent that runs web:1, acked, and whose start is confirmed. */
function settled(...policies: readonly string[]): World {
  const world = new World().start();
  for (const policy of policies.length > 0 ? policies : ['web:1']) world.makeGood(policy);
  expect(world.state).toBe('running.checkin');
  expect(world.facts.outbox).toEqual([]);
  return world;
}

/** The same, a start later. */
function restarted(...policies: readonly string[]): World {
  const world = settled(...policies);
  world.send({ type: 'shutdown.requested', reason: 'asked to' });
  return world.start().replayed().ackedBy();
}

/** Crashes while it replays, as often as wanted; the last start is left where it came to. */
function crashes(world: World, times: number): World {
  for (let n = 0; n < times; n += 1) world.die().start();
  return world;
}

describe('the first policy', () => {
  it('is durable before it is applied, and acked only when it is last good (P1, P4)', () => {
    const world = new World().start();
    expect(world.state).toBe('running.orphaned.waiting');
    world.deliver('web:1');
    expect(world.facts.candidate).toMatchObject({ hash: 'hash-web:1', attempts: 1 });
    expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:1' } });
    expect(world.facts.outbox).toEqual([]);
    world.confirmed();
    expect(world.state).toBe('running.ack');
    expect(hashes(world.facts.generations)).toEqual(['web:1']);
    expect(world.facts.outbox).toMatchObject([{ actionId: 'policy:web:1' }]);
    world.ackedBy();
    expect(world.state).toBe('running.checkin');
    expect(world.facts.acked).toMatchObject({ hash: 'hash-web:1' });
    expect(world.report).toMatchObject({ status: 'online', message: 'running web:1' });
  });

  it('that is bad leaves nothing to go back to, and says why', () => {
    const world = new World().start().deliver('web:1').refused('check', 'nginx: unknown directive');
    expect(world.facts).toMatchObject({ generations: [], candidate: null, rejected: [{ hash: 'hash-web:1' }] });
    expect(world.report).toMatchObject({
      status: 'degraded',
      message: 'policy rejected: web:1: nginx: unknown directive; running nothing',
    });
    expect(world.state).toBe('running.checkin');
  });

  it('that survives a crash with nothing to fall back on gets its next attempt (P10, P12)', () => {
    const world = new World().start().deliver('web:1').die().start();
    expect(world.applied).toMatchObject({ mode: 'fresh' });
    expect(world.facts.candidate?.attempts).toBe(2);
    world.confirmed().ackedBy();
    expect(world.state).toBe('running.checkin');
  });
});

describe('the replay', () => {
  it('is issued before the link is opened (P2), and confirmed it is acked again', () => {
    const world = settled();
    world.send({ type: 'shutdown.requested', reason: 'asked to' }).start();
    expect(world.state).toBe('replay');
    expect(world.linkIsOpen).toBe(false);
    expect(world.applied).toMatchObject({ mode: 'replay', policy: { hash: 'hash-web:1' } });
    world.issued();
    expect(world.linkIsOpen).toBe(true);
    expect(world.facts.generations[0]?.attempts).toBe(1);
    world.confirmed();
    expect(world.facts.generations[0]?.attempts).toBe(0);
    expect(world.facts.outbox).toMatchObject([{ actionId: 'policy:web:1' }]);
    expect(world.facts.starts[0]).toMatchObject({ previous: 'goodbye', confirmed: true });
  });

  it('happens although the start cannot be spent, and the start is counted when the disk heals', () => {
    const world = settled();
    world.send({ type: 'shutdown.requested', reason: 'asked to' });
    world.disk.mode = 'full';
    world.start().issued();
    expect(world.state).toBe('running.checkin');
    expect(world.report).toMatchObject({ status: 'error', message: expect.stringContaining('no space left') });
    world.confirmed().heal().pass(120_000);
    expect(world.facts.starts[0]).toMatchObject({ number: 2, confirmed: true });
    expect(world.facts.generations[0]?.attempts).toBe(0);
    expect(world.report.status).toBe('online');
  });

  it('that was overtaken by a policy is not waited for: promotion gives the attempt back', () => {
    const world = settled();
    world.die().start().issued().deliver('web:2');
    expect(world.applied?.policy.hash).toBe('hash-web:2');
    world.confirmed().ackedBy();
    expect(world.facts.generations.map((one) => one.attempts)).toEqual([0, 0]);
    expect(world.facts.starts[0]?.confirmed).toBe(true);
    expect(world.report).toMatchObject({ status: 'online' });
  });

  it('that was overtaken by a bad policy is confirmed by the way back', () => {
    const world = settled();
    world.die().start().issued();
    expect(world.report.message).toMatch(/^restarted after crash/);
    world.deliver('web:2').refused('health', 'nginx broke').confirmed();
    expect(world.state).toBe('running.checkin');
    expect(world.facts.generations[0]?.attempts).toBe(0);
    expect(world.facts.starts[0]?.confirmed).toBe(true);
  });

  it('that is confirmed while another policy is being read neither ends it nor spends on it', () => {
    const world = settled();
    world.die().start().issued();
    const replay = world.applied?.plan;
    world.disk.mode = 'hangs';
    world.deliver('web:2');
    world.send({ type: 'components.confirmed', plan: replay, degraded: [] });
    world.heal();
    expect(world.facts.candidate).toMatchObject({ hash: 'hash-web:2', attempts: 1 });
    expect(world.state).toBe('running.apply.confirming');
    world.confirmed().ackedBy();
    expect(world.state).toBe('running.checkin');
  });

  it('that cannot be carried out leaves the link open and degrades', () => {
    const world = settled();
    world.die().start().refused('unparsable', 'no spec');
    expect(world.state).toBe('running.checkin');
    expect(world.linkIsOpen).toBe(true);
  });
});

describe('a change of policy', () => {
  it('is acked once it is last good, and the one before is kept', () => {
    const world = settled().deliver('web:2').confirmed();
    expect(hashes(world.facts.generations)).toEqual(['web:2', 'web:1']);
    expect(world.ackedBy().state).toBe('running.checkin');
  });

  it('is not acked while the disk takes no promotion, and goes on when it heals (P1)', () => {
    const world = settled().deliver('web:2').fill().confirmed();
    expect(world.state).toBe('running.persist');
    world.pass(300_000);
    expect(world.state).toBe('running.persist');
    expect(world.facts.outbox).toEqual([]);
    expect(world.report).toMatchObject({ status: 'error' });
    world.heal().pass(60_000);
    expect(world.state).toBe('running.ack');
    expect(hashes(world.facts.generations)).toEqual(['web:2', 'web:1']);
  });

  it('that comes again while it is applied is not applied twice', () => {
    const world = settled().deliver('web:2');
    const { plan } = world.applied as { plan: string };
    expect(world.deliver('web:2').applied?.plan).toBe(plan);
    world.confirmed().ackedBy();
    expect(world.state).toBe('running.checkin');
  });

  it('cannot be delivered while the disk takes nothing: the gateway hears so, and nothing is applied (P4)', () => {
    const world = settled().fill().deliver('web:2');
    expect(world.trace).toContain('gateway: delivery.unstorable');
    expect(world.state).toBe('running.checkin');
    world.deliver('web:3').heal().pass(60_000);
    expect(world.applied?.policy.hash).toBe('hash-web:3');
    expect(world.trace.at(-1)).not.toBe('gateway: delivery.unstorable');
  });

  it('whose bytes cannot be read back is dropped, the components compared with last good, and Fleet asked anew', () => {
    const world = settled();
    world.disk.mode = 'hangs';
    world.deliver('web:2');
    world.disk.mode = 'works';
    const bodies = world.disk.bodies;
    const get = bodies.get.bind(bodies);
    bodies.get = (hash) => (hash === 'hash-web:2' ? undefined : get(hash));
    world.settle();
    expect(world.facts.candidate).toBeNull();
    expect(world.applied).toMatchObject({ mode: 'revert', policy: { hash: 'hash-web:1' } });
    world.confirmed();
    expect(world.state).toBe('running.checkin');
    bodies.get = get;
    expect(world.deliver('web:2').confirmed().ackedBy().state).toBe('running.checkin');
    expect(hashes(world.facts.generations)).toEqual(['web:2', 'web:1']);
  });
});

describe('a bad policy (P3)', () => {
  it.each(['unparsable', 'unrendered', 'check', 'health'] as const)(
    '(%s) is rejected durably before the first step back',
    (kind) => {
      const world = settled().deliver('web:2');
      world.news();
      world.refused(kind, 'it is bad');
      const lines = world.news();
      expect(lines.indexOf('disk: commit of policy.rejected')).toBeGreaterThan(-1);
      expect(lines.indexOf('disk: commit of policy.rejected')).toBeLessThan(
        lines.findIndex((line) => line.startsWith('components: apply web:1 (revert')),
      );
      world.confirmed();
      expect(world.state).toBe('running.checkin');
      expect(world.facts).toMatchObject({ candidate: null, outbox: [], rejected: [{ hash: 'hash-web:2', kind }] });
      expect(world.report).toMatchObject({
        status: 'degraded',
        message: 'policy rejected: web:2: it is bad; running web:1',
      });
    },
  );

  it('is gone back from although the verdict cannot be committed, and is not tried again before it is', () => {
    const world = settled().deliver('web:2').fill().refused('health', 'it is bad');
    expect(world.applied).toMatchObject({ mode: 'revert' });
    world.confirmed().pass(600_000);
    expect(world.state).toBe('running.checkin');
    expect(world.applied).toMatchObject({ mode: 'revert' });
    world.heal().pass(60_000);
    expect(world.facts.rejected).toMatchObject([{ hash: 'hash-web:2' }]);
    world.pass(RULES.retry.initialMs);
    expect(world.applied, 'its next try is not forgotten').toMatchObject({
      mode: 'fresh',
      policy: { hash: 'hash-web:2' },
    });
  });

  it('is tried again after its growing delay, and when asked', () => {
    const world = settled().deliver('web:2').refused('health', 'it is bad').confirmed();
    world.pass(59_000);
    expect(world.state).toBe('running.checkin');
    world.pass(1_000);
    expect(world.state).toBe('running.apply.confirming');
    world.refused('health', 'it is bad').confirmed().pass(60_000);
    expect(world.state).toBe('running.checkin');
    world.send({ type: 'retry.requested' });
    expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
    world.confirmed().ackedBy();
    expect(world.facts.rejected).toEqual([]);
    expect(world.report.status).toBe('online');
  });

  it('that can never parse is tried again only when asked', () => {
    const world = settled()
      .deliver('web:2')
      .refused('unparsable', 'no')
      .confirmed()
      .pass(3 * 24 * 3_600_000);
    expect(world.state).toBe('running.checkin');
    expect(world.send({ type: 'retry.requested' }).state).toBe('running.apply.confirming');
  });

  it('that Fleet sends again and again is not applied again', () => {
    const world = settled().deliver('web:2').refused('health', 'it is bad').confirmed();
    const { plan } = world.applied as { plan: string };
    expect(world.deliver('web:2').deliver('web:2').applied?.plan).toBe(plan);
  });
});

describe('a newer policy supersedes the one in flight', () => {
  const finish = (world: World) => {
    world.confirmed().ackedBy();
    expect(world.state).toBe('running.checkin');
    expect(hashes(world.facts.generations)).toEqual(['web:3', 'web:1']);
    expect(world.facts.candidate).toBeNull();
    expect(world.context.applying).toBeNull();
  };

  it('while it is applied', () => {
    const world = settled().deliver('web:2').deliver('web:3');
    expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:3' } });
    finish(world);
  });

  it('while it is being persisted: never acked, never last good', () => {
    const world = settled().deliver('web:2');
    world.disk.mode = 'hangs';
    world.deliver('web:3').confirmed();
    expect(world.state).toBe('running.persist');
    world.heal();
    expect(world.applied?.policy.hash).toBe('hash-web:3');
    finish(world);
  });

  it('while it waits for its ack', () => {
    const world = settled().deliver('web:2').confirmed().deliver('web:3');
    expect(world.applied?.policy.hash).toBe('hash-web:3');
    world.confirmed().ackedBy();
    expect(hashes(world.facts.generations)).toEqual(['web:3', 'web:2', 'web:1']);
    expect(world.facts.acked?.hash).toBe('hash-web:3');
  });

  it('while its verdict is being committed: after the verdict', () => {
    const world = settled().deliver('web:2');
    world.disk.mode = 'hangs';
    world.refused('health', 'bad').deliver('web:3');
    expect(world.state).toBe('running.rollback.judging');
    world.heal();
    expect(world.facts.rejected).toMatchObject([{ hash: 'hash-web:2' }]);
    expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:3' } });
    finish(world);
  });

  it('on the way back', () => {
    const world = settled().deliver('web:2').refused('health', 'bad');
    expect(world.state).toBe('running.rollback.reverting');
    finish(world.deliver('web:3'));
  });

  it.each([
    ['applied', (world: World) => world.deliver('web:2').deliver('web:1')],
    [
      'persisted',
      (world: World) => {
        world.deliver('web:2');
        world.disk.mode = 'hangs';
        return world.deliver('web:1').confirmed().heal();
      },
    ],
  ] as const)('and when Fleet moves back to last good while it is %s, the way back is taken', (_name, step) => {
    const world = step(settled());
    expect(world.applied).toMatchObject({ mode: 'revert', policy: { hash: 'hash-web:1' } });
    world.confirmed().ackedBy();
    expect(world.state).toBe('running.checkin');
    expect(hashes(world.facts.generations)).toEqual(['web:1']);
    expect(world.facts.rejected).toEqual([]);
    expect(world.report.message).toBe('running web:1');
    expect(world.deliver('web:2').applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
  });
});

describe('a candidate that survives a crash', () => {
  it('is tried after the replay is confirmed, its attempt spent first, and rejected after three (P10)', () => {
    const world = settled().deliver('web:2');
    for (const attempts of [2, 3]) {
      world.die().start().issued();
      expect(world.applied).toMatchObject({ mode: 'replay', policy: { hash: 'hash-web:1' } });
      world.confirmed();
      expect(world.facts.candidate?.attempts).toBe(attempts);
      expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
    }
    world.die().start();
    expect(world.facts).toMatchObject({ candidate: null, rejected: [{ kind: 'attempts' }] });
    world.replayed();
    expect(world.state).toBe('running.checkin');
    expect(world.report.message).toMatch(/^policy rejected: web:2: used up its 3 attempts/);
    world.pass(RULES.retry.initialMs);
    expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
    world.die().start();
    expect(world.facts).toMatchObject({ candidate: null, rejected: [{ times: 2 }] });
  });

  it('is not tried when its attempt cannot be spent', () => {
    const world = settled().deliver('web:2').die();
    world.disk.mode = 'full';
    world.start().replayed();
    expect(world.applied).toMatchObject({ mode: 'replay' });
    expect(world.heal().pass(60_000).applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
    expect(world.facts.candidate?.attempts).toBe(2);
  });

  it('is tried also when a damage that is mended overtakes the replay, and the way back stands in for it (P10, P12)', () => {
    const ends = [(world: World) => world.confirmed(), (world: World) => world.refused('health', 'a spec is gone')];
    for (const end of ends) {
      const world = settled().deliver('web:2').die().start().issued();
      const text = world.disk.bodies.get('hash-web:1') ?? '';
      world.disk.bodies.delete('hash-web:1');
      expect(world.fill().verified().state).toBe('running.orphaned.waiting');
      world.disk.bodies.set('hash-web:1', text);
      expect(world.heal().pass(2_000).verified().state).toBe('running.rollback.reverting');
      expect(world.facts.candidate?.attempts).toBe(1);
      end(world);
      expect(world.facts.candidate?.attempts).toBe(2);
      expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
      world.confirmed().ackedBy();
      expect(world.state).toBe('running.checkin');
      expect(hashes(world.facts.generations)).toEqual(['web:2', 'web:1']);
    }
  });

  it('is superseded by a newer one that comes before the replay is confirmed', () => {
    const world = settled().deliver('web:2').die().start().issued().deliver('web:3').confirmed().ackedBy();
    expect(hashes(world.facts.generations)).toEqual(['web:3', 'web:1']);
    expect(world.state).toBe('running.checkin');
  });
});

describe('a crash loop (P10)', () => {
  it('is named and counted (P9), passed over for the older generation, and ends in safe mode', () => {
    const world = settled('web:1', 'web:2');
    crashes(world, 1);
    expect(world.trace).toContain('agent: crashed');
    crashes(world, 2);
    expect(world.applied?.policy.hash).toBe('hash-web:2');
    crashes(world, 1);
    expect(world.applied?.policy.hash).toBe('hash-web:1');
    world.issued();
    expect(world.report.message).toMatch(/^passed over web:2, which the agent did not survive; running web:1/);
    crashes(world, 3);
    expect(world.state).toBe('safeMode');
    expect(world.linkIsOpen).toBe(true);
    expect(world.trace).toContain('components: leave everything as it is');
    expect(world.report).toMatchObject({
      status: 'error',
      message: expect.stringMatching(/^safe mode: web:1 was started 3 times/),
    });
  });

  const passedOver = () => crashes(settled('web:1', 'web:2'), 4).replayed();
  const safe = () => crashes(settled(), 4);

  it.each([
    ['by itself, after its delay', (world: World) => world.pass(RULES.recovery.initialMs)],
    ['by retry', (world: World) => world.send({ type: 'retry.requested' })],
    ['by restart', (world: World) => world.send({ type: 'restart.requested', reason: 'asked to' })],
  ] as const)('lets a passed-over policy be tried again %s, with one attempt', (_name, step) => {
    const world = step(passedOver());
    expect(world.applied).toMatchObject({ mode: 'replay', policy: { hash: 'hash-web:2' } });
    expect(world.facts).toMatchObject({ runs: 0, generations: [{ attempts: 3 }, { attempts: 0 }] });
    crashes(world, 1);
    expect(world.applied).toMatchObject({ mode: 'replay', policy: { hash: 'hash-web:1' } });
  });

  it('ends a passing over for good when the policy is confirmed', () => {
    const world = passedOver().send({ type: 'retry.requested' }).replayed();
    expect(world.facts).toMatchObject({ runs: 0, passedOver: null, generations: [{ attempts: 0 }, { attempts: 0 }] });
  });

  it('ends a passing over by new content', () => {
    const world = passedOver().deliver('web:3').confirmed();
    expect(world.facts).toMatchObject({ runs: 0, passedOver: null });
  });

  it.each([
    ['by itself, after its delay', (world: World) => world.pass(RULES.recovery.initialMs)],
    ['by retry', (world: World) => world.send({ type: 'retry.requested' })],
    ['by restart', (world: World) => world.send({ type: 'restart.requested', reason: 'asked to' })],
  ] as const)('leaves safe mode %s, spending one attempt', (_name, step) => {
    const world = step(safe());
    expect(world.state).toBe('replay');
    expect(world.facts).toMatchObject({ safeMode: null, generations: [{ attempts: 3 }] });
    crashes(world, 1);
    expect(world.state).toBe('safeMode');
    expect(world.facts.safeMode?.until.delayMs).toBe(RULES.recovery.initialMs * 2);
  });

  it('says what would be tried again, and only what would be', () => {
    const asked = (world: World) => retriedBy(world.context);
    expect(asked(settled())).toBeNull();
    expect(asked(settled().deliver('web:2'))).toBeNull();
    expect(asked(settled().deliver('web:2').refused('health', 'bad').confirmed())).toBe(
      'trying web:2 again, which was rejected',
    );
    expect(asked(crashes(settled(), 4))).toBe('leaving safe mode and trying web:1 again');
    const passedOver = crashes(restarted('web:1', 'web:2'), 4);
    expect(passedOver.facts.runs).toBe(1);
    expect(asked(passedOver)).toBe('trying web:2 again, which was passed over');
  });

  it('leaves safe mode by new content that is good', () => {
    const world = safe().deliver('web:2');
    expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
    world.confirmed().ackedBy();
    expect(world.facts.safeMode).toBeNull();
    expect(world.report.status).toBe('online');
  });

  it('stays in safe mode when the new content is refused: what was not survived is not run', () => {
    const world = safe().deliver('web:2').refused('check', 'bad');
    expect(world.state).toBe('safeMode');
    expect(world.applied?.mode).toBe('fresh');
    expect(world.facts.rejected).toMatchObject([{ hash: 'hash-web:2' }]);
    expect(world.deliver('web:3').applied?.policy.hash).toBe('hash-web:3');
  });

  it('goes back to last good when new content that is refused has touched what safe mode had left running (P3)', () => {
    const world = safe().deliver('web:2').issued().refused('health', 'it crashed');
    expect(world.applied).toMatchObject({ mode: 'revert', policy: { hash: 'hash-web:1' } });
    world.confirmed();
    expect(world.state).toBe('running.checkin');
    expect(world.facts).toMatchObject({
      safeMode: null,
      rejected: [{ hash: 'hash-web:2' }],
      generations: [{ attempts: 0 }],
    });
  });

  it('tries content that came in safe mode again after a crash, until its attempts are spent', () => {
    const world = safe().deliver('web:2');
    crashes(world, 1);
    expect(world.applied).toMatchObject({ mode: 'fresh', policy: { hash: 'hash-web:2' } });
    expect(world.facts.candidate?.attempts).toBe(2);
    crashes(world, 2);
    expect(world.state).toBe('safeMode');
    expect(world.facts).toMatchObject({ candidate: null, rejected: [{ kind: 'attempts' }] });
  });

  it('does not turn into a loop of starts when safe mode ends on a disk that takes no writes', () => {
    const world = safe()
      .fill()
      .pass(RULES.recovery.initialMs * 4);
    const starts = world.trace.filter((line) => line === 'agent: boot.spending').length;
    expect(starts).toBeLessThan(30);
    expect(world.heal().pass(RULES.recovery.initialMs).state).toBe('replay');
  });
});

describe('an agent that holds less than Fleet believes (P8)', () => {
  it('mends last good from memory when it was damaged while it ran', () => {
    const world = settled();
    world.disk.bodies.clear();
    world.verified();
    expect(world.disk.bodies.has('hash-web:1')).toBe(true);
    world.confirmed();
    expect(world.state).toBe('running.checkin');
    expect(world.report.message).toBe('running web:1');
  });

  it('falls back to the older generation when it is damaged and lost, says so, and is whole by the first policy', () => {
    const world = settled('web:1', 'web:2');
    world.disk.bodies.delete('hash-web:2');
    world.die().start();
    expect(world.applied).toMatchObject({ mode: 'replay', policy: { hash: 'hash-web:1' } });
    world.replayed();
    expect(world.state).toBe('running.orphaned.waiting');
    expect(world.report.message).toMatch(/^holds an older policy: the object of web:2 is missing; running web:1/);
    expect(hashes(world.facts.generations)).toEqual(['web:1']);
    world.deliver('web:2').confirmed().ackedBy();
    expect(world.state).toBe('running.checkin');
    expect(world.report).toMatchObject({ status: 'online', message: 'running web:2' });
  });

  it('is whole by an answer with the older policy it holds, and by one that was rejected before', () => {
    const lostOne = () => {
      const world = settled('web:1', 'web:2').deliver('web:3').refused('check', 'bad').confirmed();
      world.disk.bodies.delete('hash-web:2');
      return world.die().start().replayed().ackedBy().pass(1000);
    };
    const older = lostOne();
    expect(older.state).toBe('running.orphaned.waiting');
    expect(older.deliver('web:1').state).toBe('running.checkin');
    const bad = lostOne().deliver('web:3');
    expect(bad.state).toBe('running.checkin');
    expect(bad.report.message).toMatch(/^policy rejected: web:3: bad; running web:1/);
  });

  it('is whole by the first answer also when the clock was set back meanwhile', () => {
    const world = settled('web:1', 'web:2');
    world.disk.bodies.delete('hash-web:2');
    world.die().start().replayed().ackedBy().pass(1000);
    expect(world.state).toBe('running.orphaned.waiting');
    expect(world.turnBack(3_600_000).deliver('web:1').state).toBe('running.checkin');
  });

  it('starts with no record at all, and when no generation can be read (P11)', () => {
    const world = settled();
    world.disk.bodies.clear();
    world.die().start();
    expect(world.state).toBe('running.orphaned.waiting');
    expect(world.facts.generations).toEqual([]);
    world.die();
    world.disk.facts = null;
    world.start();
    expect(world.report.message).toMatch(/^holds no policy: the state directory holds no record/);
    expect(world.deliver('web:1').confirmed().ackedBy().report.message).toBe('running web:1');
  });

  it('runs last good as soon as a disk that could not be read can be', () => {
    const world = settled();
    world.disk.unreadable = true;
    world.die().start();
    expect(world.state).toBe('running.orphaned.waiting');
    world.pass(1000).verified();
    expect(world.state).toBe('running.orphaned.waiting');
    world.disk.unreadable = false;
    world.verified();
    expect(world.applied).toMatchObject({ mode: 'revert', policy: { hash: 'hash-web:1' } });
    world.confirmed();
    expect(world.state).toBe('running.checkin');
  });

  it('goes back to what it has when the new policy is bad, and stays orphaned', () => {
    const world = settled('web:1', 'web:2');
    world.disk.bodies.delete('hash-web:2');
    world.die().start().replayed().ackedBy().pass(1000).deliver('web:3').refused('health', 'bad').confirmed();
    expect(world.applied).toMatchObject({ mode: 'revert', policy: { hash: 'hash-web:1' } });
    expect(world.report.message).toMatch(/^policy rejected: web:3: bad; running web:1/);
  });

  it('notes a damage only of what is last good now', () => {
    const world = settled('web:1', 'web:2');
    world.send({
      type: 'held.verified',
      verdict: { hash: 'hash-web:1', problem: { code: 'STORE_UNREADABLE', message: 'x' } },
    });
    expect(world.state).toBe('running.checkin');
  });
});

describe('actions', () => {
  it('are journalled with the token, carried out, and acked with their result in one commit (P4, P6)', () => {
    const world = settled();
    world.news();
    world.deliver(null, [actionNamed('a1', 'SETTINGS', { log_level: 'debug' }), actionNamed('a2', 'UPGRADE', {})]);
    expect(world.facts.intents).toEqual({ logLevel: 'debug' });
    expect(world.facts.outbox.map((one) => [one.actionId, one.error])).toEqual([
      ['a1', null],
      ['a2', 'actions of type "UPGRADE" are not supported by this agent'],
    ]);
    expect(world.news().filter((line) => line.startsWith('disk:'))).toEqual([
      'disk: commit of delivery.received',
      'disk: commit of action.done action.done',
    ]);
  });

  it('that were received but not carried out run at the next start, before the link is open (P5)', () => {
    const world = settled();
    world.disk.mode = 'hangs';
    world.deliver(null, [actionNamed('a1', 'SETTINGS', { log_level: 'debug' })]);
    const { facts } = world;
    world.die();
    world.disk.mode = 'works';
    world.disk.facts = {
      ...facts,
      journal: [
        {
          ...actionNamed('a1', 'SETTINGS', { log_level: 'debug' }),
          state: 'received',
          receivedAt: 0,
          doneAt: null,
          outcome: null,
        },
      ],
    };
    world.start();
    expect(world.facts.intents.logLevel).toBe('debug');
    expect(world.linkIsOpen).toBe(false);
  });

  it('that had begun are answered with an outcome nobody knows, unless running them again does no harm (P5)', () => {
    const world = settled().die();
    const begun = (id: string, type: string, data: unknown) => ({
      ...actionNamed(id, type, data),
      state: 'started' as const,
      receivedAt: 0,
      doneAt: null,
      outcome: null,
    });
    world.disk.facts = {
      ...world.facts,
      journal: [begun('a1', 'SETTINGS', { log_level: 'error' }), begun('a2', 'INPUT_ACTION', {})],
    };
    world.start();
    expect(world.facts.journal).toMatchObject([
      { outcome: { ok: true } },
      { outcome: { ok: false, error: expect.stringContaining('unknown') } },
    ]);
  });

  it.each([
    ['by the action', (world: World) => world.deliver(null, [actionNamed('u1', 'UNENROLL', null)])],
    ['by the empty policy', (world: World) => world.deliver('{}')],
    ['by its user', (world: World) => world.send({ type: 'unenroll.requested', reason: 'asked to' })],
  ] as const)('unenroll %s: components are stopped, the last ack is sent, nothing is asked for', (_name, step) => {
    const world = step(settled());
    expect(world.state).toBe('unenrolled');
    expect(world.linkIsOpen).toBe(false);
    expect(world.trace).toContain('components: stop');
    world.die().start();
    expect(world.state).toBe('unenrolled');
  });

  it('unenroll also while the stored policy is replayed', () => {
    const world = settled().die().start().send({ type: 'unenroll.requested', reason: 'asked to' });
    expect(world.state).toBe('unenrolled');
  });

  it('unenroll also in the middle of a change', () => {
    expect(settled().deliver('web:2').deliver('{}').state).toBe('unenrolled');
  });
});

describe('the end', () => {
  it('stops the components, says goodbye durably, gives the attempts back and closes the store', () => {
    const world = settled();
    world.die().start().issued();
    world.news();
    world.send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.news()).toEqual([
      'agent: draining.stoppingComponents',
      'components: stop',
      'log: info: stopping: SIGTERM',
      'agent: draining.sayingGoodbye',
      'disk: commit of start.goodbye',
      'agent: draining.closingStore',
      'agent: stopped',
      'the agent ended',
    ]);
    expect(world.facts.generations[0]?.attempts).toBe(0);
    expect(world.facts.starts[0]?.goodbye).toBe(true);
  });

  it('takes the grace away when it is asked for twice', () => {
    const world = settled();
    world.stopsAtOnce = false;
    world
      .send({ type: 'shutdown.requested', reason: 'SIGTERM' })
      .send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.trace.at(-1)).toBe('components: stop, without grace');
  });

  it('stops nothing in safe mode, however often it is asked for', () => {
    const world = crashes(settled(), 4);
    expect(world.state).toBe('safeMode');
    world.stopsAtOnce = false;
    world.send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.trace.filter((line) => line.startsWith('components: stop')).at(-1)).toBe(
      'components: stop, but let them run on',
    );
    world.send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.trace.at(-1)).toBe('components: stop, but let them run on, without grace');
  });

  it.each([
    ['keep', 'components: stop, but let them run on'],
    ['stop', 'components: stop'],
  ] as const)('goes by the settings both times it is asked for (%s)', (onExit, told) => {
    const world = new World();
    world.settings = { ...world.settings, onExit };
    world.start().makeGood('web:1');
    world.stopsAtOnce = false;
    world.send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.trace.filter((line) => line.startsWith('components: stop')).at(-1)).toBe(told);
    world.send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.trace.at(-1)).toBe(`${told}, without grace`);
  });

  it('becomes an end for good when a shutdown overtakes a restart', () => {
    const world = settled();
    world.stopsAtOnce = false;
    world.send({ type: 'restart.requested', reason: 'asked to' });
    expect(world.trace.filter((line) => line.startsWith('components: stop')).at(-1)).toBe(
      'components: stop, but let them run on',
    );
    world.send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.trace.at(-1)).toBe('components: stop');
    world.stopsAtOnce = true;
    world.settle();
    expect(world.state).toBe('');
    expect(world.trace.at(-1)).toBe('the agent ended');
  });

  it('comes also when the disk takes no goodbye, and when it does not answer at all', () => {
    const full = settled().fill().send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(full.state).toBe('');
    const hangs = settled();
    hangs.disk.mode = 'hangs';
    hangs.send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(hangs.state).toBe('draining.sayingGoodbye');
    expect(hangs.pass(30_000).state).toBe('');
  });

  it('comes in the middle of anything', () => {
    const stages: ((world: World) => World)[] = [
      (world) => world.die().start(),
      (world) => world.deliver('web:2'),
      (world) => world.deliver('web:2').confirmed(),
      (world) => world.deliver('web:2').refused('health', 'bad'),
      (world) => world.deliver('web:2').fill().confirmed(),
      (world) => crashes(world, 4),
      (world) => world.deliver('{}'),
    ];
    for (const stage of stages) {
      const world = stage(settled()).send({ type: 'shutdown.requested', reason: 'SIGTERM' });
      expect(world.state).toBe('');
    }
  });

  it('keeps the components when the settings say so', () => {
    const world = new World();
    world.settings = { ...world.settings, onExit: 'keep' };
    world.start().makeGood('web:1').send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.trace).toContain('components: stop, but let them run on');
  });

  it('keeps a candidate for the next start, its attempt given back', () => {
    const world = settled().deliver('web:2').send({ type: 'shutdown.requested', reason: 'SIGTERM' });
    expect(world.facts.candidate).toMatchObject({ hash: 'hash-web:2', attempts: 0 });
    world.start().replayed();
    expect(world.facts.candidate?.attempts).toBe(1);
    expect(world.confirmed().ackedBy().state).toBe('running.checkin');
  });
});

it('an idle agent asks nothing of the disk', () => {
  const world = restarted();
  const { commits } = world.disk;
  world.pass(24 * 3_600_000);
  expect(world.disk.commits).toBe(commits);
});
