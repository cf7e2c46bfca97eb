/**
 * A connection from an application: its identity, its connection, its place in a pool, and its parts. Each part is a class that
 * alone writes its state, and knows nothing of clients. The functions that act on clients are in the folders beside this file,
 * by subject. Client knows none of them: those that react to an event are handed in as handlers.
 */
import type { Socket } from 'node:net';
import type { PoolMode } from '../config/config.ts';
import type { Decision } from '../functions/functions.ts';
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { Server, ServerUser } from '../pool/server.ts';
import type { Waiter } from '../pool/waiter.ts';
import { printable } from '../telemetry/printable.ts';
import { ClientError, clientErrors } from '../wire/errors.ts';
import { TxStatus } from '../wire/protocol.ts';
import { Clock } from './state/clock.ts';
import { Connection } from './state/connection.ts';
import type { SessionContext } from './state/context.ts';
import { Errand } from './state/errand.ts';
import type { CancelKeys } from './state/cancel-keys.ts';
import { Loan } from './state/loan.ts';
import { Login, type Replication } from './state/login.ts';
import { ADMIN_DATABASE } from './state/names.ts';
import { Question, type PendingQuestion } from './state/question.ts';
import { Gate } from './state/gate.ts';
import { Intake } from './state/intake.ts';
import { Outgoing } from './state/outgoing.ts';
import { Outstanding } from './state/outstanding.ts';
import { Replies } from './state/replies.ts';
import { Loss } from './state/loss.ts';
import { Transcript } from './state/transcript.ts';
import { SessionSettings } from './state/settings.ts';
import { Statements } from './state/statements.ts';

/** `login` until ReadyForQuery; `waiting` for a server, or a verdict on one; `active` with a server; `idle` otherwise. */
export type ClientState = 'login' | 'idle' | 'waiting' | 'active' | 'closed';

/** A client after its login: it has a place in a pool. */
export type LoggedInClient = Client & { readonly pool: Pool; readonly database: Database };

/** The proxy as clients see it, the set of all clients included. */
export interface ClientContext extends SessionContext {
  readonly cancelKeys: CancelKeys<Client>;
  /** A client has authenticated for the admin database. */
  enterConsole(client: Client): void;
  /** A client has gone and is no longer counted. */
  forget(client: Client): void;
}

/** The receiver of a client's bytes: start-up, login, relay or console. */
export interface Reader {
  /** Bytes have arrived. */
  onBytes(client: Client, chunk: Buffer): void;
  /** The gate has opened, or the client has taken its answers: continues with the held messages. */
  resume(client: Client): void;
}

/** Reactions to a client's events: one object for all clients, handed in by sessions.ts. */
export interface ClientHandlers {
  /** The user functions have answered. */
  decided(client: LoggedInClient, asked: PendingQuestion, decision: Decision): void;
  /** The linked server has sent bytes. */
  serverBytes(client: LoggedInClient, server: Server, chunk: Buffer): void;
  /** The connection to the server has ended, and the client did not end it. */
  serverLost(client: LoggedInClient, server: Server, reason: string): void;
  /** The pool lends the server that the client was waiting for. */
  serverLent(client: LoggedInClient, server: Server): void;
  /** No server will be lent: an error for the query that waits for one. */
  refused(client: LoggedInClient, error: ClientError): void;
  /** The node that the client waits for no longer answers. */
  nodeGone(client: LoggedInClient): void;
  /** The transaction had ended before, and now its answer has left. */
  flushed(client: LoggedInClient): void;
  /** The connection ends (the parameters are those of Client.close). */
  left(client: Client, reason: string, error: ClientError | null, serverReason: string | null): void;
}

const EMPTY = Buffer.alloc(0);
const NO_READER: Reader = { onBytes: () => {}, resume: () => {} };
/**
 * The unsent bytes for a client above which its messages are no longer looked at. Only the proxy's own answers add up to so
 * many: a server is not read while anything is unsent.
 */
const UNSENT_BYTES = 128 * 1024;

export class Client implements Waiter, ServerUser {
  readonly id: number;
  readonly context: ClientContext;
  readonly connection: Connection;
  readonly login = new Login();
  readonly errand = new Errand();
  readonly settings: SessionSettings;
  readonly clock: Clock;
  // from client to server
  readonly gate = new Gate();
  readonly intake = new Intake();
  readonly question = new Question();
  readonly statements: Statements;
  // the server and its answers
  readonly loan = new Loan();
  readonly outstanding = new Outstanding();
  readonly replies = new Replies();
  // the loss of a server
  readonly transcript = new Transcript();
  readonly loss = new Loss();

  readonly #handlers: ClientHandlers;
  readonly #outgoing = new Outgoing();
  #reader: Reader = NO_READER;
  #user = '';
  #databaseName = '';
  #database: Database | null = null;
  #pool: Pool | null = null;
  #alias: string | null = null;
  #isClosed = false;
  /** made on first use: most clients take their answers at once */
  #onFlushed: (() => void) | null = null;

  constructor(context: ClientContext, handlers: ClientHandlers, id: number, socket: Socket, isUnix: boolean) {
    this.id = id;
    this.context = context;
    this.#handlers = handlers;
    this.connection = new Connection(socket, isUnix, context.config.settings.listen_port);
    this.clock = new Clock(this.connection.since, context.sampler);
    this.settings = new SessionSettings(context.tracked);
    this.statements = new Statements(context.statements, context.originals, this.outstanding);
  }

  // Identity and place.

  get user(): string {
    return this.#user;
  }

  /** The name of the database that the client asked for at its login. */
  get databaseName(): string {
    return this.#databaseName;
  }

  /** The user name that the client gives. Nothing has been proved yet. */
  identify(user: string, databaseName: string): void {
    this.#user = user;
    this.#databaseName = databaseName;
  }

  /** The entry of [databases] that the client logged in to, under any name. Its user functions apply. */
  get entry(): string {
    return this.login.entry;
  }

  get replication(): Replication {
    return this.login.replication;
  }

  /** The client uses the admin console, or asks for it. */
  get isConsole(): boolean {
    return this.#databaseName === ADMIN_DATABASE;
  }

  /** Start of every log line about this client, in pgbouncer's form. */
  get label(): string {
    return `C-0x${this.id.toString(16)}: ${this.#databaseName || '(nodb)'}/${this.#user || '(nouser)'}@${this.connection.address}`;
  }

  /** The pool that gives the client its servers; null: the client has not logged in, or is on the console. */
  get pool(): Pool | null {
    return this.#pool;
  }

  /** The database of the pool. */
  get database(): Database | null {
    return this.#database;
  }

  isLoggedIn(): this is LoggedInClient {
    return this.#pool !== null;
  }

  /** Moves the client into a pool, out of the one that it was in. */
  enter(database: Database, pool: Pool): asserts this is LoggedInClient {
    this.#pool?.leave();
    this.#pool = pool;
    this.#database = database;
    pool.enter();
  }

  /** The alias that led to the database, such as dev@readers; null: the client used the database's own name. */
  get alias(): string | null {
    return this.#alias;
  }

  addressBy(alias: string | null): void {
    this.#alias = alias;
  }

  /** The point at which its server goes back. A replication connection keeps its server. */
  get poolMode(): PoolMode {
    return this.replication === 'none' && this.#pool !== null ? this.#pool.mode : 'session';
  }

  // Derived state.

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get state(): ClientState {
    if (this.#isClosed) return 'closed';
    if (this.gate.reason === 'login') return 'login';
    if (this.gate.isWaiting) return 'waiting';
    return this.server === null ? 'idle' : 'active';
  }

  /** The linked server; null: none. */
  get server(): Server | null {
    return this.loan.server;
  }

  /**
   * A transaction block or a pipeline is open, so the client keeps its server. Ask this before giving a server back, and
   * before moving, holding, ending or informing a linked client, or reporting it to user functions.
   */
  get inTransaction(): boolean {
    const { server } = this.loan;
    return server !== null && (server.txStatus !== TxStatus.Idle || this.outstanding.busy);
  }

  /** Status byte for a ReadyForQuery that the proxy itself sends. */
  get txStatus(): number {
    return this.server === null ? TxStatus.Idle : this.server.txStatus;
  }

  /** The client asked for the readers, and its session can continue on another one. */
  get mayMove(): boolean {
    return this.#alias !== null && !this.inTransaction;
  }

  get waitingSince(): number {
    return this.clock.waitingSince;
  }

  get queryStart(): number {
    return this.clock.queryStart;
  }

  // From the client.

  get socket(): Socket {
    return this.connection.socket;
  }

  /** From now on this reader gets the bytes that arrive. */
  readWith(reader: Reader): void {
    this.#reader = reader;
  }

  /** Bytes have arrived from the client. (A property, because it is the listener of the client's sockets.) */
  readonly onData = (chunk: Buffer): void => {
    if (this.#isClosed) return;
    this.clock.heard();
    if (this.#database !== null) this.#database.stats.bytesReceived += chunk.length;
    try {
      this.#reader.onBytes(this, chunk);
    } catch (error) {
      this.crash(error as Error);
    }
  };

  /** Continues with the held messages, unless the gate is still closed. */
  resume(): void {
    this.#reader.resume(this);
  }

  /** The answers that the gate was halted for have left, or have arrived. */
  resumeHalted(): void {
    this.gate.release();
    try {
      this.resume();
    } catch (error) {
      this.crash(error as Error);
    }
    this.readOn();
  }

  /** Reads from the client again, unless something else forbids it. */
  readOn(): void {
    if (this.gate.isHalted || this.intake.isFull) return;
    if (this.context.lifecycle.isSuspended && !this.isConsole) return;
    if (this.server?.socket.writableNeedDrain !== true) this.socket.resume();
  }

  /** Adds bytes for the server. `flush` sends them, in one write if they are few. */
  forward(bytes: Buffer): void {
    this.#outgoing.add(bytes);
  }

  /** Adds the bytes of a chunk from one position up to another. */
  forwardPart(chunk: Buffer, from: number, to: number): void {
    this.#outgoing.addPart(chunk, from, to);
  }

  /** Sends the forwarded bytes. The client is not read while the server does not take them. */
  flush(): void {
    if (!this.#outgoing.flush(this.server?.socket)) this.socket.pause();
  }

  // To the client.

  /** Sends an answer. The messages that it answers can no longer be resent. */
  send(bytes: Buffer, isBorrowed = false): void {
    this.transcript.noteAnswer();
    this.write(bytes, isBorrowed);
  }

  /** Sends the proxy's own answer to the first messages of a pipeline. The messages after them can still be resent. */
  sendAhead(bytes: Buffer): void {
    this.transcript.noteAnsweredAhead();
    this.write(bytes);
  }

  /**
   * Sends bytes that answer nothing. While any of them are unsent, the server is not read; while many are, the client's
   * messages are not looked at.
   * @param isBorrowed the bytes are in the read buffer of the server
   */
  write(bytes: Buffer, isBorrowed = false): void {
    if (this.#database !== null) this.#database.stats.bytesSent += bytes.length;
    if (this.connection.write(bytes, isBorrowed)) return;
    const { socket } = this.connection;
    this.server?.socket.pause();
    if (socket.writableLength > UNSENT_BYTES && !this.gate.isHalted) {
      this.gate.halt('unsent');
      socket.pause();
    }
    if (this.replies.noteUnsent()) socket.write(EMPTY, (this.#onFlushed ??= () => this.#flushed()));
  }

  #flushed(): void {
    const unlinks = this.replies.flushed();
    if (this.#isClosed) return;
    this.server?.socket.resume();
    if (unlinks && this.isLoggedIn()) this.#handlers.flushed(this);
    if (this.gate.isHalted && !this.gate.isAhead) this.resumeHalted();
  }

  // From user functions, the server and the pool.

  onDecision(asked: PendingQuestion, decision: Decision): void {
    try {
      if (this.isLoggedIn()) this.#handlers.decided(this, asked, decision);
    } catch (error) {
      this.crash(error as Error);
    }
  }

  onServerBytes(server: Server, chunk: Buffer): void {
    try {
      if (this.isLoggedIn()) this.#handlers.serverBytes(this, server, chunk);
    } catch (error) {
      this.crash(error as Error);
    }
  }

  onServerClosed(server: Server, reason: string): void {
    if (this.isLoggedIn()) this.#handlers.serverLost(this, server, reason);
  }

  onServerDrain(): void {
    this.readOn();
  }

  onServer(server: Server): void {
    if (this.#isClosed) return server.pool.give(server);
    try {
      if (this.isLoggedIn()) this.#handlers.serverLent(this, server);
    } catch (error) {
      this.crash(error as Error);
    }
  }

  onNoServer(error: ClientError): void {
    if (error.severity === 'ERROR' && this.isLoggedIn()) this.#handlers.refused(this, error);
    else this.close(error.message, error);
  }

  onNodeGone(): void {
    if (this.isLoggedIn()) this.#handlers.nodeGone(this);
  }

  // The end.

  /**
   * Ends the connection.
   * @param error sent to the client first; null: nothing, because the client has gone or asked for the end
   * @param serverReason why a server that can't be given back is closed; null: because the client left
   */
  close(reason: string, error: ClientError | null = null, serverReason: string | null = null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#handlers.left(this, reason, error, serverReason);
  }

  /** A bug of ours raised an error: it ends this client only. */
  crash(error: Error): void {
    this.context.log.error(
      { client: this.id, err: error },
      `${printable(this.label)} internal error: ${error.stack ?? error.message}`,
    );
    this.close('internal error', clientErrors.internal());
  }

  /** log_pooler_errors: logs an error that the client gets. */
  logPoolerError(error: ClientError): void {
    const { config, log } = this.context;
    if (!config.settings.log_pooler_errors) return;
    log.warn({ client: this.id, sqlstate: error.code }, `${this.label} pooler error: ${error.message}`);
  }
}
