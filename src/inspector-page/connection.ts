/** The stream from the server, and the single questions that are asked beside it. */
import {
  type ChartIndex,
  type Hello,
  INSPECTOR_PATH,
  type News,
  type Recording,
  type Standing,
} from '../wire/inspector.ts';

export interface Listener {
  hello(hello: Hello): void;
  news(news: News): void;
  standing(standing: Standing): void;
  /** `refused`: the token is not taken any more. */
  lost(why: 'lost' | 'refused'): void;
}

const TRY_AGAIN_MS = 700;

/** Listens for ever: an agent that was killed comes back on the same address. */
export function listen(listener: Listener): void {
  const source = new EventSource(INSPECTOR_PATH.stream);
  const on = <T>(name: string, take: (value: T) => void) => {
    source.addEventListener(name, (event) => take(JSON.parse((event as MessageEvent<string>).data) as T));
  };
  on<Hello>('hello', (hello) => listener.hello(hello));
  on<News>('news', (news) => listener.news(news));
  on<Standing>('standing', (standing) => listener.standing(standing));
  source.onerror = async () => {
    source.close();
    listener.lost(await whyLost());
    setTimeout(() => listen(listener), TRY_AGAIN_MS);
  };
}

async function whyLost(): Promise<'lost' | 'refused'> {
  try {
    const response = await fetch(INSPECTOR_PATH.charts);
    return response.status === 401 ? 'refused' : 'lost';
  } catch {
    return 'lost';
  }
}

/** Asks until it is answered: the page may have been opened in the moment of a death. */
export async function fetchCharts(): Promise<ChartIndex> {
  for (;;) {
    try {
      const response = await fetch(INSPECTOR_PATH.charts);
      if (response.ok) return (await response.json()) as ChartIndex;
    } catch {
      // it does not answer
    }
    await new Promise((again) => setTimeout(again, TRY_AGAIN_MS));
  }
}

/** Null: it cannot be had now. */
export function fetchLog(): Promise<string | null> {
  return fetchText(INSPECTOR_PATH.log);
}

export async function fetchRecordings(): Promise<readonly Recording[]> {
  return (await (await fetch(INSPECTOR_PATH.recordings)).json()) as readonly Recording[];
}

/** Null: there is none. */
export async function fetchChart(name: string): Promise<SVGSVGElement | null> {
  const text = await fetchText(`${INSPECTOR_PATH.chart}${name}.svg`);
  if (text === null) return null;
  const root = new DOMParser().parseFromString(text, 'image/svg+xml').documentElement;
  return document.importNode(root, true) as unknown as SVGSVGElement;
}

/** Null: the policy is not held. */
export function fetchPolicy(hash: string): Promise<string | null> {
  return fetchText(`${INSPECTOR_PATH.policies}${hash}`);
}

/** Null: there is no such component. */
export function fetchOutput(component: string): Promise<string | null> {
  return fetchText(`${INSPECTOR_PATH.output}${encodeURIComponent(component)}`);
}

async function fetchText(path: string): Promise<string | null> {
  const response = await fetch(path).catch(() => null);
  return response?.ok ? response.text() : null;
}
