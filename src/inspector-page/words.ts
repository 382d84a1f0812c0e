/** How the page says things: times, hashes, states. */

/** Enough of a hash to tell two apart. */
export function shortHash(hash: string): string {
  return hash.slice(0, 10);
}

/** `14:03:07.412`, in the browser's own time zone. */
export function clockTime(at: number): string {
  const date = new Date(at);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, '0')}`;
}

/** `just now`, `12 s ago`, `5 min ago`. */
export function ago(instant: string, now: number): string {
  const seconds = Math.round((now - Date.parse(instant)) / 1000);
  if (Number.isNaN(seconds)) return '';
  if (seconds < 1) return 'just now';
  if (seconds < 120) return `${seconds} s ago`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min ago`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h ago` : `${Math.round(hours / 24)} days ago`;
}

/** A state's id without its machine: `running.apply.reading`; the machine's own state is nameless. */
export function localState(id: string): string {
  const dot = id.indexOf('.');
  return dot < 0 ? '' : id.slice(dot + 1);
}

/** The last key of a state's id. */
export function lastKey(id: string): string {
  return id.slice(id.lastIndexOf('.') + 1);
}

/** The state that a transition leaves, from its id `<source>#<n>`. */
export function sourceOf(transition: string): string {
  return transition.replace(/#\d+$/, '');
}

/** `xstate.done.actor.readPolicy` as `readPolicy done`: the library's own events in words. */
export function eventInWords(type: string): string {
  const [, what, subject = ''] = /^xstate\.(done\.actor|error\.actor|done\.state|after)\.(.+)$/.exec(type) ?? [];
  switch (what) {
    case 'done.actor':
      return `${subject} done`;
    case 'error.actor':
      return `${subject} failed`;
    case 'done.state':
      return `${lastKey(subject)} done`;
    case 'after':
      return `after ${subject.split('.')[0]}`;
    default:
      return type;
  }
}

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'calm';

/** States of charts, by their keys, in which all is not simply well. */
const STATE_TONES: Readonly<Record<string, Tone>> = {
  boot: 'busy',
  restore: 'busy',
  replay: 'busy',
  apply: 'busy',
  persist: 'busy',
  ack: 'busy',
  draining: 'busy',
  planning: 'busy',
  changing: 'busy',
  confirming: 'busy',
  claiming: 'busy',
  launching: 'busy',
  starting: 'busy',
  reloading: 'busy',
  stopping: 'busy',
  damped: 'calm',
  stopped: 'calm',
  closed: 'calm',
  unenrolled: 'calm',
  released: 'calm',
  backingOff: 'warn',
  slowed: 'warn',
  orphaned: 'warn',
  reverting: 'warn',
  degraded: 'warn',
  unready: 'warn',
  left: 'warn',
  failing: 'bad',
  failed: 'bad',
  crashed: 'bad',
  safeMode: 'bad',
  rollback: 'bad',
  refused: 'bad',
  unauthorised: 'bad',
};

/** How an active state is coloured: by its innermost key that means something. */
export function toneOfState(id: string): Tone {
  const keys = id.split('.').slice(1).reverse();
  for (const key of keys) {
    const tone = STATE_TONES[key];
    if (tone !== undefined) return tone;
  }
  return 'good';
}

const LINK_TONES: Readonly<Record<string, Tone>> = {
  connected: 'good',
  damped: 'calm',
  'backing-off': 'warn',
  unauthorised: 'bad',
};

export function toneOfLink(state: string): Tone {
  return LINK_TONES[state] ?? 'calm';
}

const TONES: Readonly<Record<string, Tone>> = {
  healthy: 'good',
  online: 'good',
  starting: 'busy',
  reloading: 'busy',
  stopping: 'busy',
  degraded: 'warn',
  backingOff: 'warn',
  failed: 'bad',
  crashed: 'bad',
  goodbye: 'good',
  'host-rebooted': 'warn',
  awaited: 'busy',
  done: 'good',
  refused: 'bad',
};

/** How a state is coloured; its word stands beside the colour wherever it is shown. */
export function toneOf(state: string): Tone {
  return TONES[state] ?? 'calm';
}
