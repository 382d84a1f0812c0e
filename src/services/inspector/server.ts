/** The live inspector: the page, told of the daemon in this process. */
import { join } from 'node:path';
import type { InspectionEvent } from 'xstate';
import { maskText as maskKnown } from '../../policy/mask.ts';
import type { Standing } from '../../wire/inspector.ts';
import { componentPaths } from '../home.ts';
import { EarlierSecrets } from '../log/earlier-secrets.ts';
import { LOG_FILE, type Logger } from '../log/logger.ts';
import { prettyLines } from '../log/pretty.ts';
import { lastLines } from '../log/read-log.ts';
import type { InspectAddress } from './address.ts';
import { Observer } from './observer.ts';
import { servePage } from './page-server.ts';
import { readRecordings } from './recordings.ts';
import type { Source } from './source.ts';
import { dropToken, takeToken } from './token-file.ts';

/** What the inspector asks the daemon for. */
export interface Inspected {
  /** Null: there is no agent yet. */
  standing(): Standing | null;
  /** Calls `listener` after each change of what {@link standing} says; the returned function ends that. */
  onChange(listener: () => void): () => void;
  /** A policy that is held, as masked YAML; null: it is not held, or cannot be read. */
  heldPolicy(hash: string): Promise<string | null>;
  /** The secrets of every policy that is held, whether or not it has passed through this process. */
  secrets(): Promise<readonly string[]>;
}

export interface Inspector {
  /** Carries the token. */
  readonly url: string;
  /** For `createActor`; never throws. */
  readonly observe: (event: InspectionEvent) => void;
  /** Ends every stream and takes the token away. */
  close(): Promise<void>;
}

export interface InspectorOptions {
  readonly address: InspectAddress;
  readonly home: string;
  readonly version: string;
  readonly inspected: Inspected;
  readonly log: Logger;
}

const OUTPUT_LINES = 200;
const LOG_LINES = 300;
const MOMENTS = 200;

/** Starts listening. Rejects with CONTROL_FAILED when it cannot, as when the port was named and is taken. */
export async function startInspector(options: InspectorOptions): Promise<Inspector> {
  const { home, address, log } = options;
  const observer = new Observer();
  const source = liveSource(observer, options);
  const { url, close } = await servePage({ address, source, token: () => takeToken(home), log });
  return {
    url,
    observe: observer.observe,
    close: () => {
      dropToken(home);
      return close();
    },
  };
}

function liveSource(observer: Observer, { home, version, inspected }: InspectorOptions): Source {
  const { secrets } = observer;
  const standing = () => {
    const found = inspected.standing();
    return found === null ? null : secrets.hideIn(found);
  };
  const pretty = prettyLines({ colour: false });
  /** What lies on disk may repeat the secrets of policies that came and went before this process. */
  const written = async (text: string) => {
    const held = maskKnown(
      text,
      [...(await inspected.secrets())].sort((a, b) => b.length - a.length),
    );
    return EarlierSecrets.read(home).hide(secrets.hide(held));
  };
  return {
    hello: () => ({
      life: observer.life,
      archive: null,
      version,
      pid: process.pid,
      home,
      actors: observer.actors(),
      records: observer.records(),
      standing: standing(),
    }),
    standing,
    onChange: (listener) => observer.onChange(listener),
    onStanding: (listener) => inspected.onChange(listener),
    recordings: () => readRecordings(home, MOMENTS),
    policy: async (hash) => {
      const found = await inspected.heldPolicy(hash);
      return found === null ? null : secrets.hide(found);
    },
    output: async (id) => {
      const isKnown = inspected.standing()?.status.components.some((one) => one.id === id) ?? false;
      return isKnown ? written(lastLines(componentPaths(home, id).output, OUTPUT_LINES).join('\n')) : null;
    },
    log: () => written(lastLines(join(home, LOG_FILE), LOG_LINES).map(pretty).join('')),
  };
}
