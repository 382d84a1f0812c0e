/** What can be set, as one frozen object; what each key is called, means and defaults to stands in keys.ts. */
import type { ComponentTiming } from '../../machines/component-setup.ts';
import type { LogLevel } from '../../machines/facts.ts';

/** A delay that grows from `initialMs` to `maxMs`. */
export interface GrowingDelay {
  readonly initialMs: number;
  readonly maxMs: number;
}

export type VerificationMode = 'full' | 'strict' | 'certificate' | 'none';
export type LogFormat = 'ecs' | 'pretty';

/** Where the key of the state directory comes from (design, section 6). */
export interface EncryptionSettings {
  /**
   * `auto`: the first there is of credential, key file and `<home>/key`, else none. `credential`, `file`, `generated`: that one, and nothing is
   * written without it. `none`: readable.
   */
  readonly key: 'auto' | 'credential' | 'file' | 'generated' | 'none';
  /** Absolute path; when it is set, `auto` does not go on without it. */
  readonly keyFile: string | null;
  /** Where systemd puts credentials; null: it passes none. */
  readonly credentialsDirectory: string | null;
}

export interface SslSettings {
  /** Paths of PEM files, or PEM text itself. Empty: the system's own. */
  readonly certificateAuthorities: readonly string[];
  /** Client certificate: path of a PEM file, or PEM text itself. */
  readonly certificate: string | null;
  readonly key: string | null;
  /**
   * `full` and `strict` check chain and host name, `certificate` the chain, `none` nothing. Null: nothing was said, which is `full` but for the hosts
   * that the agent was enrolled with by `--insecure` (with-identity.ts).
   */
  readonly verificationMode: VerificationMode | null;
}

export interface FleetSettings {
  /** URLs of Fleet Servers, tried in order. Empty: those of the identity. */
  readonly hosts: readonly string[];
  readonly enrollmentToken: string | null;
  /**
   * `http://` URLs may be used; set by `--insecure` and FLEET_INSECURE. Unless `fleet.ssl.verification_mode` is set, which wins, true is
   * `verificationMode` `none`, and an explicit false is `full`.
   */
  readonly insecure: boolean;
  /** Tags at enrollment, beside `holdfast`. */
  readonly tags: readonly string[];
  /** The version the agent claims to be. */
  readonly agentVersion: string;
  readonly ssl: SslSettings;
  /** For every host; null: `environmentProxy` decides. */
  readonly proxyUrl: string | null;
  /** HTTPS_PROXY, HTTP_PROXY and NO_PROXY as they were found. */
  readonly environmentProxy: {
    readonly https: string | null;
    readonly http: string | null;
    readonly no: string | null;
  };
  readonly checkin: {
    readonly backoff: GrowingDelay;
    readonly damping: GrowingDelay;
    /** Pause between two polls that went well. */
    readonly restMs: number;
    /** Sent as `poll_timeout`; a stock server waits two minutes less. */
    readonly pollTimeoutMs: number;
  };
  readonly ack: { readonly backoff: GrowingDelay };
  readonly enroll: { readonly backoff: GrowingDelay };
}

export interface Settings {
  readonly fleet: FleetSettings;
  readonly policy: {
    readonly apply: {
      /** How long a new policy may take until every component is confirmed. */
      readonly timeoutMs: number;
      /** How long components must stay healthy to be confirmed. */
      readonly stableForMs: number;
      readonly onFailure: 'rollback' | 'degrade';
    };
    /** A last good that agents did not survive is passed over only while it is promoted less than this ago. */
    readonly freshForMs: number;
    /** When a rejected policy is tried again by itself. */
    readonly retry: GrowingDelay;
  };
  /** When safe mode is left by itself. */
  readonly safeMode: GrowingDelay;
  readonly store: { readonly retry: GrowingDelay };
  readonly encryption: EncryptionSettings;
  /** Starts that may be spent on one policy without a confirmation or a goodbye. */
  readonly crash: { readonly limit: number };
  readonly components: {
    readonly onExit: 'stop' | 'keep';
    readonly unsupported: 'degrade' | 'ignore';
    /** How often what safe mode leaves alone, or a spec that cannot be used holds up, is looked at. */
    readonly lookEveryMs: number;
    /** Holdfast's own delays; those of a program are in its spec. */
    readonly timing: ComponentTiming;
  };
  /** `${local.NAME}` in policies. Plain JSON values. */
  readonly localVariables: Readonly<Record<string, unknown>>;
  readonly logging: {
    readonly level: LogLevel;
    /** Null: readable on a terminal, ECS elsewhere. */
    readonly format: LogFormat | null;
  };
}
