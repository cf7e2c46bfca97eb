/** The proxy as clients see it: an interface below them, so that no client knows the set of all clients. */
import type { Socket } from 'node:net';
import type { ClientTls } from '../../auth/tls.ts';
import type { Config } from '../../config/config.ts';
import type { Functions } from '../../functions/functions.ts';
import type { LifecycleView } from '../../lifecycle.ts';
import type { Directory } from '../../pool/directory.ts';
import type { TrackedParameters } from '../../pool/parameters.ts';
import type { Peers } from '../../pool/peers.ts';
import type { Logger } from '../../telemetry/log.ts';
import type { QuerySampler } from '../../telemetry/sampler.ts';
import type { StatementRegistry } from './shared.ts';

export interface SessionContext {
  /** the configuration of the last RELOAD: read it at each use */
  readonly config: Config;
  readonly log: Logger;
  readonly tracked: TrackedParameters;
  readonly directory: Directory;
  /** the other processes that share the address */
  readonly peers: Peers;
  readonly functions: Functions;
  /** the prepared statements that servers have */
  readonly statements: StatementRegistry;
  /** the clients' own texts of statements that user functions have rewritten; no server has them */
  readonly originals: StatementRegistry;
  /** chooses the queries that are traced */
  readonly sampler: QuerySampler;
  /** sockets of departed clients with unsent bytes (leave.ts) */
  readonly lingering: Set<Socket>;
  /** TLS toward clients; null: not offered */
  readonly tls: ClientTls | null;
  readonly lifecycle: LifecycleView;
  /** the connections that max_client_conn counts */
  readonly connectionCount: number;
}
