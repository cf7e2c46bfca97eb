/** The steering of the proxy by operators, through the console or by signals. */
import type { Config } from '../config/config.ts';
import type { Functions } from '../functions/functions.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { LifecycleView } from '../lifecycle.ts';
import type { Database } from '../pool/database.ts';
import type { ClusterController } from '../switchover/controller.ts';

/** How a stop treats the clients that are still connected. */
export type StopMode = 'immediate' | 'wait_for_clients' | 'wait_for_servers';

/** Commands take a database where they are about one, and null where they are about all. */
export interface Steer {
  /** the results of the commands */
  readonly lifecycle: LifecycleView;
  /** by the name of their database */
  readonly clusters: ReadonlyMap<string, ClusterController>;

  /** one tenant's functions, by the tenant's name, and the live tail of their decisions */
  readonly functions: Pick<Functions, 'administration' | 'tap'>;

  /** the audit log of the fleet */
  readonly fleet: Pick<Fleet, 'audit' | 'auditLines'>;

  /** The database that a command names, created if only the `*` entry matches; null: no such database. */
  database(name: string): Database | null;
  /** The database of exactly this name, if it has been used or is configured; null: none. */
  knownDatabase(name: string): Database | null;
  /** Every database that is configured or has been used. */
  databases(): Iterable<Database>;

  /** RELOAD: reads the files again. @throws ConfigError and others; then the old configuration stays in force */
  reload(): Promise<void>;
  /**
   * SET: applies a configuration that differs in options only.
   * @returns false: its TLS files are wrong, and TLS continues as before
   */
  set(config: Config): Promise<boolean>;

  /** PAUSE: no server is lent. Free servers are closed now, the others as they come free. */
  pause(database: Database | null): void;
  /** RESUME; of all databases it ends a SUSPEND as well. */
  resume(database: Database | null): void;
  /** SUSPEND: resolves when all buffers are empty, or when `resume` has ended it. */
  suspend(): Promise<void>;

  /** RECONNECT: closes servers as they come free. */
  reconnect(database: Database | null): void;
  /** KILL: disconnects the clients of a database, closes its servers and pauses it. */
  kill(database: Database): void;
  /** KILL_CLIENT. @returns false: no logged-in client has this id */
  killClient(id: number): boolean;

  /** Whether there are servers, and whether some are still to be closed (RECONNECT, RELOAD). */
  hasServers(database: Database | null): boolean;
  hasRetired(database: Database | null): boolean;
  /** Resolves when `isDone` holds, which is called whenever a server goes or comes free, and by `recheck`. */
  untilServers(isDone: () => boolean): Promise<void>;
  recheck(): void;

  /** SHUTDOWN: resolves when everything is closed. */
  stop(mode: StopMode): Promise<void>;

  /** TAKEOVER: descriptors of the listening sockets, for the process that takes over. */
  handOver(): number[];
  /** The other process has gone before it reported that it listens: this one continues as before. */
  takeBack(): void;
}
