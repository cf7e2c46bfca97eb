import type { Socket } from 'node:net';
import type { PoolMode } from '../config/config.ts';
import type { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { Waiter } from '../pool/waiter.ts';
import type { Server, ServerUser } from '../pool/server.ts';
import type { Decision } from '../functions/functions.ts';
import { printable } from '../telemetry/printable.ts';
import { ClientError, clientErrors } from '../wire/errors.ts';
import { TxStatus } from '../wire/protocol.ts';
import { Clock } from './clock.ts';
import { Connection } from './connection.ts';
import type { SessionContext } from './context.ts';
import { Errand } from './errand.ts';
import { Login, type Replication } from './login/login.ts';
import type { CancelKeys } from './link/cancel-keys.ts';
import { ADMIN_DATABASE } from './names.ts';
import { Loan } from './link/loan.ts';
import { Gate } from './relay/gate.ts';
import { Intake } from './relay/intake.ts';
import { Loss } from './resend/loss.ts';
import { Transcript } from './resend/transcript.ts';
import { SessionSettings } from './settings.ts';
import { Outgoing } from './relay/outgoing.ts';
import { Replies } from './relay/replies.ts';
import { Outstanding } from './relay/outstanding.ts';
import { Question, type Asked } from './query/question.ts';
import { Statements } from './statements/statements.ts';

/** `login` until ReadyForQuery; `waiting` for a server; `active` while linked; `idle` otherwise. */
export type ClientState = 'login' | 'idle' | 'waiting' | 'active' | 'closed';

const EMPTY = Buffer.alloc(0);
/**
 * Bytes for a client that may wait in this process before its messages are no longer looked at. What a server sends never
 * comes to that much, because the server is not read while anything waits: only answers of the proxy's own do.
 */
const UNSENT_BYTES = 128 * 1024;

/** A client after its login: it has a place in a pool. */
export type LoggedInClient = Client & { readonly pool: Pool; readonly database: Database };

/** What clients use of the proxy, the set of all clients included. */
export interface ClientContext extends SessionContext {
  readonly cancelKeys: CancelKeys<Client>;
  /** A client has authenticated to the admin database. */
  enterConsole(client: Client): void;
  /** A client has gone: it is no longer counted. */
  forget(client: Client): void;
}

/** What the bytes of a client are for: start-up, login, relay or console. */
export interface Reader {
  /** Bytes have arrived. */
  onBytes(client: Client, chunk: Buffer): void;
  /** The gate has opened, or the client has taken its answers: goes on with the messages that are held. */
  resume(client: Client): void;
}

/** What to do when something happens to a client: one object for all clients, handed in by sessions.ts. */
export interface ClientHandlers {
  /** The user functions have answered. */
  decided(client: LoggedInClient, asked: Asked, decision: Decision): void;
  /** The linked server has sent bytes. */
  serverBytes(client: LoggedInClient, server: Server, chunk: Buffer): void;
  /** The connection to the server has ended, and not by the client's doing. */
  serverLost(client: LoggedInClient, server: Server, reason: string): void;
  /** The pool lends the server that the client was waiting for. */
  serverLent(client: LoggedInClient, server: Server): void;
  /** No server will be lent: an error for the query that waits for one. */
  refused(client: LoggedInClient, error: ClientError): void;
  /** The node that the client waits for does not answer any more. */
  nodeGone(client: LoggedInClient): void;
  /** The transaction was over, and its answer has now left. */
  flushed(client: LoggedInClient): void;
  /** The connection ends (the parameters are those of Client.close). */
  left(client: Client, reason: string, error: ClientError | null, serverReason: string | null): void;
}

const NO_READER: Reader = { onBytes: () => {}, resume: () => {} };

/** A connection from an application. What happens on it is in the files beside this one, by subject. */
export class Client implements Waiter, ServerUser {
  readonly id: number;
  readonly context: ClientContext;
  readonly connection: Connection;

  // Who it is: known after start-up.
  #user = '';
  #databaseName = '';
  readonly login = new Login();
  readonly errand = new Errand();
  readonly settings: SessionSettings;

  // The link.
  readonly loan = new Loan();
  readonly outstanding = new Outstanding();
  readonly clock: Clock;

  // From client to server.
  readonly gate = new Gate();
  readonly intake = new Intake();
  readonly question = new Question();
  readonly transcript = new Transcript();
  readonly loss = new Loss();

  readonly replies = new Replies();

  readonly statements: Statements;

  readonly #handlers: ClientHandlers;
  #reader: Reader = NO_READER;
  #isClosed = false;
  #database: Database | null = null;
  #pool: Pool | null = null;
  #alias: string | null = null;
  readonly #outgoing = new Outgoing();

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

  readonly onDecision = (asked: Asked, decision: Decision): void => {
    try {
      if (this.isLoggedIn()) this.#handlers.decided(this, asked, decision);
    } catch (error) {
      this.crash(error as Error);
    }
  };

  readonly #onFlushed = (): void => {
    const unlinks = this.replies.flushed();
    if (this.#isClosed) return;
    this.server?.socket.resume();
    if (unlinks && this.isLoggedIn()) this.#handlers.flushed(this);
    if (this.gate.isHalted && !this.gate.isAhead) this.goOn();
  };

  constructor(context: ClientContext, handlers: ClientHandlers, id: number, socket: Socket, isUnix: boolean) {
    this.context = context;
    this.#handlers = handlers;
    this.settings = new SessionSettings(context.tracked);
    this.statements = new Statements(context.statements, context.originals, this.outstanding);
    this.id = id;
    this.connection = new Connection(socket, isUnix, context.config.settings.listen_port);
    this.clock = new Clock(this.connection.since);
  }

  /** The pool that gives the client its servers; null: it has not logged in, or is on the console. */
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

  /** The client takes its place in a pool. */
  enter(database: Database, pool: Pool): asserts this is LoggedInClient {
    this.#pool?.leave();
    this.#pool = pool;
    this.#database = database;
    pool.enter();
  }

  /** The alias through which the database was chosen, as dev@readers; null: it was addressed by its own name. */
  get alias(): string | null {
    return this.#alias;
  }

  addressBy(alias: string | null): void {
    this.#alias = alias;
  }

  /** The server that it has at the moment; null: none. */
  get server(): Server | null {
    return this.loan.server;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get state(): ClientState {
    if (this.#isClosed) return 'closed';
    if (this.gate.reason === 'login') return 'login';
    if (this.gate.isWaiting) return 'waiting';
    return this.server === null ? 'idle' : 'active';
  }

  get socket(): Socket {
    return this.connection.socket;
  }

  get user(): string {
    return this.#user;
  }

  get databaseName(): string {
    return this.#databaseName;
  }

  /** The entry of [databases] to which it logged in, by whatever name, and whose user functions apply. */
  get entry(): string {
    return this.login.entry;
  }

  get replication(): Replication {
    return this.login.replication;
  }

  /** The client says who it is. Nothing of it is proved yet. */
  identify(user: string, databaseName: string): void {
    this.#user = user;
    this.#databaseName = databaseName;
  }

  /** Start of every log line about this client, in pgbouncer's form. */
  get label(): string {
    return `C-0x${this.id.toString(16)}: ${this.databaseName || '(nodb)'}/${this.user || '(nouser)'}@${this.connection.address}`;
  }

  /** When its server goes back. A replication connection keeps its own. */
  get poolMode(): PoolMode {
    return this.replication === 'none' && this.#pool !== null ? this.#pool.mode : 'session';
  }

  /** It talks to the admin console, or wants to. */
  get isConsole(): boolean {
    return this.databaseName === ADMIN_DATABASE;
  }

  /** It asked for the readers, and its session can go on at another one. */
  get mayMove(): boolean {
    return this.#alias !== null && !this.inTransaction;
  }

  /**
   * A transaction block or a pipeline is open: the link must hold. The one question to ask of a linked client before its
   * server goes back, or before anything is moved, held, sent again, ended or reported to user functions.
   */
  get inTransaction(): boolean {
    return this.server !== null && (this.server.txStatus !== TxStatus.Idle || this.outstanding.busy);
  }

  // Waiter
  get waitingSince(): number {
    return this.clock.waitingSince;
  }

  // ServerUser
  get queryStart(): number {
    return this.clock.queryStart;
  }

  /** Status byte for a ReadyForQuery of the proxy's own. */
  get txStatus(): number {
    return this.server === null ? TxStatus.Idle : this.server.txStatus;
  }

  /**
   * Sends bytes that answer nothing. While bytes for the client are still in this process, its server is not read; and while
   * there are many, its messages are not looked at.
   * @param isBorrowed they are in the read buffer of the server
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
    if (this.replies.noteUnsent()) socket.write(EMPTY, this.#onFlushed);
  }

  /** Sends an answer, with which what it answers can't be sent again to another server. */
  send(bytes: Buffer, isBorrowed = false): void {
    this.transcript.noteAnswer();
    this.write(bytes, isBorrowed);
  }

  /** Sends the proxy's own answer to the first messages of a pipeline: those after them can still be sent again. */
  sendAhead(bytes: Buffer): void {
    this.transcript.noteAnsweredAhead();
    this.write(bytes);
  }

  /** What halted it is over. */
  goOn(): void {
    this.gate.release();
    try {
      this.resume();
    } catch (error) {
      this.crash(error as Error);
    }
    this.readOn();
  }

  /** Goes on with the messages that are held, unless the gate is still closed. */
  resume(): void {
    this.#reader.resume(this);
  }

  /** From now on the bytes that arrive are for this reader. */
  readWith(reader: Reader): void {
    this.#reader = reader;
  }

  /** Reads on, unless it must not be read for another reason. */
  readOn(): void {
    if (this.gate.isHalted || this.intake.isFull) return;
    if (this.context.suspended && !this.isConsole) return;
    if (this.server?.socket.writableNeedDrain !== true) this.socket.resume();
  }

  /** Bytes for the server, in order; they leave together with `flush`, in one write where they are small. */
  forward(bytes: Buffer): void {
    this.#outgoing.add(bytes);
  }

  /** Sends what `forward` was given; reading stops while the server doesn't take it. */
  flush(): void {
    if (!this.#outgoing.flush(this.server?.socket)) this.socket.pause();
  }

  // ServerUser
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

  // Waiter
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

  /** log_pooler_errors: what the client is told stands in the log, too. */
  logPoolerError(error: ClientError): void {
    const { config, log } = this.context;
    if (!config.settings.log_pooler_errors) return;
    log.warn({ client: this.id, sqlstate: error.code }, `${this.label} pooler error: ${error.message}`);
  }

  /**
   * Ends the connection.
   * @param error what the client is told first; null: nothing, it is gone already or asked for it
   * @param serverReason why a server goes with it that can't be given back; null: because the client went
   */
  close(reason: string, error: ClientError | null = null, serverReason: string | null = null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#handlers.left(this, reason, error, serverReason);
  }

  /** An error that is a bug of ours ends this client only. */
  crash(error: Error): void {
    this.context.log.error(
      { client: this.id, err: error },
      `${printable(this.label)} internal error: ${error.stack ?? error.message}`,
    );
    this.close('internal error', clientErrors.internal());
  }
}
