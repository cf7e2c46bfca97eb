import { clientTls } from './auth/tls.ts';
import type { Config } from './config/config.ts';
import { reloadConfig } from './config/load.ts';
import { Functions } from './functions/functions.ts';
import { Listener } from './listener.ts';
import { Registry } from './pool/databases.ts';
import { MAINTENANCE_MS, maintainPools } from './pool/maintenance.ts';
import { Sessions } from './session/sessions.ts';
import { maintainClients } from './session/timeouts.ts';
import type { Logger } from './telemetry/log.ts';
import { clientErrors } from './wire/errors.ts';

/** How a stop treats those who are still connected (SHUTDOWN and the signals). */
export type StopMode = 'immediate' | 'wait_for_clients' | 'wait_for_servers';

/** The composition root: builds everything from a Config and owns it. */
export class Proxy {
  readonly registry: Registry;
  readonly sessions: Sessions;
  readonly functions: Functions;
  readonly log: Logger;
  readonly #listener: Listener;
  #maintenance: NodeJS.Timeout | null = null;
  #stopped: Promise<void> | null = null;

  constructor({ config, log }: { config: Config; log: Logger }) {
    this.log = log;
    this.registry = new Registry(config, log);
    this.functions = new Functions({
      settings: config.settings,
      databases: config.databases.values(),
      log,
      isDbkey: (name) => this.registry.isDbkey(name),
    });
    this.sessions = new Sessions(this.registry, this.functions, log);
    this.#listener = new Listener(config.settings, log, (socket, isUnix) =>
      this.sessions.accept(socket, isUnix),
    );
  }

  /** Listens. @throws Error when an address can't be listened on, or the TLS files are not right. */
  async start(): Promise<void> {
    this.sessions.tls = clientTls(this.registry.config.settings);
    await this.functions.start();
    await this.#listener.open();
    this.#maintenance = setInterval(() => {
      const now = performance.now();
      maintainPools(this.registry, now);
      maintainClients(this.sessions, now);
    }, MAINTENANCE_MS);
  }

  /** RELOAD: reads the files again. @throws ConfigError; nothing has changed then */
  async reload(): Promise<void> {
    const { config: next, diff } = reloadConfig(this.registry.config);
    const tls = clientTls(next.settings);
    if (diff.needRestart.length > 0) {
      this.log.warn(
        { event: 'reload' },
        `changed, but only a restart applies it: ${diff.needRestart.join(', ')}`,
      );
    }
    this.sessions.tls = tls;
    for (const database of this.registry.reconfigure(next))
      this.sessions.drop(database, clientErrors.databaseRemoved());
    await this.functions.reconfigure(next.settings, next.databases.values());
  }

  pause(): void {
    this.registry.paused = true;
    for (const pool of this.registry.allPools())
      for (const server of [...pool.idle]) server.close('pause mode');
  }

  resume(): void {
    this.registry.paused = false;
    this.registry.activate();
  }

  /** Ends everything; safe to call again with a harder mode. */
  async stop(mode: StopMode): Promise<void> {
    this.#listener.closeTcp();
    if (mode === 'wait_for_clients') await this.sessions.untilNoClients();
    if (mode === 'wait_for_servers') {
      this.pause();
      await this.registry.untilServers(() => [...this.registry.allServers()].length === 0);
    }
    this.#stopped ??= this.#end();
    await this.#stopped;
  }

  async #end(): Promise<void> {
    this.registry.stopping = true;
    if (this.#maintenance) clearInterval(this.#maintenance);
    this.#listener.closeUnix();
    this.sessions.drop(null, clientErrors.shuttingDown());
    for (const server of [...this.registry.allServers()]) server.close('server shutting down');
    await this.functions.stop();
  }
}
