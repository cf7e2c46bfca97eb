/**
 * Snapshots of connections: clients, servers and cancel requests, and their descriptors.
 * Plain data, with units in the names (docs/architecture.md).
 */

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
