import { ClientError, clientErrors } from '../wire/errors.ts';
import { TxStatus } from '../wire/protocol.ts';
import { isAlarm } from './alarms.ts';
import { openServer, type Opened } from './connect.ts';
import { runControl } from './control.ts';
import { LoginError, type Welcome } from './login.ts';
import type { Pool } from './pool.ts';
import { serverLabel, type Server } from './server.ts';
import { ConnectError, unixPath, type Target } from './socket.ts';
import type { DedicatedWaiter } from './waiter.ts';

/** The server's own words and SQLSTATE: they say what is wrong better than we could. */
function ownWords({ fields, message }: LoginError): ClientError {
  return new ClientError('FATAL', fields!.get('C') ?? '08P01', fields!.get('M') ?? message, {
    detail: fields!.get('D') ?? null,
    hint: fields!.get('H') ?? null,
  });
}

/** SQLSTATE of a server that is starting up, shutting down or recovering. */
const CANNOT_CONNECT_NOW = '57P03';

const LEFT_OPEN = 'connect_query has left a transaction open';
/** What clients are told of it, as of a login that the server has refused. */
const LEFT_OPEN_FIELDS: ReadonlyMap<string, string> = new Map([
  ['S', 'FATAL'],
  ['C', '25000'],
  ['M', LEFT_OPEN],
  ['H', 'The connect_query of the database must end each transaction that it begins.'],
]);

/** Why a connection was not made, in pgbouncer's words: the system's own are for the log. */
function reasonOf(error: Error): string {
  return error instanceof ConnectError ? error.reason : error.message;
}

/**
 * Makes a pool's servers, one after the other, and remembers what went wrong: after a failure the next attempt waits for
 * server_login_retry.
 */
export class Opener {
  readonly pool: Pool;
  /** a connection is being made: one at a time for each pool */
  isOpening = false;
  /** the server that is logging in, once there is a socket for it */
  connecting: Server | null = null;
  /** what those hear who come while logins fail */
  failure: ClientError | null = null;
  /** a sentence about the last attempt, if it failed; for clients that waited in vain */
  lastFailure: string | null = null;
  #failedAt: number | null = null;
  /** since when all attempts have failed, with no server left (ms of performance.now()) */
  #failingSince: number | null = null;
  #failures = 0;
  #nextHost = 0;
  /** ends the attempt to connect that is being made */
  #attempt: AbortController | null = null;

  constructor(pool: Pool) {
    this.pool = pool;
  }

  /** Makes one server. @param dedicated for whom alone it is; null: for the pool */
  begin(dedicated: DedicatedWaiter | null): void {
    this.isOpening = true;
    void this.#open(dedicated);
  }

  /** Gives up the attempt that is being made; the pool begins another one when it needs one. */
  abort(reason: string): void {
    this.connecting?.close(reason);
    this.#attempt?.abort(new Error(reason));
  }

  /** Connects that failed do not keep the next one waiting. */
  forgetFailures(): void {
    this.#failedAt = null;
    this.#failingSince = null;
    this.#failures = 0;
    this.failure = null;
    this.lastFailure = null;
  }

  /** ms until the next attempt may be made after a failed one. */
  get retryWaitMs(): number {
    if (this.#failedAt === null) return 0;
    return this.#failedAt + this.pool.registry.config.settings.server_login_retry - performance.now();
  }

  async #open(dedicated: DedicatedWaiter | null): Promise<void> {
    const { settings } = this.pool.registry.config;
    const target = this.#nextTarget();
    const attempt = new AbortController();
    this.#attempt = attempt;
    const timeout = AbortSignal.any([
      attempt.signal,
      AbortSignal.timeout(Math.max(1, settings.server_connect_timeout || 2 ** 31 - 1)),
    ]);
    const id = this.pool.registry.ids.next();
    const startedAt = performance.now();
    let server: Server | null = null;
    const onTimeout = (): void => server?.close('connect timeout');
    timeout.addEventListener('abort', onTimeout);
    try {
      const parameters = [...this.pool.startupParameters(), ...(dedicated?.startupParameters ?? [])];
      const onServer = (made: Server): void => {
        server = made;
        this.connecting = made;
      };
      const opened = await openServer(this.pool, target, parameters, timeout, onServer, id);
      const welcome = dedicated === null ? await this.#runConnectQuery(opened) : opened.welcome;
      this.isOpening = false;
      this.connecting = null;
      timeout.removeEventListener('abort', onTimeout);
      this.#opened(opened.server, welcome, dedicated);
    } catch (error) {
      this.isOpening = false;
      this.connecting = null;
      timeout.removeEventListener('abort', onTimeout);
      if (attempt.signal.aborted) {
        this.pool.registry.recheck();
        return this.pool.activate();
      }
      if ((server as Server | null) === null) this.#logUnmade(id, startedAt, target, error as Error);
      this.#openFailed(server, target, error as Error, dedicated);
    }
  }

  /**
   * connect_query belongs to the login: what it sets is what clients are welcomed with, and it takes its time from
   * server_connect_timeout. That it fails does not matter, unless it leaves a transaction open.
   */
  async #runConnectQuery({ server, welcome }: Opened): Promise<Welcome> {
    const { connect_query: query } = this.pool.database.config;
    if (query === null) return welcome;
    const settings = new Map(welcome);
    const onParameter = (name: string, value: string): void => void settings.set(name, value);
    try {
      await runControl(server, query, { onParameter });
    } catch (error) {
      const { message } = error as Error;
      if (server.state === 'closed') throw new ConnectError(message);
      this.pool.registry.log.warn({ server: server.id }, `${server.label} connect_query failed: ${message}`);
    }
    // whoever got the server would work in a transaction of ours, or in one that has failed
    if (server.txStatus !== TxStatus.Idle) throw new LoginError(LEFT_OPEN, LEFT_OPEN_FIELDS);
    server.noteDefaults();
    return settings;
  }

  /** A server that never came to be is closed like any other, as far as the log is concerned. */
  #logUnmade(id: number, startedAt: number, { host, port }: Target, error: Error): void {
    const { log, config } = this.pool.registry;
    const label = serverLabel(id, this.pool.database.name, this.pool.user, host, port);
    log.warn({ server: id, event: 'connect_failed' }, `${label} ${error.message}`);
    if (!config.settings.log_disconnections) return;
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
    this.pool.servers.add(server);
    const { log, config } = this.pool.registry;
    if (config.settings.log_connections) {
      const tls = server.tls ? ` tls=${server.tls}` : '';
      const from = unixPath(server) === null ? ` (from ${server.localEnd})` : '';
      log.info(
        { server: server.id, event: 'server_login' },
        `${server.label} new connection to server${from}${tls}`,
      );
    }
    server.releasedAt = performance.now();
    if (dedicated !== null) {
      server.isDedicated = true;
      if (this.pool.dedicated.delete(dedicated)) {
        server.state = 'active';
        dedicated.onOwnServer(server, welcome);
      } else {
        server.close('replication client was closed');
      }
      return this.pool.activate();
    }
    // one for physical replication would not say all that clients want to know
    this.pool.welcome ??= welcome;
    this.pool.give(server, true);
    this.pool.activate();
  }

  #openFailed(server: Server | null, target: Target, error: Error, dedicated: DedicatedWaiter | null): void {
    const { log } = this.pool.registry;
    const refused = error instanceof LoginError && error.fields !== null;
    const { watch } = this.pool.database;
    // Neither the network nor the server's state is the clients' fault: they wait until the cluster has a writer.
    if (watch !== null && (!refused || isAlarm(error.fields!.get('C') ?? ''))) {
      watch.connectFailed(target, error.message);
      if (watch.held) {
        if (server !== null && server.state !== 'closed')
          server.close(refused ? ownWords(error).message : reasonOf(error), { notify: false });
        this.pool.registry.recheck();
        return;
      }
    }
    // A replication connection can be refused where others are not: that is its own affair.
    const isPrivate = dedicated !== null && refused;
    if (!isPrivate) {
      const where = `database "${this.pool.database.name}"`;
      this.lastFailure = `The last attempt to connect to a server of ${where} failed: ${error.message}.`;
      this.#failedAt = performance.now();
      this.#failures++;
    }
    const own = refused ? ownWords(error) : null;
    const reason = own?.message ?? reasonOf(error);
    if (server !== null && server.state !== 'closed') {
      const what = refused ? `server login failed: ${error.severity} ${own!.message}` : error.message;
      log.warn({ server: server.id, event: 'server_login_failed' }, `${server.label} ${what}`);
      server.close(reason, { notify: false });
    } else {
      this.pool.registry.recheck();
    }
    if (isPrivate) {
      if (this.pool.dedicated.delete(dedicated)) dedicated.onNoServer(clientErrors.loginFailed(own!));
      return this.pool.activate();
    }
    this.failure = clientErrors.serverLoginFailing(reason);
    // Who came when logins were failing already was let in for another attempt only: this one.
    if (this.pool.servers.size > 0) this.#failingSince = null;
    else if (this.#failingSince === null) this.#failingSince = performance.now();
    else this.pool.failWaiters(this.failure, this.#failingSince);
    // The others whom nobody answers wait on, since the server may come back, and so do those whose server is starting up;
    // to be refused is to be told.
    if (error instanceof LoginError && own?.code !== CANNOT_CONNECT_NOW && this.#hasNoUsable)
      this.pool.failWaiters(own ?? clientErrors.serverLoginFailed(error.message));
  }

  /** There are no servers, or those that there are will be closed as they come free. */
  get #hasNoUsable(): boolean {
    for (const { closeReason } of this.pool.servers) if (closeReason === null) return false;
    return true;
  }

  /** Hosts of a list in turn; with load_balance_hosts = disable the same one until it fails. */
  #nextTarget(): Target {
    const { config, watch } = this.pool.database;
    const { settings } = this.pool.registry.config;
    if (watch !== null && watch.target !== null) return watch.target;
    const hosts = config.hosts.length > 0 ? config.hosts : [settings.unix_socket_dir || '/tmp'];
    const inTurn = config.load_balance_hosts === 'round-robin';
    if (!inTurn && this.#failures > 0) this.#nextHost++;
    const host = hosts[this.#nextHost % hosts.length]!;
    if (inTurn) this.#nextHost++;
    return { host, port: config.port };
  }
}
