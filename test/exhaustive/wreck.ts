/**
 * What is left when the agent dies at a point, before it is decided what becomes of it: how a world branches. The kernel closes the connections of a
 * process that dies, so the server's end of an open poll is over before the next process begins; a request that was sent arrives or does not.
 */
import type { Oracle, Violation } from '../simulation/oracle.ts';
import { readDisk } from '../simulation/reading.ts';
import type { FleetImage } from '../simulation/sim-fleet.ts';
import type { HostImage } from '../simulation/sim-host.ts';
import { Timeline } from '../simulation/timeline.ts';
import { AGENT_ID, SETTINGS } from '../simulation/world.ts';
import type { Disk } from '../support/disk.ts';
import { fingerprintOf } from './fingerprint.ts';
import { groupsOf, lossesOf } from './losses.ts';
import { fleetOf, type Opening, type Point, type Stage } from './stage.ts';
import type { Request } from './watched.ts';

export interface Wreck {
  readonly point: Point;
  readonly disk: Disk;
  readonly fleet: FleetImage;
  readonly host: HostImage;
  readonly oracle: Oracle;
}

/** A world that can be played on. */
export interface Branch {
  /** The point, what became of un-synced data, what of the requests on their way: `57/cut:0110/arrives:0`. */
  readonly name: string;
  readonly what: string;
  readonly opening: Opening;
}

/** Copies the world as it stands; the play goes on. */
export function wreckOf(point: Point, stage: Stage): Wreck {
  const disk = stage.disk.clone().forgetNameless();
  const timeline = new Timeline(point.nowMs);
  const { bootId } = stage.host;
  const oracle = stage.oracle.copy({
    nowMs: point.nowMs,
    wallMs: timeline.wallMs(),
    bootId,
    durable: () => readDisk(disk.platter(), AGENT_ID),
    readyComponents: () => new Map(),
    attemptLimit: SETTINGS.crash.limit,
  });
  return { point, disk, fleet: stage.fleet.image(), host: stage.host.image(), oracle };
}

/** Which of the requests on their way reach the server although the agent has died: none, all, each alone. */
function arrivalsOf(requests: readonly Request[]): readonly (readonly number[])[] {
  const each = requests.map((_, at) => at);
  return [[], ...(each.length > 0 ? [each] : []), ...(each.length > 1 ? each.map((at) => [at]) : [])];
}

/** The requests reach the server; nobody hears its answers. */
function arrive(wreck: Wreck, chosen: readonly number[]): Wreck {
  if (chosen.length === 0) return wreck;
  const { point } = wreck;
  const timeline = new Timeline(point.nowMs);
  const oracle = wreck.oracle.copy({
    nowMs: point.nowMs,
    wallMs: timeline.wallMs(),
    bootId: `boot-${wreck.host.bootNumber}`,
    durable: () => readDisk(wreck.disk.platter(), AGENT_ID),
    readyComponents: () => new Map(),
    attemptLimit: SETTINGS.crash.limit,
  });
  const fleet = fleetOf(timeline, oracle, { note: () => {}, onArrival: () => {} });
  fleet.take(wreck.fleet);
  for (const at of chosen) {
    const { path, key, body } = point.inFlight[at] as Request;
    fleet.handle(path, key, body, () => {}).gone();
  }
  return { ...wreck, fleet: fleet.image(), oracle };
}

/** Worlds that were met, by fingerprint, and what the loss of un-synced data makes of them. */
export class Worlds {
  readonly #met = new Set<string>();
  /** Fingerprint of a wreck and what was open in it → how many worlds that makes, all of them met. */
  readonly #spread = new Map<string, number>();
  /** Worlds that are not met here again: they are explored, and deeper, there. */
  readonly #others: Worlds | null;
  raw = 0;
  /** Un-synced things that could be lost independently, at most at one point. */
  openMost = 0;

  constructor(others: Worlds | null = null) {
    this.#others = others;
  }

  get distinct(): number {
    return this.#met.size;
  }

  has(print: string): boolean {
    return this.#met.has(print);
  }

  /** The worlds that a wreck can become and that are not among those met before. */
  async *branchesOf(wreck: Wreck): AsyncGenerator<Branch> {
    for (const chosen of arrivalsOf(wreck.point.inFlight)) {
      const arrived = arrive(wreck, chosen);
      const arrivals = chosen.length > 0 ? `/arrives:${chosen.join()}` : '';
      yield* this.#fatesOf(arrived, arrivals);
    }
  }

  async *#fatesOf(wreck: Wreck, arrivals: string): AsyncGenerator<Branch> {
    const killed = await printOf(wreck, { ...wreck, hostSettled: true });
    const groups = groupsOf(wreck.disk);
    this.openMost = Math.max(this.openMost, groups.length);
    const key = `${killed} ${groups.map((group) => group.length)} ${sectorsOf(wreck.disk)}`;
    const spread = this.#spread.get(key);
    if (spread !== undefined) {
      this.raw += spread;
      return;
    }
    const before = this.raw;
    for (const fate of fatesOf(wreck)) {
      this.raw += 1;
      const left = fate.happen();
      const print = fate.name === 'kill' ? killed : await printOf(wreck, left);
      if (this.#met.has(print) || this.#others?.has(print)) continue;
      this.#met.add(print);
      yield branchOf(wreck, `${fate.name}${arrivals}`, left);
    }
    this.#spread.set(key, this.raw - before);
  }
}

export function printOf({ fleet, oracle, point }: Wreck, { disk, host, hostSettled }: Left): Promise<string> {
  const wallMs = new Timeline(point.nowMs).wallMs();
  const { delivered } = point;
  return fingerprintOf({ disk, fleet, host, hostSettled, memory: oracle.memory(), wallMs, delivered });
}

type Left = Pick<Opening, 'disk' | 'hostSettled'> & { readonly host: HostImage };

interface Fate {
  readonly name: string;
  happen(): Left;
}

function* fatesOf({ disk, host }: Wreck): Generator<Fate> {
  yield { name: 'kill', happen: () => ({ disk: disk.clone(), host, hostSettled: true }) };
  if (isBusy(host)) yield { name: 'kill-at-once', happen: () => ({ disk: disk.clone(), host, hostSettled: false }) };
  const down: HostImage = { ...host, bootNumber: host.bootNumber + 1, processes: [] };
  for (const { name, survives } of lossesOf(disk)) {
    const happen = () => ({
      disk: disk
        .clone()
        .powerCut(() => survives)
        .forgetNameless(),
      host: down,
      hostSettled: true,
    });
    yield { name: `cut:${name}`, happen };
  }
}

/** Its programs are about to do something. */
function isBusy({ processes }: HostImage): boolean {
  return processes.some(({ ending, readySince, behaviour }) => {
    const changes = readySince === null && behaviour !== 'hangs';
    return ending === true || changes || behaviour === 'crashesLater';
  });
}

function branchOf({ point, fleet, oracle }: Wreck, fate: string, left: Left): Branch {
  const { nowMs, delivered, number, what } = point;
  return { name: `${number}/${fate}`, what, opening: { ...left, fleet, oracle, nowMs, delivered } };
}

/** Every world that a wreck can become, with its fingerprint, merged with none. */
export async function* everyBranchOf(wreck: Wreck): AsyncGenerator<Branch & { readonly print: string }> {
  for (const chosen of arrivalsOf(wreck.point.inFlight)) {
    const arrived = arrive(wreck, chosen);
    for (const fate of fatesOf(arrived)) {
      const left = fate.happen();
      const branch = branchOf(arrived, chosen.length > 0 ? `${fate.name}/arrives:${chosen.join()}` : fate.name, left);
      yield { ...branch, print: await printOf(arrived, left) };
    }
  }
}

/** The branch of that name; undefined: the wreck has none such. */
export function branchNamed(wreck: Wreck, name: string): Branch | undefined {
  for (const chosen of arrivalsOf(wreck.point.inFlight)) {
    const arrivals = chosen.length > 0 ? `/arrives:${chosen.join()}` : '';
    for (const fate of fatesOf(wreck)) {
      if (`${wreck.point.number}/${fate.name}${arrivals}` !== name) continue;
      return branchOf(arrive(wreck, chosen), `${fate.name}${arrivals}`, fate.happen());
    }
  }
  return undefined;
}

/** What was found wrong at the very moment of the death. */
export async function brokenAt(wreck: Wreck): Promise<readonly Violation[]> {
  await wreck.oracle.lookBack();
  return wreck.oracle.violations;
}

function sectorsOf(disk: Disk): string {
  return disk
    .openThings()
    .flatMap((thing) => ('sector' in thing && !thing.blank ? [thing.sector] : []))
    .join();
}
