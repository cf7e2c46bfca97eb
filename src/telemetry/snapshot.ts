/**
 * Snapshots: the types of the data that each part of the proxy shows about itself. The console, metrics and other processes
 * read these and nothing else, so they are plain data: numbers, strings, booleans, null, lists and records, with no reference
 * to a live object. Units are in the names; `...AtMs` is a time in ms since 1970.
 * The `Observe...` interfaces return the snapshots of one part on demand. Methods that return an Iterable build each snapshot
 * on demand, because there may be thousands. Time may pass between two of them: anything that has gone meanwhile is left out.
 */
import type { DatabaseTimesSnapshot, HistogramSnapshot } from './histogram.ts';
import type { StatValues } from './stats-history.ts';

/** The state of one tenant's user functions. */
export type TenantState =
  | 'serving'
  | 'serving old version'
  | "fleet's version"
  /** an administrator has gone back to this version */
  | 'pinned'
  | 'loading'
  | 'not loaded'
  | 'no version'
  | 'suspended'
  | 'missing'
  | 'paused';

/** One tenant: user functions that apply to one or more databases. */
export interface TenantSnapshot {
  /** unique among all tenants of the proxy */
  readonly id: string;
  /** the tenant's name; files that a database's options name are counted apart, under the same name */
  readonly owner: string;
  /** the folder that the functions belong to, absolute */
  readonly name: string;
  /** absolute path of the file with the routing function; '': none */
  readonly routingFile: string;
  /** absolute path of the file with the rewriting function; '': none */
  readonly rewriteFile: string;
  /** names of the databases whose clients the functions judge; `*`: all that have no functions of their own */
  readonly databases: readonly string[];
  readonly state: TenantState;
  /** hash of the code that serves; '': no version serves */
  readonly version: string;
  /** when that version was loaded, in ms since 1970; null: no version serves */
  readonly loadedAtMs: number | null;
  readonly isolation: 'inline' | 'process';
  /** of the process that its calls run in; null: there is none just now */
  readonly pid: number | null;
  /** its breaker is open: it has failed for many clients, and is not asked for a while */
  readonly isSuspended: boolean;
  /** of the last one to two minutes: how long a call takes, waiting included; null: there was none */
  readonly p50Us: number | null;
  readonly p99Us: number | null;
  /** memory that the isolate of its version held after the last batch; 0: unknown */
  readonly heapBytes: number;
  /** of all functions of the tenant of that name: processor time, in ms */
  readonly cpu: CpuSnapshot;
  readonly recall: RecallSnapshot;
  readonly calls: number;
  readonly routed: number;
  readonly rewritten: number;
  readonly rejected: number;
  /** queries that passed although a function failed on them, as the policies have it */
  readonly unjudged: number;
  /** requests to move to another database inside a transaction or pipeline */
  readonly refusedMoves: number;
  /** failed calls, by outcome (FailureOutcome) */
  readonly failures: Readonly<Record<string, number>>;
  /** how long calls took, waiting included: one entry for each outcome that has occurred */
  readonly callTimes: readonly CallTimesSnapshot[];
  /** the last failure of a call, or the last complaint about the files; '': none */
  readonly lastError: string;
  /** when that was, in ms since 1970; null: never */
  readonly lastErrorAtMs: number | null;
}

/** How long the calls took that ended in one way. */
export interface CallTimesSnapshot {
  /** a FailureOutcome, or `unchanged`, `changed` (routed, rewritten or both) or `rejected` */
  readonly outcome: string;
  readonly histogram: HistogramSnapshot;
}

/** The remembered decisions of a tenant. */
export interface RecallSnapshot {
  /** whether decisions of its version are remembered, as `yes` or `no: why`; '': no version serves */
  readonly remembered: string;
  /** queries that were answered from memory, and those that could have been */
  readonly hits: number;
  readonly misses: number;
  readonly entries: number;
  readonly bytes: number;
}

/** The processor time of a tenant, and its budget. Times are in ms. */
export interface CpuSnapshot {
  readonly totalMs: number;
  readonly lastMinuteMs: number;
  /** in a second; 0: none */
  readonly limitMs: number;
  /** its bucket has been empty, and has not been refilled */
  readonly isOver: boolean;
  /** calls of this set of functions that wait for the bucket */
  readonly waiting: number;
  /** calls that have failed, and that have waited, because its bucket was empty */
  readonly refused: number;
  readonly waited: number;
}

export interface FunctionsSnapshot {
  readonly tenants: readonly TenantSnapshot[];
}

/** How often something happened while a candidate was shadowed. */
export interface ShadowCount {
  readonly kind: string;
  readonly count: number;
}

/** A query about which the candidate and the serving version disagreed, with `?` for each constant. */
export interface DifferenceSample {
  readonly kind: string;
  readonly atMs: number;
  readonly user: string;
  readonly database: string;
  readonly query: string;
  /** what each version decided, in words */
  readonly serving: string;
  readonly candidate: string;
  /** processor time of each call; null: unknown */
  readonly servingUs: number | null;
  readonly candidateUs: number | null;
}

export interface ShadowReportSnapshot {
  /** queries about which both versions were asked, and those that they treat alike */
  readonly compared: number;
  readonly same: number;
  /** mean processor time of a call; null: unknown */
  readonly servingUs: number | null;
  readonly candidateUs: number | null;
  readonly differences: readonly ShadowCount[];
  /** queries that the candidate was not asked about, by reason */
  readonly uncompared: readonly ShadowCount[];
  readonly samples: readonly DifferenceSample[];
}

/** What is being done with a tenant's candidate. */
export type RolloutState =
  | 'no candidate'
  | 'off'
  | 'loading'
  | 'not loaded'
  | 'same as serving'
  | 'shadow'
  | 'canary';

/** A tenant's candidate, and its comparison with the version that serves. */
export interface RolloutSnapshot {
  /** the tenant's name */
  readonly owner: string;
  readonly state: RolloutState;
  /** that the candidate is made of, absolute */
  readonly files: readonly string[];
  /** hashes; '': none */
  readonly servingVersion: string;
  readonly candidateVersion: string;
  /** the last complaint about the candidate; '': none */
  readonly lastError: string;
  readonly report: ShadowReportSnapshot;
  /** null: none is running */
  readonly canary: CanarySnapshot | null;
  /** how the last one ended; '': there was none */
  readonly lastCanary: string;
}

/** What the clients of one version of a canary have seen. */
export interface ArmSnapshot {
  /** clients with calls in the last minute */
  readonly clients: number;
  readonly calls: number;
  /** of the candidate: calls that it failed on, and that the serving version then answered */
  readonly failures: number;
  readonly rejections: number;
  /** mean time of a call, waiting included; null: there was none */
  readonly meanUs: number | null;
  /** queries that a server has answered */
  readonly answers: number;
  /** errors of servers, by the first two characters of the SQLSTATE */
  readonly errors: Readonly<Record<string, number>>;
}

export interface CanarySnapshot {
  /** of the clients */
  readonly percent: number;
  /** the candidate is to serve after `durationMs` */
  readonly isPromoted: boolean;
  /** since the comparison began */
  readonly lastsMs: number;
  readonly durationMs: number;
  readonly serving: ArmSnapshot;
  readonly candidate: ArmSnapshot;
}

/**
 * A client's activity: logging in, connected without a server, linked to a server, waiting for one, or delivering a cancel
 * request, which may or may not have been sent to the server.
 */
export type ClientPhase =
  | 'login'
  | 'idle'
  | 'active'
  | 'waiting'
  | 'active_cancel_req'
  | 'waiting_cancel_req';

/**
 * A server's activity. `used`: idle for so long that it is checked before it is lent; `tested`: in one of the proxy's own
 * queries.
 */
export type ServerPhase = 'active' | 'idle' | 'used' | 'tested' | 'new' | 'being_canceled';

/** The progress of a connection that delivers a cancel request to a server. */
export type CancelPhase = 'new' | 'active_cancel';

interface Connection {
  /** unique among clients, servers and cancel requests on their way */
  readonly id: number;
  readonly user: string;
  readonly database: string;
  readonly replication: 'none' | 'logical' | 'physical';
  /** of the other end; `unix`: a Unix socket */
  readonly address: string;
  readonly port: number;
  /** of this end */
  readonly localAddress: string;
  readonly localPort: number;
  readonly connectedAtMs: number;
  /** when its present work began */
  readonly requestedAtMs: number;
  /** how long a client has waited for a server, or for the end of its query */
  readonly waitedMs: number;
  /** to be closed as soon as it is free (RECONNECT, RELOAD) */
  readonly isClosing: boolean;
  /** the client's server, the server's client, or the client that asked for a cancel; null: none */
  readonly linkedId: number | null;
  /** of the backend, or of the client on a Unix socket; 0: not known */
  readonly processId: number;
  /** protocol and cipher, as `TLSv1.3/TLS_AES_256_GCM_SHA384`; '': no TLS */
  readonly tls: string;
  readonly applicationName: string;
  readonly preparedStatements: number;
  /** of the message that is arriving: bytes that have not arrived yet */
  readonly bodyLeftBytes: number;
  /** received, and not yet handled */
  readonly receivedBytes: number;
  /** written, and not yet taken by the operating system */
  readonly unsentBytes: number;
}

export interface ClientSnapshot extends Connection {
  readonly kind: 'client';
  readonly phase: ClientPhase;
}

export interface ServerSnapshot extends Connection {
  readonly kind: 'server';
  readonly phase: ServerPhase;
}

/** A connection that takes a cancel request to a server. */
export interface CancelSnapshot extends Connection {
  readonly kind: 'cancel';
  readonly phase: CancelPhase;
}

export type ConnectionSnapshot = ClientSnapshot | ServerSnapshot | CancelSnapshot;

/** The number of clients that a pool has, those of its first login included. */
export interface PoolClientsSnapshot {
  readonly database: string;
  /** of the pool, whatever user the clients logged in as */
  readonly user: string;
  readonly active: number;
  readonly waiting: number;
  /** of the client that has waited longest; 0: none waits */
  readonly longestWaitMs: number;
}

/** The number of clients. */
export interface SessionsSnapshot {
  readonly clients: number;
  readonly loggingIn: number;
  /** on the console */
  readonly onConsole: number;
  readonly pools: readonly PoolClientsSnapshot[];
  /** clients that have logged in, by user */
  readonly users: readonly { readonly name: string; readonly clients: number }[];
}

/** A descriptor of the process: a listening socket, a client or a server. */
export interface DescriptorSnapshot {
  readonly fd: number;
  readonly task: 'pooler' | 'client' | 'server';
  /** null: not known yet, or a listening socket */
  readonly user: string | null;
  readonly database: string | null;
  readonly address: string;
  readonly port: number;
  /** the first eight bytes of the cancel key, as a signed decimal number; '0': none */
  readonly cancelKey: string;
  /** descriptor of the client's server or the server's client; 0: none */
  readonly linkedFd: number;
  /** session parameters; null: not known */
  readonly clientEncoding: string | null;
  readonly standardStrings: string | null;
  readonly dateStyle: string | null;
  readonly timeZone: string | null;
}

export interface ObserveSessions {
  /** The number of clients, counted in one pass over them. */
  observe(): SessionsSnapshot;
  /** Each client, in the order of the names of databases and users. */
  clients(): Iterable<ClientSnapshot>;
  /** The same for those with bytes that have not been dealt with. No snapshots are built of the others. */
  busyClients(): Iterable<ClientSnapshot>;
  /** Clients and servers without TLS, the console's clients excepted, each pool's clients before its servers. */
  descriptors(): Iterable<DescriptorSnapshot>;
}

export type PoolModeName = 'session' | 'transaction' | 'statement';

/** The servers of one (database, user) pair. */
export interface PoolSnapshot {
  readonly database: string;
  readonly user: string;
  readonly mode: PoolModeName;
  /** how servers are spread over a list of hosts; null: there is one host */
  readonly balancing: string | null;
  /** servers by phase */
  readonly servers: Readonly<Record<ServerPhase, number>>;
  /** connections that are being made, those without a socket yet included */
  readonly connecting: number;
  /** cancel requests: sent to a server, and not yet sent */
  readonly activeCancels: number;
  readonly waitingCancels: number;
  /** a sentence about the last attempt to connect, if it failed; null: it did not */
  readonly lastFailure: string | null;
}

/** A database with the limits that apply to it, its own or the global ones. 0: no limit. */
export interface DatabaseSnapshot {
  readonly name: string;
  /** null: the local Unix socket */
  readonly hosts: string | null;
  readonly port: number;
  /** its name at the server */
  readonly serverDatabase: string;
  /** null: the client's */
  readonly forcedUser: string | null;
  readonly poolSize: number;
  readonly minPoolSize: number;
  readonly reservePoolSize: number;
  readonly serverLifetimeMs: number;
  /** null: the global one */
  readonly mode: PoolModeName | null;
  readonly balancing: string | null;
  readonly maxConnections: number;
  readonly connections: number;
  readonly maxClientConnections: number;
  readonly clientConnections: number;
  readonly isPaused: boolean;
  readonly isDisabled: boolean;
}

/** A user of auth_file or [users], or one that has logged in. Options are null if the user's entry does not set them. */
export interface UserSnapshot {
  readonly name: string;
  readonly poolSize: number | null;
  readonly reservePoolSize: number | null;
  readonly mode: PoolModeName | null;
  /** 0: no limit */
  readonly maxConnections: number;
  readonly connections: number;
  readonly maxClientConnections: number;
}

/** Another process of the same service, and the cancel requests on their way to it. */
export interface PeerSnapshot {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly poolSize: number;
  readonly activeCancels: number;
  readonly waitingCancels: number;
  readonly connecting: number;
}

/** A host name that was looked up. */
export interface HostSnapshot {
  readonly name: string;
  readonly ttlSeconds: number;
  readonly addresses: readonly string[];
}

/** The number of databases, pools and servers. */
export interface PoolsSnapshot {
  readonly databases: number;
  readonly users: number;
  readonly peers: number;
  readonly pools: number;
  /** servers that exist or are being made */
  readonly servers: number;
  /** host names that were looked up, and look-ups without an answer yet */
  readonly hostNames: number;
  readonly pendingLookups: number;
}

export interface ObservePools {
  /** The number of databases, pools and servers. */
  observe(): PoolsSnapshot;
  /** Each database, by name, except the console's. */
  databases(): Iterable<DatabaseSnapshot>;
  /** Each pool, by database and user, except the console's. */
  pools(): Iterable<PoolSnapshot>;
  /** Each server and each cancel request on its way to one, by pool. */
  servers(): Iterable<ServerSnapshot | CancelSnapshot>;
  /** Each server with bytes that it has not taken yet. No snapshots are built of the others. */
  busyServers(): Iterable<ServerSnapshot>;
  /** Each user, by name; the console's own, `pgbouncer`, included. */
  users(): Iterable<UserSnapshot>;
  peers(): PeerSnapshot[];
  hosts(): HostSnapshot[];
}

/** The counters of one database. */
export interface StatisticsSnapshot {
  readonly database: string;
  readonly totals: StatValues;
  readonly averages: StatValues;
  readonly times: DatabaseTimesSnapshot;
}

/** The same without averages, which cost more than all of it. */
export type CountersSnapshot = Omit<StatisticsSnapshot, 'averages'>;

export interface ObserveStatistics {
  /** Each database that has been used, and the console, by name. */
  databases(): Iterable<StatisticsSnapshot>;
  /** The same, without averages. */
  counters(): Iterable<CountersSnapshot>;
  /** All counters added up. */
  total(): Omit<StatisticsSnapshot, 'database' | 'times'>;
}

/** What became of the queries that were chosen for a trace. */
export interface TracesSnapshot {
  readonly chosen: number;
  /** queries that would have been chosen, were it not for otlp_traces_per_second */
  readonly overLimit: number;
  /** traces that the collector has taken, and those that were lost */
  readonly exported: number;
  readonly dropped: number;
}

/** A server of a watched cluster (topology_query). */
export interface NodeSnapshot {
  readonly database: string;
  /** `host:port` */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly role: 'unknown' | 'writer' | 'reader';
  readonly state: string;
  /** null: unknown; the same for the fields below */
  readonly timeline: number | null;
  readonly lagBytes: number | null;
  readonly lagSeconds: number | null;
  /** ms since the last answer to a probe */
  readonly sinceProbeMs: number | null;
  /** ms since its role or state changed */
  readonly sinceChangeMs: number;
  /** role and status of the topology query */
  readonly label: string;
  /** its problem; '': none */
  readonly problem: string;
}

/** A switchover or an alarm. Durations count from its detection; null: not yet. */
export interface SwitchoverSnapshot {
  readonly database: string;
  readonly detectedAtMs: number;
  readonly from: string;
  /** the same node: a false alarm or a restart; '': not over yet */
  readonly to: string;
  readonly detectedBy: string;
  /** from the last sign of life of the old writer */
  readonly detectionMs: number;
  readonly writerFoundMs: number | null;
  readonly resumedMs: number | null;
  readonly clientsHeld: number;
  readonly transactionsBroken: number;
}

/** All switchovers and alarms of a database that ended in one way. */
export interface SwitchoverTallySnapshot {
  readonly database: string;
  /** `moved`: another node; `returned`: the old one, which was gone; `given_up`: a SWITCHOVER; `false_alarm` */
  readonly outcome: string;
  /** from the detection until clients went on */
  readonly gaps: HistogramSnapshot;
}

export interface ObserveSwitchovers {
  /** Each node of each cluster. */
  nodes(): NodeSnapshot[];
  /** The last switchovers of all databases, the oldest first. */
  switchovers(): SwitchoverSnapshot[];
  /** Of all switchovers since the start. */
  tallies(): SwitchoverTallySnapshot[];
}

export interface ObserveFunctions {
  observe(): FunctionsSnapshot;
  /** Of all sets of functions of a tenant, by its name. */
  observeRollouts(owner: string): RolloutSnapshot[];
}

/** The memory of the process. */
export interface MemorySnapshot {
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  /** memory of buffers, outside of the heap */
  readonly externalBytes: number;
  readonly residentBytes: number;
}

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
