/** The composition root: builds the parts of the proxy from a Config, starts and ends them. */
import { Console } from './admin/console.ts';
import { AuditTrail } from './admin/audit.ts';
import type { Observe } from './admin/observe.ts';
import type { Steer } from './admin/steer.ts';
import type { Config } from './config/config.ts';
import { Configuration } from './configuration.ts';
import { Fleet } from './fleet/fleet.ts';
import { measureLoad } from './fleet/load.ts';
import { FleetStore } from './fleet/shared-store.ts';
import { Functions } from './functions/functions.ts';
import { HttpEndpoint } from './http/endpoint.ts';
import { Lifecycle } from './lifecycle.ts';
import { Listener, type InheritedSockets } from './listener.ts';
import { EmbeddedMetrics } from './metrics/emf.ts';
import { OtlpExport } from './otlp/export.ts';
import { hasSocketOptions, needsSocketOptions } from './platform/socket-options.ts';
import { notifySystemd } from './platform/systemd.ts';
import { Context } from './pool/context.ts';
import { Directory } from './pool/directory.ts';
import { Pause } from './pool/pause.ts';
import { Peers } from './pool/peers.ts';
import { Resolver } from './pool/resolver.ts';
import { Turnover } from './pool/turnover.ts';
import { MAINTENANCE_MS, maintainPools } from './pool/maintenance.ts';
import { PoolsObserver } from './pool/observe.ts';
import { ADMIN_DATABASE } from './session/state/names.ts';
import { linkedClient, SessionsObserver } from './session/observe.ts';
import { Sessions } from './session/sessions.ts';
import { maintainClients } from './session/timeouts.ts';
import { Steering } from './steering.ts';
import { SwitchoversObserver } from './switchover/observe.ts';
import { Switchovers } from './switchover/switchovers.ts';
import type { Logger } from './telemetry/log.ts';
import { StatisticsObserver, type NamedStats } from './telemetry/observe.ts';
import { QuerySampler } from './telemetry/sampler.ts';
import { StatsHistory, statsLine } from './telemetry/stats-history.ts';
import { DatabaseStats } from './telemetry/stats.ts';
import { clientErrors } from './wire/errors.ts';

/** The parts of src/pool, each of which is handed to those that need it. */
interface PoolParts {
  readonly context: Context;
  readonly directory: Directory;
  readonly pause: Pause;
  readonly turnover: Turnover;
  readonly resolver: Resolver;
  readonly peers: Peers;
  /** the clusters, which the directory asks for aliases and tells of its databases */
  readonly switchovers: Switchovers;
}

export class Proxy {
  /** PAUSE, SHUTDOWN and the like */
  readonly steer: Steer;
  /** resolves when everything has been closed, for any reason */
  readonly ended: Promise<void>;
  readonly #log: Logger;
  readonly #pools: PoolParts;
  readonly #sessions: Sessions;
  readonly #lifecycle = new Lifecycle();
  readonly #sampler = new QuerySampler();
  readonly #functions: Functions;
  readonly #fleet: Fleet;
  readonly #listener: Listener;
  readonly #http: HttpEndpoint;
  readonly #embeddedMetrics: EmbeddedMetrics;
  readonly #otlp: OtlpExport;
  readonly #configuration: Configuration;
  readonly #consoleStats = new DatabaseStats();
  readonly #statsHistory: StatsHistory;
  readonly #inherited: InheritedSockets | null;
  #markEnded: () => void;
  #maintenance: NodeJS.Timeout | null = null;

  /** @param inherited listening sockets to use, instead of opening some */
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
    this.#log = log;
    this.#pools = poolParts(config, log, this.#lifecycle);
    const { context, directory, peers, switchovers } = this.#pools;
    const shared = new FleetStore(() => this.#fleet);
    this.#functions = new Functions({
      shared,
      settings: config.settings,
      databases: config.databases.values(),
      fallback: config.fallback,
      tenants: config,
      log,
      entryOf: (name) => directory.entryOf(name),
    });
    this.#sessions = new Sessions({
      context,
      directory,
      peers,
      functions: this.#functions,
      lifecycle: this.#lifecycle,
      sampler: this.#sampler,
    });
    this.#listener = new Listener(config.settings, log, this.#lifecycle, (socket, isUnix) =>
      this.#sessions.accept(socket, isUnix),
    );
    this.#statsHistory = new StatsHistory(() => this.#allStats());
    const observe = this.#observer(() => this.#fleet);
    this.#fleet = new Fleet({
      config: () => context.config,
      log,
      load: () => measureLoad(observe),
      lifecycle: this.#lifecycle,
      peers,
    });
    shared.begin();
    const audit = new AuditTrail(log, (line) => this.#fleet.audit(line));
    this.#http = new HttpEndpoint({ observe, steer: () => this.steer, log, audit });
    this.#embeddedMetrics = new EmbeddedMetrics(observe, log);
    this.#otlp = new OtlpExport(observe, this.#sampler, log);
    this.#configuration = new Configuration({
      log,
      listener: this.#listener,
      http: this.#http,
      otlp: this.#otlp,
      context,
      directory,
      sessions: this.#sessions,
      switchovers,
      functions: this.#functions,
      fleet: this.#fleet,
    });
    this.steer = this.#steering();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#markEnded = resolve;
    const console = new Console({
      observe,
      steer: this.steer,
      sessions: this.#sessions,
      stats: this.#consoleStats,
      log,
      audit,
    });
    this.#sessions.openConsole(console);
  }

  *#allStats(): Generator<DatabaseStats> {
    for (const database of this.#pools.directory.databases.values()) yield database.stats;
    yield this.#consoleStats;
  }

  /** The databases that have been used, and the console. */
  *#usedStats(): Generator<NamedStats> {
    for (const { name, pools, stats } of this.#pools.directory.databases.values())
      if (pools.size > 0 || stats.clientLoginCount > 0) yield { name, stats };
    yield { name: ADMIN_DATABASE, stats: this.#consoleStats };
  }

  #steering(): Steering {
    const { context, directory, pause, turnover, switchovers } = this.#pools;
    return new Steering({
      lifecycle: this.#lifecycle,
      context,
      directory,
      pause,
      turnover,
      sessions: this.#sessions,
      listener: this.#listener,
      http: this.#http,
      configuration: this.#configuration,
      clusters: switchovers.controllers,
      functions: this.#functions,
      fleet: this.#fleet,
      log: this.#log,
      close: () => this.#close(),
    });
  }

  #observer(fleet: () => Fleet): Observe {
    const { context } = this.#pools;
    const sessions = this.#sessions;
    const listener = this.#listener;
    const lifecycle = this.#lifecycle;
    const sampler = this.#sampler;
    return {
      sessions: new SessionsObserver(sessions),
      pools: new PoolsObserver(this.#pools, linkedClient),
      functions: this.#functions,
      switchovers: new SwitchoversObserver(this.#pools.switchovers),
      fleet: { observe: () => fleet().observe() },
      statistics: new StatisticsObserver(() => this.#usedStats(), this.#statsHistory),
      get config() {
        return context.config;
      },
      get lifecycle() {
        return { state: lifecycle.state, traffic: lifecycle.traffic, isLeaving: lifecycle.isLeaving };
      },
      traces: () => sampler.observe(),
      listeners: () => listener.observe(),
    };
  }

  /** Listens. @throws Error if an address can't be listened on, or the TLS files are wrong. */
  async start(): Promise<void> {
    this.#configuration.prepare();
    this.#checkSocketOptions();
    this.#configuration.warnOfAuthFiles();
    await this.#http.open();
    this.#otlp.configure(this.#pools.context.settings);
    await this.#functions.prepare();
    await this.#fleet.start();
    await this.#functions.join();
    await (this.#inherited === null ? this.#listener.open() : this.#listener.adopt(this.#inherited));
    // Clients can already connect. Their first query waits for the rules of their own database only.
    void this.#functions.start();
    this.#pools.switchovers.reconfigure(this.#pools.directory);
    this.#maintenance = setInterval(() => this.#maintain(performance.now()), MAINTENANCE_MS);
    // a signal may have stopped the proxy meanwhile
    if (!this.#lifecycle.isStopping) this.#lifecycle.serve();
    this.#fleet.announce();
  }

  #checkSocketOptions(): void {
    if (!needsSocketOptions(this.#pools.context.settings) || hasSocketOptions()) return;
    this.#log.warn(
      'no effect: tcp_keepcnt, tcp_keepintvl, tcp_user_timeout, tcp_socket_buffer need node:ffi on Linux',
    );
  }

  #maintain(now: number): void {
    if (!this.#lifecycle.isSuspended) {
      maintainPools(this.#pools, now);
      maintainClients(this.#sessions, now);
    }
    const { stats_period: period, log_stats: logged } = this.#pools.context.settings;
    if (!this.#statsHistory.tick(now, period * 1000)) return;
    const line = statsLine(this.#statsHistory.totalAverages(now));
    if (logged) this.#log.info({ event: 'stats' }, line);
    notifySystemd(`STATUS=${line.replaceAll(' us', ' μs')}`);
  }

  async #close(): Promise<void> {
    this.#lifecycle.stop();
    await this.#pools.switchovers.stop();
    if (this.#maintenance) clearInterval(this.#maintenance);
    this.#listener.closeUnix();
    this.#http.close();
    this.#embeddedMetrics.stop();
    this.#sessions.drop(null, clientErrors.shuttingDown());
    for (const server of [...this.#pools.directory.allServers()]) server.close('server shutting down');
    await this.#fleet.stop();
    await Promise.all([this.#functions.stop(), this.#otlp.close()]);
    this.#markEnded();
  }
}

function poolParts(config: Config, log: Logger, lifecycle: Lifecycle): PoolParts {
  const context = new Context(config, log);
  const turnover = new Turnover();
  const resolver = new Resolver({
    ttls: () => context.settings,
    onChange: (host, addresses) => directory.hostMoved(host, addresses),
  });
  const switchovers = new Switchovers({ context, resolver, turnover }, lifecycle);
  const directory = new Directory({ context, resolver, turnover, lifecycle, clusters: switchovers });
  const pause = new Pause(turnover, lifecycle);
  return { context, directory, pause, turnover, resolver, peers: new Peers(context, resolver), switchovers };
}
