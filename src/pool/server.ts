import type { Socket } from 'node:net';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../wire/frame.ts';
import { TERMINATE, parseErrorFields, parseParameterStatus } from '../wire/messages.ts';
import { Backend, HEADER_BYTES, TxStatus } from '../wire/protocol.ts';
import type { ParameterValues } from './parameters.ts';
import type { Pool } from './pool.ts';
import { unixPath } from './socket.ts';

/**
 * `login`: connecting and logging in; `tested`: a reset, check or connect query of the proxy's own is running; `used`:
 * idle for so long that it is checked before it is lent; `closed`: gone.
 */
export type ServerState = 'login' | 'idle' | 'used' | 'tested' | 'active' | 'closed';

/** Whoever the bytes of a server go to: the client that it is linked to, or a conversation of the proxy's own. */
export interface ServerUser {
  /** Bytes from the server; the buffer is only valid during the call. */
  onServerBytes(server: Server, chunk: Buffer): void;
  /** The connection is gone, without the user having asked for it. */
  onServerClosed(server: Server, reason: string): void;
  /** Something is open or outstanding; undefined: it is always so. */
  readonly inTransaction?: boolean;
  /** It asked for any reader, has nothing open, and goes on at another; undefined: it does not. */
  readonly mayMove?: boolean;
  /** ms of performance.now() at the beginning of the statement that runs; 0 or undefined: not known */
  readonly queryStart?: number;
  /** Everything that was written has left: reading may go on at the other side. */
  onServerDrain(server: Server): void;
}

/** A connection to PostgreSQL. */
export class Server {
  readonly id: number;
  /** whose it is now (Pool.takeOver) */
  pool: Pool;
  readonly host: string;
  readonly port: number;
  socket: Socket;
  #state: ServerState = 'login';
  user: ServerUser | null = null;

  /** of BackendKeyData: what a CancelRequest needs */
  pid = 0;
  cancelKey: Buffer = Buffer.alloc(0);
  /** transaction status of the last ReadyForQuery */
  txStatus: number = TxStatus.Idle;
  /** tracked parameters as the server last reported them */
  readonly parameters: ParameterValues = [];
  /** as its configuration has them, and as connect_query has left them (parameters.ts) */
  reset: ParameterValues = [];
  defaults: ParameterValues = [];
  /**
   * shared statements that this server has prepared, least recently used first (Map order), with the position of their Parse
   * in the ledger of its client; negative: it is answered
   */
  readonly prepared = new Map<unknown, number>();
  /** what it says that their results are, as hashes, as far as it was asked (prepared.ts) */
  readonly shapes = new WeakMap<object, string>();
  /** `TLSv1.3/TLS_AES_256_GCM_SHA384`, or '' */
  tls = '';
  /** "address:port" that the socket has here */
  localAddress = '';
  localPort = 0;
  remoteAddress = '';

  /** ms of performance.now() */
  readonly connectedAt: number;
  requestedAt: number;
  releasedAt: number;
  /** to be closed as soon as it is free, and why */
  closeReason: string | null = null;
  /** cancel requests on their way to this server: it is not lent before they are delivered */
  cancelsInFlight = 0;
  /** of the cluster when it was made or last checked (cluster.ts) */
  epoch = 0;
  /** for one replication connection alone */
  isDedicated = false;
  /** it asks a node of a cluster how it is, many times a second where there is no answer: not worth a line each time */
  isProbe = false;
  /** state left behind that only a reset takes away (it was linked in session mode) */
  needsReset = false;

  /** what was written last has not been sent, and will not be: the other side does not have its end */
  sendFailed = false;

  /** answers may still come that nobody waits for */
  inDoubt = false;

  constructor(pool: Pool, id: number, socket: Socket, host: string, port: number) {
    this.pool = pool;
    this.id = id;
    this.socket = socket;
    this.host = host;
    this.port = port;
    this.connectedAt = performance.now();
    this.epoch = pool.database.watch?.epoch ?? 0;
    this.requestedAt = this.connectedAt;
    this.releasedAt = this.connectedAt;
  }

  get state(): ServerState {
    return this.#state;
  }

  set state(next: ServerState) {
    this.#state = next;
    // a probe is none of its pool's servers
    if (this.isProbe) return;
    if (next === 'tested') this.pool.tested.add(this);
    else this.pool.tested.delete(this);
  }

  /** Start of every log line about this server, in pgbouncer's form. */
  get label(): string {
    const { database, user } = this.pool;
    const isUnix = unixPath(this) !== null;
    return serverLabel(
      this.id,
      database.name,
      user,
      isUnix ? this.host : this.remoteAddress || this.host,
      this.port,
    );
  }

  /** `address:port` of the connection's end here, for the log. */
  get localEnd(): string {
    return `${bracket(this.localAddress)}:${this.localPort}`;
  }

  get ageSeconds(): number {
    return Math.floor((performance.now() - this.connectedAt) / 1000);
  }

  /** Sends bytes. False: they wait in this process, and whoever feeds them should stop until `onServerDrain`. */
  write(bytes: Buffer): boolean {
    this.socket.write(bytes);
    return this.socket.writableLength === 0;
  }

  /** Bytes have arrived (called by connect.ts for every read). */
  receive(chunk: Buffer): void {
    const user = this.user;
    if (user !== null) user.onServerBytes(this, chunk);
    else this.#receiveIdle(chunk);
  }

  /** Takes over a setting that a ParameterStatus reported. */
  noteParameter(name: string, value: string): void {
    const { tracked } = this.pool.registry;
    const index = tracked.indexOf(name);
    if (index >= 0) this.parameters[index] = tracked.intern(value);
  }

  /** It has logged in: nobody has set anything yet. */
  noteLogin(): void {
    this.reset = [...this.parameters];
    this.defaults = [...this.parameters];
  }

  /** connect_query is done. */
  noteDefaults(): void {
    this.defaults = [...this.parameters];
  }

  /** The other side has ended the connection, or it broke. */
  lost(reason: string): void {
    if (this.state === 'closed') return;
    // first of all: nobody must be given another that goes to the same place
    if (this.state !== 'login') this.pool.database.watch?.serverLost(this, reason);
    this.close(reason);
  }

  /**
   * Ends the connection: politely with Terminate where the server is not in the middle of something. The pool is told;
   * the user is told when `notify`.
   */
  close(reason: string, options: { notify?: boolean; level?: 'info' | 'warn' } = {}): void {
    if (this.state === 'closed') return;
    const wasInLogin = this.state === 'login';
    this.state = 'closed';
    const user = this.user;
    this.user = null;
    const { log, config } = this.pool.registry;
    if ((config.settings.log_disconnections && !this.isProbe) || options.level === 'warn') {
      log[options.level ?? 'info'](
        { server: this.id, event: 'server_close', reason },
        `${this.label} closing because: ${reason} (age=${this.ageSeconds}s)`,
      );
    }
    // what waits for encryption may have left already
    if (this.tls === '' && this.socket.writableLength > 0) this.sendFailed = true;
    if (!wasInLogin && !this.sendFailed && !this.socket.destroyed && this.socket.writable) {
      this.socket.end(TERMINATE);
      // The other side normally closes at once; one that does not must not keep the socket.
      const socket = this.socket;
      socket.removeAllListeners('data');
      // who has paused it may still have to send what is in its read buffer
      if (!socket.isPaused()) socket.resume();
      setTimeout(() => socket.destroy(), 1000).unref();
    } else {
      this.socket.destroy();
    }
    this.pool.forget(this);
    if (options.notify !== false) user?.onServerClosed(this, reason);
  }

  /** What an idle server may say by itself: settings that changed, notices, and that it is going away. */
  #receiveIdle(chunk: Buffer): void {
    const { max_packet_size: largest } = this.pool.registry.config.settings;
    let at = 0;
    for (let end = 0; at < chunk.length; at = end) {
      const size = frameSize(chunk, at, largest);
      if (size === BAD_HEADER) return this.close('bad pkt header', { level: 'warn' });
      end = at + size;
      // A message cut in two while nobody listens is not worth a state of its own.
      if (size === INCOMPLETE || end > chunk.length)
        return this.close('partial message from an idle server', { level: 'warn' });
      const type = chunk[at];
      const payload = chunk.subarray(at + HEADER_BYTES, end);
      if (type === Backend.ParameterStatus) {
        const parameter = parseParameterStatus(payload);
        if (parameter) this.noteParameter(parameter.name, parameter.value);
      } else if (type === Backend.ErrorResponse) {
        const fields = parseErrorFields(payload);
        this.pool.onServerError(this, fields.get('C') ?? '');
        this.close(`${fields.get('M') ?? 'server error'}`);
        return;
      } else if (type !== Backend.NoticeResponse && type !== Backend.NotificationResponse) {
        this.close('unexpected message from an idle server', { level: 'warn' });
        return;
      }
    }
  }
}

/** Start of a log line about a connection to a server, whether or not it has come to be. */
export function serverLabel(id: number, database: string, user: string, host: string, port: number): string {
  const address = unixPath({ host, port }) === null ? bracket(host) : 'unix';
  return `S-0x${id.toString(16)}: ${database}/${user}@${address}:${port}`;
}

function bracket(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
