import type { Config } from '../config/config.ts';
import type { Registry } from '../pool/databases.ts';
import type { Sessions } from '../session/sessions.ts';
import type { Switchovers } from '../switchover/switchovers.ts';
import type { Logger } from '../telemetry/log.ts';
import type { DatabaseStats } from '../telemetry/stats.ts';
import type { Observe } from './observe.ts';

/** How a stop treats those who are still connected (SHUTDOWN and the signals). */
export type StopMode = 'immediate' | 'wait_for_clients' | 'wait_for_servers';

/** What the console shows and steers: the composition root, seen from below. */
export interface AdminActions {
  readonly registry: Registry;
  readonly sessions: Sessions;
  readonly switchovers: Pick<Switchovers, 'controllers'>;
  readonly observe: Observe;
  readonly log: Logger;
  /** the console's own row in SHOW STATS */
  readonly consoleStats: DatabaseStats;
  /** SHUTDOWN has been asked for, by whomever */
  readonly isStopping: boolean;

  /** RELOAD. @throws ConfigError and others; the old configuration is in force then */
  reload(): Promise<void>;
  /**
   * SET: takes over a configuration that differs in options only.
   * @returns false: its TLS files are not right, and TLS goes on as before
   */
  applySettings(config: Config): Promise<boolean>;
  /** PAUSE and RESUME of everything; the latter ends a SUSPEND as well. */
  pause(): void;
  resume(): void;
  /** SUSPEND: resolves when all buffers are empty, or when it was ended by `resume`. */
  suspend(): Promise<void>;
  /** SHUTDOWN: resolves when everything is closed. */
  stop(mode: StopMode): Promise<void>;
  /** Descriptors of the listening sockets, which go on in another process; this one is to be shut down then. */
  handOver(): number[];
  /** The other process is gone before it said that it listens: this one goes on as before. */
  takeBack(): void;
}
