/** The servers of one (database, user) pair: how they are opened, and lent to waiting clients. */
import type { LifecycleView } from '../lifecycle.ts';
import type { PoolMode } from '../config/config.ts';
import type { ClientError } from '../wire/errors.ts';
import { TxStatus } from '../wire/protocol.ts';
import { isAlarm } from './alarms.ts';
import { Cancels } from './cancels.ts';
import type { Capacity } from './capacity.ts';
import type { ConnectingPool } from './connect.ts';
import type { Context } from './context.ts';
import type { Credentials } from './credentials.ts';
import { Fifo } from './fifo.ts';
import { growthOf, isGranted, type GrowingPool } from './growth.ts';
import { poolMode, poolSize } from './limits.ts';
import type { Welcome } from './login.ts';
import { Opener, type OpeningPool } from './opener.ts';
import type { Resolver } from './resolver.ts';
import { ServerSet } from './server-set.ts';
import type { Server } from './server.ts';
import { startupParameters } from './startup-parameters.ts';
import type { PoolDatabase, PoolSurroundings } from './surroundings.ts';
import type { Turnover, WaitingPool } from './turnover.ts';
import { Upkeep, type KeptPool } from './upkeep.ts';
import type { PausablePool } from './pause.ts';
import type { User } from './users.ts';
import type { DedicatedWaiter, Waiter, Waiting } from './waiter.ts';

export class Pool implements ConnectingPool, OpeningPool, KeptPool, GrowingPool, PausablePool, WaitingPool {
  readonly context: Context;
  readonly resolver: Resolver;
  readonly database: PoolDatabase;
  readonly userState: User;
  readonly credentials: Credentials;
  /** In order of arrival. */
  readonly waiters = new Fifo<Waiter>();
  readonly dedicated = new Fifo<DedicatedWaiter>();
  /** Cancel requests that are being delivered to its servers. */
  readonly cancels = new Cancels();
  readonly opener: Opener;
  readonly upkeep = new Upkeep(this);
  readonly #lifecycle: LifecycleView;
  readonly #capacity: Capacity;
  readonly #turnover: Turnover;
  readonly #servers = new ServerSet();
  #welcome: Welcome | null = null;
  #clientCount = 0;
  #emptySince = performance.now();

  constructor(
    surroundings: PoolSurroundings,
    database: PoolDatabase,
    userState: User,
    credentials: Credentials,
  ) {
    this.context = surroundings.context;
    this.resolver = surroundings.resolver;
    this.database = database;
    this.userState = userState;
    this.credentials = credentials;
    this.#lifecycle = surroundings.lifecycle;
    this.#capacity = surroundings.capacity;
    this.#turnover = surroundings.turnover;
    this.opener = new Opener(this, surroundings.connect);
  }

  // its state

  get user(): string {
    return this.userState.name;
  }

  get mode(): PoolMode {
    return poolMode(this);
  }

  get epoch(): number | null {
    return this.database.watch?.epoch ?? null;
  }

  get paused(): boolean {
    return this.database.paused || this.#lifecycle.isPaused;
  }

  /** Nothing is lent or opened: PAUSE, or the cluster's writer is unknown. */
  get #isHalted(): boolean {
    return this.paused || this.database.watch?.held === true;
  }

  /** The servers that have logged in. */
  get servers(): ReadonlySet<Server> {
    return this.#servers.all;
  }

  /** Free servers; the last one given back is the last element. */
  get idle(): readonly Server[] {
    return this.#servers.idle;
  }

  /** Servers that exist or are being opened. */
  get size(): number {
    return this.#servers.all.size + (this.opener.isOpening ? 1 : 0);
  }

  get serverCount(): number {
    return this.#servers.all.size;
  }

  get hasServers(): boolean {
    return this.#servers.all.size > 0;
  }

  get hasLastingServer(): boolean {
    for (const { closeReason } of this.#servers.all) if (closeReason === null) return true;
    return false;
  }

  /** The settings that its first server reported. Clients are welcomed with them without a server; null: not yet known. */
  get welcome(): Welcome | null {
    return this.#welcome;
  }

  /** Clients that use this pool. */
  get clientCount(): number {
    return this.#clientCount;
  }

  /** The time since which it has had neither clients nor servers, in ms of performance.now(). */
  get emptySince(): number {
    return this.#emptySince;
  }

  longestIdle(): Server | null {
    return this.#servers.longestIdle();
  }

  startupParameters(): [string, string][] {
    return startupParameters(this.database, this.credentials.user);
  }

  // clients

  /** From now on a client uses this pool, and so its database. */
  enter(): void {
    this.#clientCount++;
    this.database.enter();
  }

  /** A client that had entered is gone, or uses another pool. */
  leave(): void {
    this.#clientCount--;
    this.database.leave();
  }

  /** Lends a server: at once, if one is free and no waiter came before, otherwise later through the waiter's callbacks. */
  acquire(waiter: Waiter): Server | null {
    if (this.waiters.size === 0 && !this.#isHalted) {
      const server = this.#takeReady();
      if (server !== null) {
        server.moveTo('active');
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
    this.#turnover.waits(this);
    this.activate();
    if (this.waiters.has(waiter)) this.database.watch?.onHeld();
    return null;
  }

  /** A separate connection for a waiter, within the pool's limits, logged in with the waiter's parameters. */
  acquireDedicated(waiter: DedicatedWaiter): void {
    const failure = this.#failFast();
    if (failure !== null) return void process.nextTick(() => waiter.onNoServer(failure));
    this.dedicated.add(waiter);
    this.#turnover.waits(this);
    this.activate();
  }

  /** The waiter no longer wants a server. */
  cancelWait(waiter: Waiting): void {
    this.waiters.delete(waiter);
    this.dedicated.delete(waiter);
  }

  /** Fails every waiter, or those that came after `since` (ms of performance.now()). */
  failWaiters(error: ClientError, since = -Infinity): void {
    const waiters = [...this.waiters, ...this.dedicated].filter(({ waitingSince }) => waitingSince > since);
    for (const waiter of waiters) this.cancelWait(waiter);
    this.#restIfEmpty();
    for (const waiter of waiters) waiter.onNoServer(error);
  }

  refuse(dedicated: DedicatedWaiter, error: ClientError): void {
    if (this.dedicated.delete(dedicated)) dedicated.onNoServer(error);
  }

  /**
   * The error for a client while logins fail and there is no server at all (server_login_retry); null: the client may wait.
   */
  #failFast(): ClientError | null {
    const { watch } = this.database;
    if (watch?.held) return watch.refusal();
    return this.hasServers || this.opener.retryWaitMs <= 0 ? null : this.opener.failure;
  }

  #restIfEmpty(): void {
    if (this.waiters.size === 0 && this.dedicated.size === 0) this.#turnover.rests(this);
  }

  // servers that are lent and come back

  /**
   * A server comes back, in an idle state. Here begins all work that is needed before the next client may have it.
   * @param isNew it has not been used yet
   */
  give(server: Server, isNew = false): void {
    const now = performance.now();
    server.detach();
    server.noteRelease(now);
    if (server.state === 'closed') return;
    const { settings } = this.context;
    if (server.closeReason !== null) return server.close(server.closeReason);
    // a transaction that one of the proxy's own queries left open must not reach another client
    if (server.txStatus !== TxStatus.Idle) return server.close('transaction left open', { level: 'warn' });
    if (this.database.removed) return server.close('database removed');
    if (this.paused) return server.close('pause mode');
    if (!isNew && this.upkeep.isOverAge(server, now)) return server.close('server lifetime over');
    if (server.inDoubt) return this.upkeep.settle(server);
    if ((server.needsReset || settings.server_reset_query_always) && settings.server_reset_query !== '')
      return this.upkeep.reset(server);
    server.noteReset();
    this.free(server);
  }

  free(server: Server): void {
    if (server.cancelsInFlight > 0) return server.moveTo('tested');
    server.moveTo('idle');
    if (this.paused) return server.close('pause mode');
    if (this.waiters.size > 0 && !this.#isHalted && this.upkeep.isCurrent(server)) {
      this.#lend(server);
      return;
    }
    this.#servers.addIdle(server);
    this.#turnover.serverIdle();
  }

  cancelDelivered(server: Server): void {
    if (server.cancelsInFlight === 0 && server.state === 'tested' && server.user === null) this.free(server);
  }

  /** An idle server that can be lent as it is: the most recently used, or with server_round_robin the least recently used. */
  #takeReady(): Server | null {
    return this.#servers.takeFit(this.context.settings.server_round_robin, this.upkeep);
  }

  takeIdle(): Server | null {
    return this.#servers.takeIdle();
  }

  #lend(server: Server): void {
    const waiter = this.waiters.first!;
    this.waiters.delete(waiter);
    this.#restIfEmpty();
    server.moveTo('active');
    waiter.onServer(server);
  }

  /** Serves waiters from idle servers, and opens another server where that is allowed. */
  activate(): void {
    while (this.waiters.size > 0 && !this.#isHalted) {
      const server = this.#takeReady();
      if (server === null) break;
      this.#lend(server);
    }
    if (this.waiters.size === 0 && this.dedicated.size === 0) {
      this.#turnover.rests(this);
    } else if (!this.paused) {
      // a waiter for which a server is being reset or checked needs no other one
      let coming = this.#servers.testedCount;
      while (coming < this.waiters.size && !this.#isHalted && this.upkeep.checkIdle()) coming++;
      if (this.dedicated.size > 0 || coming < this.waiters.size) this.open({ evict: true });
    }
  }

  // servers that are opened

  /** Opens one more server if sizes, limits and the last failure allow it. */
  open({ evict }: { evict: boolean }): void {
    if (
      this.opener.isOpening ||
      this.opener.retryWaitMs > 0 ||
      this.#lifecycle.isStopped ||
      this.database.watch?.held
    )
      return;
    const growth = growthOf(this, this.#capacity, { evict });
    if (growth === 'none') return;
    this.opener.begin(growth === 'dedicated' ? (this.dedicated.first ?? null) : null);
  }

  takeIn(server: Server, welcome: Welcome, dedicated: DedicatedWaiter | null): void {
    this.#servers.add(server);
    server.noteRelease(performance.now());
    if (dedicated === null) {
      // a server for physical replication would not report everything that clients need
      this.#welcome ??= welcome;
      this.give(server, true);
    } else if (this.dedicated.delete(dedicated)) {
      server.moveTo('active');
      dedicated.onOwnServer(server, welcome);
    } else {
      server.close('replication client was closed');
    }
    this.activate();
  }

  /**
   * Takes an idle server of another pool with the same login that now connects to the same place.
   * @param welcome the settings that such servers report, for clients that are logging in
   * @returns false if sizes or limits do not allow it
   */
  adopt(server: Server, welcome: Welcome): boolean {
    if (this.serverCount >= poolSize(this)) return false;
    if (!isGranted(this, this.#capacity, { evict: false, isMove: true })) return false;
    server.pool.forget(server);
    this.#welcome ??= welcome;
    server.transfer(this);
    this.#servers.add(server);
    this.#servers.addIdle(server);
    return true;
  }

  noteFailedAttempt(): void {
    this.#turnover.recheck();
  }

  // servers that go

  /** Free servers are closed now, the others when they come back. */
  retire(reason: string): void {
    for (const server of [...this.servers]) this.retireServer(server, reason);
    this.opener.connecting?.closeWhenFree(reason);
    // a new server may report other settings
    this.#welcome = null;
    this.opener.forgetFailures();
  }

  retireServer(server: Server, reason: string): void {
    if (server.state === 'idle') server.close(reason);
    else server.closeWhenFree(reason);
  }

  closeUnused(reason: string): void {
    this.opener.abort(reason);
    this.closeIdle(reason);
  }

  closeIdle(reason: string): void {
    for (const server of [...this.idle]) server.close(reason);
  }

  forget(server: Server): void {
    this.#servers.remove(server);
    if (!this.hasServers) this.#emptySince = performance.now();
    if (this.database.clientCount === 0) this.database.noteUse(performance.now());
    this.#turnover.serverGone();
  }

  noteTested(server: Server, isTested: boolean): void {
    this.#servers.noteTested(server, isTested);
  }

  serverLost(server: Server, reason: string): void {
    this.database.watch?.serverLost(server, reason);
  }

  serverFailed(server: Server, sqlstate: string): void {
    if (isAlarm(sqlstate)) this.database.watch?.serverError(server, sqlstate);
  }

  /** It has clients, servers or waiters (maintenance). */
  noteUse(now: number): void {
    this.#emptySince = now;
  }
}
