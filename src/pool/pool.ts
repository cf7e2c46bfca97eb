import type { PoolMode } from '../config/config.ts';
import type { ClientError } from '../wire/errors.ts';
import { TxStatus } from '../wire/protocol.ts';
import { Cancels } from './cancels.ts';
import { isAlarm } from './alarms.ts';
import type { Database, Registry, UserState } from './databases.ts';
import { Fifo } from './fifo.ts';
import { maxDatabaseConnections, maxUserConnections, poolMode, poolSize, reservePoolSize } from './limits.ts';
import type { LearnedSecret, Welcome } from './login.ts';
import { Opener } from './opener.ts';
import type { Server } from './server.ts';
import type { Target } from './socket.ts';
import { Upkeep } from './upkeep.ts';
import type { DedicatedWaiter, Waiter, Waiting } from './waiter.ts';

/** How a pool logs in to its server. */
export interface Credentials {
  readonly user: string;
  /** from [databases], auth_file or auth_query: plain, md5… or SCRAM-SHA-256$… */
  secret: string | null;
  /** what a client's own login taught: SCRAM keys or the password */
  learned: LearnedSecret | null;
}

/** Why a server is closed as soon as what runs there is done, also under a session. */
export const NOT_THE_WRITER = 'not the writer';

function isAt(server: Server, { host, port }: Target): boolean {
  return server.host === host && server.port === port;
}

/** One statement runs there, outside of a transaction block, that has begun later than that. */
function hasBegunAfter(server: Server, since: number): boolean {
  return (
    server.state === 'active' &&
    server.txStatus === TxStatus.Idle &&
    server.user?.inTransaction === true &&
    (server.user.queryStart ?? 0) > since
  );
}

/** The servers of one (database, user) pair, and the clients that wait for them. */
export class Pool {
  readonly registry: Registry;
  readonly database: Database;
  readonly userState: UserState;
  readonly credentials: Credentials;

  readonly servers = new Set<Server>();
  /** free servers; the last one given back is the last element */
  readonly idle: Server[] = [];
  /** those that come free without anybody's doing: a query of the proxy's own runs there (kept by Server) */
  readonly tested = new Set<Server>();
  /** in the order in which they came */
  readonly waiters = new Fifo<Waiter>();
  readonly dedicated = new Fifo<DedicatedWaiter>();
  /** cancel requests that are being delivered to its servers */
  readonly cancels = new Cancels();
  /** what the first server said at login; clients are welcomed with it, without a server, from then on */
  welcome: Welcome | null = null;
  readonly opener = new Opener(this);
  readonly upkeep = new Upkeep(this);
  /** clients that are in this pool now */
  clientCount = 0;
  /** ms of performance.now() since when it has had neither clients nor servers */
  emptySince = performance.now();

  constructor(registry: Registry, database: Database, userState: UserState, credentials: Credentials) {
    this.registry = registry;
    this.database = database;
    this.userState = userState;
    this.credentials = credentials;
  }

  get user(): string {
    return this.userState.name;
  }

  get mode(): PoolMode {
    return poolMode(this);
  }

  get paused(): boolean {
    return this.database.paused || this.registry.paused;
  }

  /** Nothing is lent or opened: PAUSE, or the cluster's writer is not known. */
  get #stopped(): boolean {
    return this.paused || this.database.watch?.held === true;
  }

  /** Servers that exist or are being made. */
  get size(): number {
    return this.servers.size + (this.opener.isOpening ? 1 : 0);
  }

  /** StartupMessage of this pool's servers. */
  startupParameters(): [string, string][] {
    const { config, name } = this.database;
    const parameters: [string, string][] = [
      ['user', this.credentials.user],
      ['database', config.dbname ?? name],
    ];
    if (config.client_encoding) parameters.push(['client_encoding', config.client_encoding]);
    if (config.datestyle) parameters.push(['datestyle', config.datestyle]);
    if (config.timezone) parameters.push(['timezone', config.timezone]);
    if (config.application_name) parameters.push(['application_name', config.application_name]);
    return parameters;
  }

  /**
   * A server for a waiter: now, when one is free and nobody came before, else later through its callbacks.
   */
  acquire(waiter: Waiter): Server | null {
    if (this.waiters.size === 0 && !this.#stopped) {
      const server = this.#takeReady();
      if (server !== null) {
        server.state = 'active';
        return server;
      }
    }
    const failure = this.#failFast();
    if (failure !== null) {
      process.nextTick(() => waiter.onNoServer(failure));
      this.activate();
      return null;
    }
    this.waiters.add(waiter);
    this.registry.waitingPools.add(this);
    this.activate();
    if (this.waiters.has(waiter)) this.database.watch?.onHeld();
    return null;
  }

  /** The waiter doesn't want a server any more. */
  cancelWait(waiter: Waiting): void {
    this.waiters.delete(waiter);
  }

  /** A connection of its own for a waiter, within the pool's limits, logged in with the waiter's parameters. */
  acquireDedicated(waiter: DedicatedWaiter): void {
    const failure = this.#failFast();
    if (failure !== null) return void process.nextTick(() => waiter.onNoServer(failure));
    this.dedicated.add(waiter);
    this.registry.waitingPools.add(this);
    this.activate();
  }

  /**
   * A server comes back, in an idle state; what has to be done before the next may have it is done here. `isNew`: nobody
   * has used it yet.
   */
  give(server: Server, isNew = false): void {
    server.user = null;
    server.releasedAt = performance.now();
    if (server.state === 'closed') return;
    const { settings } = this.registry.config;
    if (server.closeReason !== null) return server.close(server.closeReason);
    // whatever the proxy's own query has left open must not become another's
    if (server.txStatus !== TxStatus.Idle) return server.close('transaction left open', { level: 'warn' });
    if (this.database.removed) return server.close('database removed');
    if (this.paused) return server.close('pause mode');
    if (!isNew && this.upkeep.isOverAge(server, server.releasedAt))
      return server.close('server lifetime over');
    if (server.inDoubt) return this.upkeep.settle(server);
    if ((server.needsReset || settings.server_reset_query_always) && settings.server_reset_query !== '')
      return this.upkeep.reset(server);
    server.needsReset = false;
    this.free(server);
  }

  /** Serves waiters from what is idle, and opens another server where that is allowed. */
  activate(): void {
    while (this.waiters.size > 0 && !this.#stopped) {
      const server = this.#takeReady();
      if (server === null) break;
      this.#lend(server);
    }
    if (this.waiters.size === 0 && this.dedicated.size === 0) {
      this.registry.waitingPools.delete(this);
    } else if (!this.paused) {
      // Who waits for a server that is being reset or checked needs no other.
      let coming = this.tested.size;
      while (coming < this.waiters.size && !this.#stopped && this.upkeep.checkIdle()) coming++;
      if (this.dedicated.size > 0 || coming < this.waiters.size) this.open({ evict: true });
    }
  }

  /** Opens one more server if sizes, limits and the last failure allow it. */
  open({ evict }: { evict: boolean }): void {
    if (
      this.opener.isOpening ||
      this.opener.retryWaitMs > 0 ||
      this.registry.stopping ||
      this.database.watch?.held
    )
      return;
    const size = this.servers.size;
    const isFull = size >= poolSize(this);
    // One more is needed to know what clients are welcomed with. A replication connection tells its own client only.
    const needsWelcome = isFull && this.welcome === null && this.waiters.size > 0;
    if (isFull && !needsWelcome && !this.#mayUseReserve(size) && !this.#makeRoom()) return;
    const isAllowed = (): boolean =>
      this.registry.mayConnect(this, {
        database: maxDatabaseConnections(this),
        user: maxUserConnections(this),
        evict,
      });
    if (!isAllowed() && !(this.#makeRoom() && isAllowed())) return;
    this.opener.begin(needsWelcome ? null : (this.dedicated.first ?? null));
  }

  /** Who needs a new connection can't use an idle one, but can have its place. */
  #makeRoom(): boolean {
    if (this.dedicated.size === 0 || this.servers.size > poolSize(this)) return false;
    const idle = this.longestIdle();
    idle?.close('evicted');
    return idle !== null;
  }

  /** A server is gone. */
  forget(server: Server): void {
    this.servers.delete(server);
    const at = this.idle.indexOf(server);
    if (at >= 0) this.idle.splice(at, 1);
    if (this.servers.size === 0) this.emptySince = performance.now();
    this.registry.serverGone(this);
  }

  /** Servers that are free are closed now, the others when they come back. */
  retire(reason: string): void {
    for (const server of [...this.servers]) this.retireServer(server, reason);
    if (this.opener.connecting !== null) this.opener.connecting.closeReason = reason;
    // what a new server is like is not known any more
    this.welcome = null;
    this.opener.forgetFailures();
  }

  /** One server is closed now when it is free, else when it comes back. */
  retireServer(server: Server, reason: string): void {
    if (server.state === 'idle' || server.state === 'used') server.close(reason);
    else server.closeReason = reason;
  }

  /** Closes what goes elsewhere than to the writer, as it comes free; what is being connected to elsewhere is given up. */
  retireElsewhere(writer: Target): void {
    const { connecting } = this.opener;
    if (connecting === null || !isAt(connecting, writer)) this.opener.abort(NOT_THE_WRITER);
    for (const server of [...this.servers]) if (!isAt(server, writer)) this.#retire(server);
  }

  /**
   * The writer has changed, or has come back: what goes elsewhere is closed at once, in the middle of whatever is done
   * there, and past failures do not count any more.
   * @param readOnlySince when the old writer was seen to refuse writes: a statement that has begun after that only reads,
   * and gets its answer; 0: it does not refuse them
   */
  moveTo(writer: Target, readOnlySince = 0): void {
    this.opener.forgetFailures();
    this.opener.abort('switchover');
    const { resolver } = this.registry;
    for (const server of [...this.servers]) {
      if (isAt(server, writer) && resolver.leadsTo(server.host, server.remoteAddress)) continue;
      if (readOnlySince > 0 && hasBegunAfter(server, readOnlySince)) server.closeReason = NOT_THE_WRITER;
      else server.close('switchover');
    }
  }

  /** Whoever waits gets the free servers of another pool that were made as this one's are, and go where this one's go now. */
  takeOver(from: Pool): void {
    // who logs in waits for what the first server of the pool says
    const welcome = this.welcome ?? from.welcome;
    if (welcome === null || this.paused) return;
    for (let wanted = this.waiters.size; wanted > 0; wanted--) {
      const server = from.idle.findLast((each) => each.closeReason === null && each.cancelsInFlight === 0);
      if (server === undefined || this.servers.size >= poolSize(this)) return;
      const limits = { database: maxDatabaseConnections(this), user: 0, evict: false };
      if (!this.registry.mayConnect(this, limits)) return;
      from.forget(server);
      this.welcome = welcome;
      server.pool = this;
      // it may have logged in before the node became the writer, and reports that with its next answer only
      server.parameters[this.registry.tracked.indexOf('in_hot_standby')] = undefined;
      server.epoch = this.database.watch?.epoch ?? 0;
      this.servers.add(server);
      this.idle.push(server);
    }
  }

  /** Nothing is to be read from its node any more: sessions of those who asked for any reader end between transactions. */
  moveReaders(reason: string): void {
    for (const server of [...this.servers]) if (server.user?.mayMove === true) server.close(reason);
  }

  /** The node that its servers go to does not answer: a smart shutdown must not wait for those that are free. */
  nodeGone(reason: string): void {
    for (const server of [...this.idle]) server.close(reason);
    for (const waiter of [...this.waiters]) waiter.onNodeGone?.();
  }

  /** Leaves a node that lets nobody in any more: at once where nothing is open, else at the end of the transaction. */
  leave(node: Target): void {
    for (const server of [...this.servers]) if (isAt(server, node)) this.#retire(server);
  }

  #retire(server: Server): void {
    // a session would keep it
    if (server.user?.inTransaction === false) server.close(NOT_THE_WRITER);
    else this.retireServer(server, NOT_THE_WRITER);
  }

  /** Ends what runs at a node that does not answer. */
  cutOff(node: Target, reason: string): void {
    for (const server of [...this.servers]) if (isAt(server, node)) server.close(reason);
  }

  /** An error that a server sent while nobody was linked to it. */
  onServerError(server: Server, sqlstate: string): void {
    if (isAlarm(sqlstate)) this.database.watch?.serverError(server, sqlstate);
  }

  /** Every waiter gets the error, or those who came after `since` (ms of performance.now()). */
  failWaiters(error: ClientError, since = -Infinity): void {
    const isMeant = ({ waitingSince }: Waiting): boolean => waitingSince > since;
    const waiters = [...this.waiters, ...this.dedicated].filter(isMeant);
    for (const waiter of waiters) {
      this.waiters.delete(waiter);
      this.dedicated.delete(waiter);
    }
    if (this.waiters.size === 0 && this.dedicated.size === 0) this.registry.waitingPools.delete(this);
    for (const waiter of waiters) waiter.onNoServer(error);
  }

  /** Takes the free server that has been idle longest, for eviction; null when there is none. */
  longestIdle(): Server | null {
    let found: Server | null = null;
    for (const server of this.idle) if (!found || server.releasedAt < found.releasedAt) found = server;
    return found;
  }

  /** A free server that can be used as it is: the one that was used last, or with server_round_robin first. */
  #takeReady(): Server | null {
    const { settings } = this.registry.config;
    const { idle } = this;
    for (let i = idle.length - 1; i >= 0; i--) {
      const at = settings.server_round_robin ? idle.length - 1 - i : i;
      const server = idle[at]!;
      if (server.closeReason !== null) {
        server.close(server.closeReason);
        return this.#takeReady();
      }
      if (!this.upkeep.isFit(server)) continue;
      idle.splice(at, 1);
      return server;
    }
    return null;
  }

  #lend(server: Server): void {
    const waiter = this.waiters.first!;
    this.waiters.delete(waiter);
    if (this.waiters.size === 0 && this.dedicated.size === 0) this.registry.waitingPools.delete(this);
    server.state = 'active';
    waiter.onServer(server);
  }

  /** The next may have it as it is. */
  free(server: Server): void {
    if (server.cancelsInFlight > 0) {
      server.state = 'tested';
      return;
    }
    server.state = 'idle';
    if (this.paused) return server.close('pause mode');
    if (this.waiters.size > 0 && !this.#stopped && this.upkeep.isCurrent(server)) {
      this.#lend(server);
      return;
    }
    this.idle.push(server);
    this.registry.serverIdle();
  }

  /** A cancel request has reached the server: it may be lent again. */
  cancelDelivered(server: Server): void {
    if (server.cancelsInFlight === 0 && server.state === 'tested' && server.user === null) this.free(server);
  }

  #mayUseReserve(size: number): boolean {
    const reserve = reservePoolSize(this);
    const { reserve_pool_timeout: timeout } = this.registry.config.settings;
    if (reserve <= 0 || timeout <= 0 || size >= poolSize(this) + reserve) return false;
    const first = this.waiters.first;
    if (first === undefined || performance.now() - first.waitingSince < timeout) return false;
    this.registry.log.warn(
      { database: this.database.name, user: this.user },
      `${first.label ?? `${this.database.name}/${this.user}:`} taking connection from reserve_pool`,
    );
    return true;
  }

  /** While logins fail and there is no server at all, clients are told so at once (server_login_retry). */
  #failFast(): ClientError | null {
    const { watch } = this.database;
    if (watch?.held) return watch.refusal();
    return this.servers.size > 0 || this.opener.retryWaitMs <= 0 ? null : this.opener.failure;
  }
}
