/**
 * Snapshots of the fleet, and of the load that each proxy reports.
 * Plain data, with units in the names (docs/architecture.md).
 */

/** The load of one proxy, for the other proxies of its fleet. Rates and times are of the last one or two stats_periods. */
export interface LoadSnapshot {
  /** clients that have logged in, the console's excepted */
  readonly clients: number;
  readonly waitingClients: number;
  readonly longestWaitMs: number;
  readonly servers: number;
  /** servers that a client uses */
  readonly activeServers: number;
  readonly transactionsPerSecond: number;
  readonly queriesPerSecond: number;
  readonly bytesReceivedPerSecond: number;
  readonly bytesSentPerSecond: number;
  readonly queryUs: number;
  readonly waitUs: number;
  readonly databases: number;
  readonly tenants: number;
  readonly residentBytes: number;
}

/** A proxy of the fleet. */
export interface FleetProxySnapshot {
  readonly name: string;
  /** this process */
  readonly isOwn: boolean;
  readonly address: string;
  readonly port: number;
  /** null: none yet */
  readonly peerId: number | null;
  readonly version: string;
  /** of its lifecycle, or `away`, `ended` */
  readonly state: string;
  readonly startedAtMs: number;
  /** ms since its last heartbeat, by the store's clock; null: it has never reached the store */
  readonly sinceHeartbeatMs: number | null;
  readonly load: LoadSnapshot;
}

/** The fleet, as this proxy knows it. */
export interface FleetSnapshot {
  /** `off`: fleet_store is not set */
  readonly store: 'off' | 'connecting' | 'up' | 'away';
  /** why the store is away; '': it is not */
  readonly problem: string;
  /** ms since the store has last answered; null: never */
  readonly sinceContactMs: number | null;
  /** this one first, then the others by name */
  readonly proxies: readonly FleetProxySnapshot[];
  /** lines for the fleet's audit log that wait for the store, and those that were dropped */
  readonly waitingAuditLines: number;
  readonly lostAuditLines: number;
  /** rows of the store that were ignored because they are damaged */
  readonly refusedRows: number;
}

export interface ObserveFleet {
  observe(): FleetSnapshot;
}
