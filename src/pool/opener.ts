/** Opens a pool's servers, one after the other, and remembers the last failure. */
import { clientErrors, type ClientError } from '../wire/errors.ts';
import { TxStatus } from '../wire/protocol.ts';
import { isAlarm } from './alarms.ts';
import type { ConnectingPool, Opened, OpenServer } from './connect.ts';
import { runControl } from './control.ts';
import { LoginError, type Welcome } from './login.ts';
import { serverLabel } from './server-label.ts';
import type { Server, ServerOwner } from './server.ts';
import { ConnectError, unixPath, type Target } from './socket.ts';
import type { DedicatedWaiter } from './waiter.ts';
import type { PoolWatch } from './watch.ts';

/** The pool as its opener needs it. */
export interface OpeningPool extends ConnectingPool {
  readonly database: ServerOwner['database'] & { readonly watch: PoolWatch | null };
  readonly hasServers: boolean;
  /** Whether there is a server that will not be closed as soon as it is free. */
  readonly hasLastingServer: boolean;
  /** The StartupMessage of the pool's servers. */
  startupParameters(): [string, string][];
  /** A server has logged in. @param dedicated the only waiter that may have it; null: it is for the pool */
  takeIn(server: Server, welcome: Welcome, dedicated: DedicatedWaiter | null): void;
  /** The server of a dedicated waiter could not be opened, for a reason that concerns that waiter alone. */
  refuse(dedicated: DedicatedWaiter, error: ClientError): void;
  /** Fails the waiters that came after `since` (ms of performance.now()). */
  failWaiters(error: ClientError, since?: number): void;
  activate(): void;
  /** An attempt has ended without a server: commands that wait for the pool to be empty check again. */
  noteFailedAttempt(): void;
}

/** SQLSTATE of a server that is starting up, shutting down or recovering. */
const CANNOT_CONNECT_NOW = '57P03';

const LEFT_OPEN = 'connect_query has left a transaction open';
/** The same for clients, as if the server had refused the login. */
const LEFT_OPEN_FIELDS: ReadonlyMap<string, string> = new Map([
  ['S', 'FATAL'],
  ['C', '25000'],
  ['M', LEFT_OPEN],
  ['H', 'The connect_query of the database must end each transaction that it begins.'],
]);

/** Why a connection was not made, in pgbouncer's words; the system's own words go to the log. */
function reasonOf(error: Error): string {
  return error instanceof ConnectError ? error.reason : error.message;
}

/** After a failure the next attempt waits for server_login_retry. */
export class Opener {
  readonly #pool: OpeningPool;
  readonly #connect: OpenServer;
  #isOpening = false;
  #connecting: Server | null = null;
  #failure: ClientError | null = null;
  #lastFailure: string | null = null;
  #failedAt: number | null = null;
  /** the time since which all attempts have failed, with no server left (ms of performance.now()) */
  #failingSince: number | null = null;
  #failures = 0;
  #nextHost = 0;
  /** ends the current attempt */
  #attempt: AbortController | null = null;

  constructor(pool: OpeningPool, connect: OpenServer) {
    this.#pool = pool;
    this.#connect = connect;
  }

  /** A connection is being made: one at a time for each pool. */
  get isOpening(): boolean {
    return this.#isOpening;
  }

  /** The server that is logging in, once it has a socket. */
  get connecting(): Server | null {
    return this.#connecting;
  }

  /** The error for clients that arrive while logins fail; null: logins do not fail. */
  get failure(): ClientError | null {
    return this.#failure;
  }

  /** A sentence about the last attempt, if it failed, for clients that waited in vain. */
  get lastFailure(): string | null {
    return this.#lastFailure;
  }

  /** Opens one server. @param dedicated the only waiter that may have it; null: it is for the pool */
  begin(dedicated: DedicatedWaiter | null): void {
    this.#isOpening = true;
    void this.#open(dedicated);
  }

  /** Gives up the current attempt; the pool begins another one when it needs one. */
  abort(reason: string): void {
    this.#connecting?.close(reason);
    this.#attempt?.abort(new Error(reason));
  }

  /** The next attempt need not wait because of earlier failures. */
  forgetFailures(): void {
    this.#failedAt = null;
    this.#failingSince = null;
    this.#failures = 0;
    this.#failure = null;
    this.#lastFailure = null;
  }

  /** In ms: the rest of the wait after a failed attempt; 0 or less: none. */
  get retryWaitMs(): number {
    if (this.#failedAt === null) return 0;
    return this.#failedAt + this.#pool.context.settings.server_login_retry - performance.now();
  }

  async #open(dedicated: DedicatedWaiter | null): Promise<void> {
    const { settings } = this.#pool.context;
    const target = this.#nextTarget();
    const attempt = new AbortController();
    this.#attempt = attempt;
    const timeout = AbortSignal.any([
      attempt.signal,
      AbortSignal.timeout(Math.max(1, settings.server_connect_timeout || 2 ** 31 - 1)),
    ]);
    const id = this.#pool.context.ids.next();
    const startedAt = performance.now();
    let server: Server | null = null;
    const onTimeout = (): void => server?.close('connect timeout');
    timeout.addEventListener('abort', onTimeout);
    try {
      const parameters = [...this.#pool.startupParameters(), ...(dedicated?.startupParameters ?? [])];
      const opened = await this.#connect(this.#pool, target, {
        purpose: dedicated === null ? 'pool' : 'dedicated',
        parameters,
        signal: timeout,
        onServer: (made) => {
          server = made;
          this.#connecting = made;
        },
        id,
      });
      const welcome = dedicated === null ? await this.#runConnectQuery(opened) : opened.welcome;
      this.#isOpening = false;
      this.#connecting = null;
      timeout.removeEventListener('abort', onTimeout);
      this.#opened(opened.server, welcome, dedicated);
    } catch (error) {
      this.#isOpening = false;
      this.#connecting = null;
      timeout.removeEventListener('abort', onTimeout);
      if (attempt.signal.aborted) {
        this.#pool.noteFailedAttempt();
        return this.#pool.activate();
      }
      if ((server as Server | null) === null) this.#logUnmade(id, startedAt, target, error as Error);
      this.#openFailed(server, target, error as Error, dedicated);
    }
  }

  /**
   * connect_query belongs to the login: clients are welcomed with the settings that it leaves, and server_connect_timeout
   * includes its time. Its failure does not matter, unless it leaves a transaction open.
   */
  async #runConnectQuery({ server, welcome }: Opened): Promise<Welcome> {
    const { connect_query: query } = this.#pool.database.config;
    if (query === null) return welcome;
    const settings = new Map(welcome);
    const onParameter = (name: string, value: string): void => void settings.set(name, value);
    try {
      await runControl(server, query, { onParameter });
    } catch (error) {
      const { message } = error as Error;
      if (server.state === 'closed') throw new ConnectError(message);
      this.#pool.context.log.warn({ server: server.id }, `${server.label} connect_query failed: ${message}`);
    }
    // the next client would work in our transaction, or in a failed one
    if (server.txStatus !== TxStatus.Idle) throw new LoginError(LEFT_OPEN, LEFT_OPEN_FIELDS);
    server.settings.noteDefaults();
    return settings;
  }

  /** Logs the failure of a connection before it had a socket in the same form as that of any other. */
  #logUnmade(id: number, startedAt: number, target: Target, error: Error): void {
    const { log, settings } = this.#pool.context;
    const label = serverLabel(id, this.#pool.database.name, this.#pool.user, target);
    log.warn({ server: id, event: 'connect_failed' }, `${label} ${error.message}`);
    if (!settings.log_disconnections) return;
    const age = Math.floor((performance.now() - startedAt) / 1000);
    log.info(
      { server: id, event: 'server_close' },
      `${label} closing because: ${reasonOf(error)} (age=${age}s)`,
    );
  }

  #opened(server: Server, welcome: Welcome, dedicated: DedicatedWaiter | null): void {
    if (server.state === 'closed')
      return this.#openFailed(server, server, new Error('server conn crashed?'), dedicated);
    this.forgetFailures();
    const { log, settings } = this.#pool.context;
    if (settings.log_connections) {
      const tls = server.tls ? ` tls=${server.tls}` : '';
      const from = unixPath(server) === null ? ` (from ${server.localEnd})` : '';
      log.info(
        { server: server.id, event: 'server_login' },
        `${server.label} new connection to server${from}${tls}`,
      );
    }
    this.#pool.takeIn(server, welcome, dedicated);
  }

  #openFailed(server: Server | null, target: Target, error: Error, dedicated: DedicatedWaiter | null): void {
    const { log } = this.#pool.context;
    const refused = error instanceof LoginError && error.fields !== null;
    const own = refused ? clientErrors.serverRefusedLogin(error.fields!, error.message) : null;
    const reason = own?.message ?? reasonOf(error);
    const { watch } = this.#pool.database;
    // Neither the network nor the server's state is the clients' fault: they wait until the cluster has a writer.
    if (watch !== null && (!refused || isAlarm(error.fields!.get('C') ?? ''))) {
      watch.connectFailed(target, error.message);
      if (watch.held) {
        if (server !== null && server.state !== 'closed') server.close(reason, { notify: false });
        this.#pool.noteFailedAttempt();
        return;
      }
    }
    // A replication connection may be refused where others are not: that concerns its client alone.
    const isPrivate = dedicated !== null && refused;
    if (!isPrivate) {
      const where = `database "${this.#pool.database.name}"`;
      this.#lastFailure = `The last attempt to connect to a server of ${where} failed: ${error.message}.`;
      this.#failedAt = performance.now();
      this.#failures++;
    }
    if (server !== null && server.state !== 'closed') {
      const what = refused ? `server login failed: ${error.severity} ${own!.message}` : error.message;
      log.warn({ server: server.id, event: 'server_login_failed' }, `${server.label} ${what}`);
      server.close(reason, { notify: false });
    } else {
      this.#pool.noteFailedAttempt();
    }
    if (isPrivate) {
      this.#pool.refuse(dedicated, clientErrors.replicationLoginFailed(own!));
      return this.#pool.activate();
    }
    this.#failure = clientErrors.serverLoginFailing(reason);
    // Clients that arrived while logins were failing were let in for one more attempt: this one.
    if (this.#pool.hasServers) this.#failingSince = null;
    else if (this.#failingSince === null) this.#failingSince = performance.now();
    else this.#pool.failWaiters(this.#failure, this.#failingSince);
    // If the server does not answer or is starting up, the others keep waiting, since it may come back. If it has refused the
    // login, they get the error at once.
    if (error instanceof LoginError && own?.code !== CANNOT_CONNECT_NOW && !this.#pool.hasLastingServer)
      this.#pool.failWaiters(own ?? clientErrors.serverLoginFailed(error.message));
  }

  /** The hosts of a list in turn; with load_balance_hosts = disable the same one until it fails. */
  #nextTarget(): Target {
    const { config, watch } = this.#pool.database;
    const { settings } = this.#pool.context;
    if (watch !== null && watch.target !== null) return watch.target;
    const hosts = config.hosts.length > 0 ? config.hosts : [settings.unix_socket_dir || '/tmp'];
    const inTurn = config.load_balance_hosts === 'round-robin';
    if (!inTurn && this.#failures > 0) this.#nextHost++;
    const host = hosts[this.#nextHost % hosts.length]!;
    if (inTurn) this.#nextHost++;
    return { host, port: config.port };
  }
}
