/** What a command is given from outside, so that tests can stand in for the terminal, the environment and the daemon itself. */
import type { InspectionEvent } from 'xstate';
import type { Problem } from '../errors.ts';
import type { AgentEvent } from '../machines/system.ts';
import type { Logger } from '../services/log/logger.ts';
import type { Environment } from '../services/settings/load.ts';
import type { Settings } from '../services/settings/settings.ts';
import type { Inspection, Status } from '../wire/control.ts';

/** Where a command's words go. */
export interface Terminal {
  /** Standard output. */
  out(text: string): void;
  /** Standard error. */
  err(text: string): void;
  readonly outIsTerminal: boolean;
  readonly columns: number;
  readonly rows: number;
}

/** A running agent, as the commands see it. */
export interface RunningAgent {
  /** Resolves when its actors have stopped; `restart` asks for a new one in this process. */
  readonly ended: Promise<{ readonly restart: boolean; readonly problem: Problem | null }>;
  send(event: AgentEvent): void;
  /** Tries again what was rejected or passed over, and says what that is; null: there is nothing. */
  retry(): string | null;
  status(): Status;
  inspect(): Inspection;
  /** A policy that is held, as masked YAML; null: it is not held, or cannot be read. */
  heldPolicy(hash: string): Promise<string | null>;
  /** The secrets of every policy that is held. */
  secrets(): Promise<readonly string[]>;
  onChange(listener: () => void): () => void;
}

export interface AgentStart {
  readonly home: string;
  readonly settings: Settings;
  readonly log: Logger;
  readonly version: string;
  /** Sees every event of every actor; must not throw. */
  readonly inspect: (event: InspectionEvent) => void;
}

export interface EnrollmentRequest {
  readonly home: string;
  readonly settings: Settings;
  readonly hosts: readonly string[];
  readonly token: string;
  readonly tags: readonly string[];
  /** Requests before it is given up; null: as long as it takes. */
  readonly attempts: number | null;
  /** Told of each try that failed. */
  readonly onDelayed: (problem: Problem, delayMs: number) => void;
  readonly signal: AbortSignal;
}

/** What the identity file says, as far as commands need it. */
export type IdentityFound =
  | { readonly kind: 'enrolled'; readonly agentId: string }
  | { readonly kind: 'none' }
  /** There is one, but it cannot be read. */
  | { readonly kind: 'unreadable'; readonly problem: Problem };

export interface Surroundings {
  readonly terminal: Terminal;
  readonly env: Environment;
  readonly uid: number | undefined;
  readonly version: string;
  /** Epoch ms. */
  nowMs(): number;
  /** Calls `listener` for each of these signals until the returned function is called. */
  onSignal(signals: readonly NodeJS.Signals[], listener: (signal: NodeJS.Signals) => void): () => void;
  startAgent(start: AgentStart): Promise<RunningAgent>;
  /** Writes the identity and returns the agent's id. Rejects with the problem that no further try can mend. */
  enroll(request: EnrollmentRequest): Promise<string>;
  identity(home: string): Promise<IdentityFound>;
}
