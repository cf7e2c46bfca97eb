/** A connection to PostgreSQL: its state, its user, and its end. */
import type { Socket } from 'node:net';
import type { DatabaseConfig, PoolMode } from '../config/config.ts';
import { TERMINATE } from '../wire/messages.ts';
import { TxStatus } from '../wire/protocol.ts';
import type { Context } from './context.ts';
import { readIdleMessages } from './idle-messages.ts';
import { PreparedStatements } from './prepared.ts';
import type { Resolver } from './resolver.ts';
import { endLabel, serverLabel } from './server-label.ts';
import { ServerSettings } from './server-settings.ts';
import { checkMove, type ServerState } from './server-state.ts';
import { unixPath, type Target } from './socket.ts';

/** The receiver of a server's bytes: the linked client, or one of the proxy's own conversations. */
export interface ServerUser {
  /** Bytes from the server; the buffer is only valid during the call. */
  onServerBytes(server: Server, chunk: Buffer): void;
  /** The connection is gone, and the user did not close it. */
  onServerClosed(server: Server, reason: string): void;
  /** True while something is open or outstanding; undefined: always. */
  readonly inTransaction?: boolean;
  /** True: the client asked for any reader, has nothing open, and can continue at another one; undefined: it can not. */
  readonly mayMove?: boolean;
  /** When the running statement began, in ms of performance.now(); 0 or undefined: unknown. */
  readonly queryStart?: number;
  /** Everything written has left: reading from the other side may continue. */
  onServerDrain(server: Server): void;
}

/** The pool as its servers need it. */
export interface ServerOwner {
  readonly context: Context;
  readonly resolver: Resolver;
  readonly database: { readonly name: string; readonly config: DatabaseConfig };
  /** The user that the server is logged in as. */
  readonly user: string;
  readonly mode: PoolMode;
  /** The epoch of the database's cluster (watch.ts); null: no cluster is watched. */
  readonly epoch: number | null;
  /** The server comes back from its user. */
  give(server: Server): void;
  /** A cancel request has reached the server. */
  cancelDelivered(server: Server): void;
  /** Closes the server now if it is free, otherwise as soon as it is. */
  retireServer(server: Server, reason: string): void;
  /** One of the proxy's own queries begins or ends, so that the server will soon come free by itself. */
  noteTested(server: Server, isTested: boolean): void;
  /** The other side has ended the connection, or it broke. */
  serverLost(server: Server, reason: string): void;
  /** The server sent an error while it was idle. */
  serverFailed(server: Server, sqlstate: string): void;
  /** The server is gone. */
  forget(server: Server): void;
}

/** The purpose of a connection: being lent, one replication connection, or probing the node itself. */
export type Purpose = 'pool' | 'dedicated' | 'probe';

export class Server {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  /** It serves one replication connection and nothing else. */
  readonly isDedicated: boolean;
  /** It asks a node of a cluster, up to many times a second while there is no answer: not worth a log line each time. */
  readonly isProbe: boolean;
  /** `address:port` of its local end. */
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  /** ms of performance.now() */
  readonly connectedAt: number;
  readonly settings: ServerSettings;
  readonly prepared = new PreparedStatements();
  #pool: ServerOwner;
  #socket: Socket;
  #state: ServerState = 'login';
  #user: ServerUser | null = null;
  #txStatus: number = TxStatus.Idle;
  #pid = 0;
  #cancelKey: Buffer = Buffer.alloc(0);
  #tls = '';
  #requestedAt: number;
  #releasedAt: number;
  #closeReason: string | null = null;
  #cancelsInFlight = 0;
  #epoch: number;
  #needsReset = false;
  #inDoubt = false;
  #sendFailed = false;

  constructor(pool: ServerOwner, id: number, socket: Socket, { host, port }: Target, purpose: Purpose) {
    this.#pool = pool;
    this.id = id;
    this.#socket = socket;
    this.host = host;
    this.port = port;
    this.isDedicated = purpose === 'dedicated';
    this.isProbe = purpose === 'probe';
    this.localAddress = socket.localAddress ?? 'unix';
    this.localPort = socket.localPort ?? port;
    this.remoteAddress = socket.remoteAddress ?? '';
    this.settings = new ServerSettings(pool.context.tracked);
    this.connectedAt = performance.now();
    this.#epoch = pool.epoch ?? 0;
    this.#requestedAt = this.connectedAt;
    this.#releasedAt = this.connectedAt;
    this.#listen(socket);
  }

  #listen(socket: Socket): void {
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#pool.context.log.debug({ server: this.id, err: error }, `${this.label} ${error.message}`);
      this.#sendFailed = error.syscall === 'write';
      this.lost('server conn crashed?');
    });
    socket.on('close', () => this.lost('server conn crashed?'));
    socket.on('end', () => this.lost('server conn crashed?'));
    socket.on('drain', () => this.#user?.onServerDrain(this));
  }

  // its state

  /** The pool that owns it; a switchover may move it to another one (`transfer`). */
  get pool(): ServerOwner {
    return this.#pool;
  }

  get socket(): Socket {
    return this.#socket;
  }

  get state(): ServerState {
    return this.#state;
  }

  /** The receiver of its bytes; null: not in use. */
  get user(): ServerUser | null {
    return this.#user;
  }

  /** The transaction status of the last ReadyForQuery. */
  get txStatus(): number {
    return this.#txStatus;
  }

  /** The key from BackendKeyData, for a CancelRequest. */
  get pid(): number {
    return this.#pid;
  }

  get cancelKey(): Buffer {
    return this.#cancelKey;
  }

  /** `TLSv1.3/TLS_AES_256_GCM_SHA384`, or '' */
  get tls(): string {
    return this.#tls;
  }

  /** When it was last lent, in ms of performance.now(). */
  get requestedAt(): number {
    return this.#requestedAt;
  }

  /** When it last came free, in ms of performance.now(). */
  get releasedAt(): number {
    return this.#releasedAt;
  }

  /** Why it will be closed as soon as it is free; null: it will not. */
  get closeReason(): string | null {
    return this.#closeReason;
  }

  /** Cancel requests on their way to this server: it is not lent before they are delivered. */
  get cancelsInFlight(): number {
    return this.#cancelsInFlight;
  }

  /** The epoch of the cluster in which it was made or last checked (watch.ts). */
  get epoch(): number {
    return this.#epoch;
  }

  /** A session has left state that only server_reset_query removes. */
  get needsReset(): boolean {
    return this.#needsReset;
  }

  /** Replies to its last user may still arrive. */
  get inDoubt(): boolean {
    return this.#inDoubt;
  }

  /** The last write was not sent in full: the server does not have its end. */
  get sendFailed(): boolean {
    return this.#sendFailed;
  }

  /** Start of every log line about this server, in pgbouncer's form. */
  get label(): string {
    const { database, user } = this.#pool;
    const host = unixPath(this) === null && this.remoteAddress !== '' ? this.remoteAddress : this.host;
    return serverLabel(this.id, database.name, user, { host, port: this.port });
  }

  /** `address:port` of the connection's end here, for the log. */
  get localEnd(): string {
    return endLabel(this.localAddress, this.localPort);
  }

  get ageSeconds(): number {
    return Math.floor((performance.now() - this.connectedAt) / 1000);
  }

  // verbs

  /** @throws Error if `next` may not follow the present state */
  moveTo(next: ServerState): void {
    const before = this.#state;
    checkMove(before, next);
    this.#state = next;
    // a probe does not belong to its pool's servers
    if (this.isProbe) return;
    if (next === 'tested') this.#pool.noteTested(this, true);
    else if (before === 'tested') this.#pool.noteTested(this, false);
  }

  /** From now on this user gets its bytes. */
  attach(user: ServerUser): void {
    this.#user = user;
  }

  /** It has no user from now on. */
  detach(): void {
    this.#user = null;
  }

  /** It becomes an idle server of another pool with the same login that connects to the same place now. */
  transfer(pool: ServerOwner): void {
    this.#pool = pool;
    this.#epoch = pool.epoch ?? 0;
    // it may have logged in before its node became the writer, and reports that with its next answer only
    this.settings.forget('in_hot_standby');
  }

  /** TLS is used: `socket` replaces the plain one. */
  encrypted(socket: Socket, tls: string): void {
    this.#socket = socket;
    this.#tls = tls;
    this.#listen(socket);
  }

  noteKey(pid: number, cancelKey: Buffer): void {
    this.#pid = pid;
    this.#cancelKey = cancelKey;
  }

  /** A ReadyForQuery has arrived. */
  noteStatus(txStatus: number): void {
    this.#txStatus = txStatus;
  }

  /** @param now ms of performance.now() */
  noteRequest(now: number): void {
    this.#requestedAt = now;
  }

  /** @param now ms of performance.now() */
  noteRelease(now: number): void {
    this.#releasedAt = now;
  }

  /** It was checked in this epoch of its cluster. */
  noteEpoch(epoch: number): void {
    this.#epoch = epoch;
  }

  /** A session has used it: server_reset_query must run before the next client gets it. */
  markForReset(): void {
    this.#needsReset = true;
  }

  /** Replies may still arrive: the next client gets it when the server has sent all of them. */
  markInDoubt(): void {
    this.#inDoubt = true;
  }

  /** Nothing must be reset, or the reset has begun. */
  noteReset(): void {
    this.#needsReset = false;
  }

  /** The check has begun whether replies may still arrive. */
  noteSettling(): void {
    this.#inDoubt = false;
  }

  cancelBegins(): void {
    this.#cancelsInFlight++;
  }

  /** A cancel request was delivered, or could not be. */
  cancelEnds(): void {
    this.#cancelsInFlight--;
    this.#pool.cancelDelivered(this);
  }

  /** It will be closed as soon as it is free. */
  closeWhenFree(reason: string): void {
    this.#closeReason = reason;
  }

  /** Sends bytes. False: they wait in this process, and reading from the other side should stop until `onServerDrain`. */
  write(bytes: Buffer): boolean {
    this.#socket.write(bytes);
    return this.#socket.writableLength === 0;
  }

  /** Bytes have arrived (called for every read). */
  receive(chunk: Buffer): void {
    const user = this.#user;
    if (user !== null) user.onServerBytes(this, chunk);
    else this.#receiveIdle(chunk);
  }

  /** The other side has ended the connection, or it broke. */
  lost(reason: string): void {
    if (this.#state === 'closed') return;
    // before anything else, so that no waiter gets another server with the same target
    if (this.#state !== 'login') this.#pool.serverLost(this, reason);
    this.close(reason);
  }

  /**
   * Ends the connection: with Terminate, unless the server is in the middle of a message. The pool is told; the user is told
   * if `notify`.
   */
  close(reason: string, options: { notify?: boolean; level?: 'info' | 'warn' } = {}): void {
    if (this.#state === 'closed') return;
    const wasInLogin = this.#state === 'login';
    this.moveTo('closed');
    const user = this.#user;
    this.#user = null;
    const { log, settings } = this.#pool.context;
    if ((settings.log_disconnections && !this.isProbe) || options.level === 'warn') {
      log[options.level ?? 'info'](
        { server: this.id, event: 'server_close', reason },
        `${this.label} closing because: ${reason} (age=${this.ageSeconds}s)`,
      );
    }
    const socket = this.#socket;
    // bytes that wait for encryption may have left already
    if (this.#tls === '' && socket.writableLength > 0) this.#sendFailed = true;
    if (!wasInLogin && !this.#sendFailed && !socket.destroyed && socket.writable) {
      socket.end(TERMINATE);
      // The other side normally closes at once; if it does not, it must not keep the socket.
      socket.removeAllListeners('data');
      // a user that has paused it may still have to send the contents of its read buffer
      if (!socket.isPaused()) socket.resume();
      setTimeout(() => socket.destroy(), 1000).unref();
    } else {
      socket.destroy();
    }
    this.#pool.forget(this);
    if (options.notify !== false) user?.onServerClosed(this, reason);
  }

  #receiveIdle(chunk: Buffer): void {
    const { max_packet_size: largest } = this.#pool.context.settings;
    const end = readIdleMessages(chunk, largest, (name, value) => this.settings.note(name, value));
    if (end === null) return;
    if (end.sqlstate === null) return this.close(end.reason, { level: 'warn' });
    this.#pool.serverFailed(this, end.sqlstate);
    this.close(end.reason);
  }
}
