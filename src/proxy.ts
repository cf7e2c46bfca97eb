import { setTimeout as delay } from 'node:timers/promises';
import type { AdminActions, StopMode } from './admin/actions.ts';
import { Console } from './admin/console.ts';
import type { Observe } from './admin/observe.ts';
import { clientTls, keepServerTls, serverTls } from './auth/tls.ts';
import type { Config } from './config/config.ts';
import { reloadConfig } from './config/change.ts';
import { OPTION_NAMES, type Settings } from './config/options.ts';
import { Functions } from './functions/functions.ts';
import { Listener, type InheritedSockets } from './listener.ts';
import { notifyReloading, notifySystemd } from './platform/systemd.ts';
import { hasSocketOptions, needsSocketOptions } from './platform/socket-options.ts';
import { Context } from './pool/context.ts';
import { Registry } from './pool/databases.ts';
import { Directory } from './pool/directory.ts';
import { Pause } from './pool/pause.ts';
import { Peers } from './pool/peers.ts';
import { Resolver } from './pool/resolver.ts';
import { Turnover } from './pool/turnover.ts';
import { PoolsObserver } from './pool/observe.ts';
import { MAINTENANCE_MS, maintainPools } from './pool/maintenance.ts';
import { ADMIN_DATABASE } from './session/names.ts';
import { linkedClient, SessionsObserver } from './session/observe.ts';
import { Sessions } from './session/sessions.ts';
import { dropUnflushed, resumeReading, suspendReading } from './session/suspend.ts';
import { maintainClients } from './session/timeouts.ts';
import { SwitchoversObserver } from './switchover/observe.ts';
import { Switchovers } from './switchover/switchovers.ts';
import type { Logger } from './telemetry/log.ts';
import { StatisticsObserver, type NamedStats } from './telemetry/observe.ts';
import { DatabaseStats } from './telemetry/stats.ts';
import { StatsHistory, statsLine } from './telemetry/stats-history.ts';
import { clientErrors } from './wire/errors.ts';

/** How often SUSPEND looks whether the buffers are empty. */
const SUSPEND_POLL_MS = 10;

/** The composition root: builds everything from a Config and owns it. */
export class Proxy implements AdminActions {
  readonly registry: Registry;
  readonly sessions: Sessions;
  readonly functions: Functions;
  readonly log: Logger;
  readonly switchovers: Switchovers;
  readonly consoleStats = new DatabaseStats();
  readonly statsHistory: StatsHistory;
  readonly observe: Observe;
  /** resolves when everything has been closed, whoever asked for it */
  readonly ended: Promise<void>;
  /** a stop has begun, or waits for somebody to leave */
  isStopping = false;
  readonly #listener: Listener;
  readonly #inherited: InheritedSockets | null;
  #markEnded: () => void;
  #maintenance: NodeJS.Timeout | null = null;
  #stopped: Promise<void> | null = null;

  /** @param inherited listening sockets to go on with, instead of opening some */
  constructor({
    config,
    log,
    inherited = null,
  }: {
    config: Config;
    log: Logger;
    inherited?: InheritedSockets | null;
  }) {
    this.#inherited = inherited;
    this.log = log;
    const context = new Context(config, log);
    const turnover = new Turnover();
    const pause = new Pause(turnover);
    const resolver = new Resolver({
      ttls: () => context.settings,
      onChange: (host, addresses) => this.registry.directory.hostMoved(host, addresses),
    });
    this.switchovers = new Switchovers({ context, resolver, turnover });
    const directory = new Directory({ context, resolver, turnover, pause, clusters: this.switchovers });
    const peers = new Peers(context, resolver);
    this.registry = new Registry(context, turnover, pause, resolver, directory, peers);
    this.functions = new Functions({
      settings: config.settings,
      databases: config.databases.values(),
      fallback: config.fallback,
      log,
      entryOf: (name) => this.registry.entryOf(name),
    });
    this.sessions = new Sessions({ context, directory, peers, functions: this.functions });
    this.#listener = new Listener(config.settings, log, (socket, isUnix) =>
      this.sessions.accept(socket, isUnix),
    );
    this.statsHistory = new StatsHistory(() => this.#allStats());
    this.observe = this.#observer();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#markEnded = resolve;
    this.sessions.console = new Console(this);
  }

  *#allStats(): Generator<DatabaseStats> {
    for (const database of this.registry.databases.values()) yield database.stats;
    yield this.consoleStats;
  }

  /** The databases that have been used, and the console. */
  *#usedStats(): Generator<NamedStats> {
    for (const { name, pools, stats } of this.registry.databases.values())
      if (pools.size > 0 || stats.clientLoginCount > 0) yield { name, stats };
    yield { name: ADMIN_DATABASE, stats: this.consoleStats };
  }

  #observer(): Observe {
    const { registry, sessions } = this;
    const listener = this.#listener;
    return {
      sessions: new SessionsObserver(sessions),
      pools: new PoolsObserver(registry, linkedClient),
      functions: this.functions,
      switchovers: new SwitchoversObserver(this.switchovers),
      statistics: new StatisticsObserver(() => this.#usedStats(), this.statsHistory),
      get config() {
        return registry.config;
      },
      get traffic() {
        if (sessions.suspended) return 'suspended';
        return registry.paused ? 'paused' : 'flowing';
      },
      listeners: () => listener.observe(),
    };
  }

  /** Listens. @throws Error when an address can't be listened on, or the TLS files are not right. */
  async start(): Promise<void> {
    this.sessions.tls = clientTls(this.registry.config.settings);
    serverTls(this.registry.config.settings, '');
    this.#checkSocketOptions();
    this.#warnOfAuthFiles();
    await (this.#inherited === null ? this.#listener.open() : this.#listener.adopt(this.#inherited));
    // Clients connect meanwhile. Their first query waits for the rules of their own database only.
    void this.functions.start();
    this.switchovers.reconfigure(this.registry.directory);
    this.#maintenance = setInterval(() => this.#maintain(performance.now()), MAINTENANCE_MS);
  }

  #checkSocketOptions(): void {
    if (!needsSocketOptions(this.registry.config.settings) || hasSocketOptions()) return;
    this.log.warn(
      'no effect: tcp_keepcnt, tcp_keepintvl, tcp_user_timeout, tcp_socket_buffer need node:ffi on Linux',
    );
  }

  #warnOfAuthFiles(): void {
    for (const problem of this.registry.config.authProblems) this.log.warn({ event: 'auth_files' }, problem);
  }

  #maintain(now: number): void {
    if (!this.sessions.suspended) {
      maintainPools(this.registry, now);
      maintainClients(this.sessions, now);
    }
    const { stats_period: period, log_stats: logged } = this.registry.config.settings;
    if (!this.statsHistory.tick(now, period * 1000)) return;
    const line = statsLine(this.statsHistory.totalAverages(now));
    if (logged) this.log.info({ event: 'stats' }, line);
    notifySystemd(`STATUS=${line.replaceAll(' us', ' μs')}`);
  }

  /** RELOAD: reads the files again. @throws ConfigError; nothing has changed then */
  async reload(): Promise<void> {
    notifyReloading();
    try {
      await this.#reload();
    } finally {
      notifySystemd('READY=1');
    }
  }

  async #reload(): Promise<void> {
    const { config: next, diff, keptUsers } = reloadConfig(this.registry.config);
    const old = this.registry.config.settings;
    const tls = clientTls(next.settings);
    // files that are not right are an error now, not at the next connection
    serverTls(next.settings, '');
    if (diff.needRestart.length > 0) {
      this.log.warn(
        { event: 'reload' },
        `changed, but only a restart applies it: ${diff.needRestart.join(', ')}`,
      );
    }
    for (const database of keptUsers)
      this.log.warn(
        { event: 'reload', database },
        `losing forced user not supported, keeping old setting: ${database}`,
      );
    this.sessions.tls = tls;
    this.log.configure(next.settings);
    this.#listener.reconfigure(next.settings);
    for (const database of this.registry.reconfigure(next))
      this.sessions.drop(database, clientErrors.databaseRemoved());
    this.#warnOfAuthFiles();
    this.switchovers.reconfigure(this.registry.directory);
    if (changesTls(old, next.settings, 'server')) this.#renewServers();
    this.functions.confirmRemovals();
    await this.functions.reconfigure(next.settings, next.databases.values(), next.fallback);
  }

  async applySettings(config: Config): Promise<boolean> {
    const { settings: old, authProblems } = this.registry.config;
    const { settings } = config;
    const isTlsRight = this.#applyTls(old, settings);
    this.registry.reconfigure(config);
    this.log.configure(settings);
    this.#listener.reconfigure(settings);
    if (isTlsRight && changesTls(old, settings, 'server')) this.#renewServers();
    if (config.authProblems !== authProblems) this.#warnOfAuthFiles();
    await this.functions.reconfigure(settings, config.databases.values(), config.fallback);
    return isTlsRight;
  }

  /** False: the options make no sense, perhaps since another one is to follow, and TLS goes on as it was. */
  #applyTls(old: Settings, next: Settings): boolean {
    const isServers = changesTls(old, next, 'server');
    try {
      if (changesTls(old, next, 'client')) this.sessions.tls = clientTls(next);
      if (isServers) serverTls(next, '');
      else keepServerTls(old, next);
      return true;
    } catch (error) {
      this.log.error((error as Error).message);
      keepServerTls(old, next);
      return false;
    }
  }

  /** Connections with the old TLS options go as they come free. */
  #renewServers(): void {
    for (const pool of this.registry.allPools()) pool.retire('database configuration changed');
  }

  /** No server is lent any more; those that are free are closed, the others as they come free. */
  pause(): void {
    this.registry.pause(null);
  }

  resume(): void {
    if (this.sessions.suspended) resumeReading(this.sessions);
    // a stop that waits for servers needs its pause
    if (!this.sessions.endsWaiting) this.registry.resume(null);
  }

  async suspend(): Promise<void> {
    const { suspend_timeout: timeout } = this.registry.config.settings;
    const giveUpAt = timeout > 0 ? performance.now() + timeout : Infinity;
    this.sessions.suspended = true;
    while (this.sessions.suspended && !suspendReading(this.sessions)) {
      if (performance.now() >= giveUpAt) dropUnflushed(this.sessions);
      await delay(SUSPEND_POLL_MS);
    }
  }

  handOver(): number[] {
    this.#listener.isHandedOver = true;
    return this.#listener.descriptors();
  }

  takeBack(): void {
    if (!this.isStopping) this.#listener.isHandedOver = false;
  }

  /** Ends everything; safe to call again with a harder mode. */
  async stop(mode: StopMode): Promise<void> {
    // the service goes on where another process has taken over
    if (!this.isStopping && !this.#listener.isHandedOver) notifySystemd('STOPPING=1');
    this.isStopping = true;
    // Who has come in before another process took over is served to the end; that one answers operators, too. Otherwise
    // the Unix socket stays, for them.
    if (this.#listener.isHandedOver) this.#listener.closeUnix();
    else this.sessions.draining = true;
    this.#listener.closeTcp();
    if (mode === 'wait_for_clients') await this.sessions.untilNoClients();
    if (mode === 'wait_for_servers') {
      this.sessions.endsWaiting = true;
      // what runs on a server must be able to end
      if (this.sessions.suspended) resumeReading(this.sessions);
      this.pause();
      await this.registry.untilServers(() => !this.registry.hasServers(null));
    }
    if (mode !== 'immediate' && this.#stopped === null) {
      const what = mode === 'wait_for_clients' ? 'client' : 'server';
      this.log.info({ event: 'drained' }, `${what} connections dropped, exiting`);
    }
    this.#stopped ??= this.#end();
    await this.#stopped;
    this.#markEnded();
  }

  async #end(): Promise<void> {
    this.registry.pauses.stop();
    await this.switchovers.stop();
    if (this.#maintenance) clearInterval(this.#maintenance);
    this.#listener.closeUnix();
    this.sessions.drop(null, clientErrors.shuttingDown());
    for (const server of [...this.registry.allServers()]) server.close('server shutting down');
    await this.functions.stop();
  }
}

function changesTls(old: Settings, next: Settings, side: 'client' | 'server'): boolean {
  return OPTION_NAMES.some((name) => name.startsWith(`${side}_tls`) && old[name] !== next[name]);
}
