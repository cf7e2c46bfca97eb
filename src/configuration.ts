/** Applies a new configuration to the parts of the proxy: RELOAD reads the files again, SET changes one option. */
import { clientTls, keepServerTls, serverTls } from './auth/tls.ts';
import { diff, reloadConfig, type ConfigDiff } from './config/change.ts';
import type { Config } from './config/config.ts';
import type { OptionName } from './config/options.ts';
import type { Fleet } from './fleet/fleet.ts';
import type { Functions } from './functions/functions.ts';
import type { HttpEndpoint } from './http/endpoint.ts';
import type { Listener } from './listener.ts';
import type { OtlpExport } from './otlp/export.ts';
import { notifyReloading, notifySystemd } from './platform/systemd.ts';
import type { Context } from './pool/context.ts';
import type { Directory } from './pool/directory.ts';
import type { Sessions } from './session/sessions.ts';
import type { Switchovers } from './switchover/switchovers.ts';
import type { Logger } from './telemetry/log.ts';
import { clientErrors } from './wire/errors.ts';

/** The parts of the proxy that react when the configuration changes. */
export interface ConfiguredParts {
  readonly log: Logger;
  readonly listener: Listener;
  readonly http: HttpEndpoint;
  readonly otlp: OtlpExport;
  readonly context: Context;
  readonly directory: Directory;
  readonly sessions: Sessions;
  readonly switchovers: Switchovers;
  readonly functions: Functions;
  readonly fleet: Fleet;
}

/** The consequences of a new configuration for the parts. */
interface Change {
  readonly old: Config;
  /** false: SET, which changes one option */
  readonly isReload: boolean;
  /** connections to servers have other TLS options than before */
  readonly hasNewServerTls: boolean;
}

/** One part's reaction to a new configuration. */
type Step = (next: Config, change: Change) => void;

export class Configuration {
  readonly #parts: ConfiguredParts;
  readonly #steps: readonly Step[] = [
    ({ settings }) => this.#parts.log.configure(settings),
    ({ settings }) => this.#parts.listener.reconfigure(settings),
    ({ settings }, { isReload }) => (isReload ? this.#parts.http.reconfigure(settings) : undefined),
    (next) => this.#replaceDatabases(next),
    () => this.#parts.fleet.reconfigure(),
    ({ settings }) => this.#parts.otlp.configure(settings),
    (next, { old, isReload }) =>
      isReload || next.authProblems !== old.authProblems ? this.warnOfAuthFiles() : undefined,
    // SET changes no database, so the clusters stay the same
    (_, { isReload }) => (isReload ? this.#parts.switchovers.reconfigure(this.#parts.directory) : undefined),
    (_, { hasNewServerTls }) => (hasNewServerTls ? this.#renewServers() : undefined),
    // with RELOAD the operator confirms that vanished rule files were removed on purpose
    (_, { isReload }) => (isReload ? this.#parts.functions.confirmRemovals() : undefined),
  ];

  constructor(parts: ConfiguredParts) {
    this.#parts = parts;
  }

  get current(): Config {
    return this.#parts.context.config;
  }

  /** Reads the TLS files for the first time. @throws TlsSetupError */
  prepare(): void {
    this.#loadTls(this.current);
  }

  /** RELOAD. @throws ConfigError or TlsSetupError; then nothing has changed */
  async reload(): Promise<void> {
    notifyReloading();
    try {
      const { log } = this.#parts;
      const { config, diff: changes, keptUsers } = reloadConfig(this.current);
      this.#loadTls(config);
      if (changes.needRestart.length > 0)
        log.warn(
          { event: 'reload' },
          `changed, but only a restart applies it: ${changes.needRestart.join(', ')}`,
        );
      for (const database of keptUsers)
        log.warn(
          { event: 'reload', database },
          `losing forced user not supported, keeping old setting: ${database}`,
        );
      const hasNewServerTls = changesTls(changes, 'server');
      await this.#apply(config, { old: this.current, isReload: true, hasNewServerTls });
    } finally {
      notifySystemd('READY=1');
    }
  }

  /**
   * SET: applies a configuration that differs in options only.
   * @returns false: its TLS files are wrong, and TLS continues as before
   */
  async set(config: Config): Promise<boolean> {
    const changes = diff(this.current, config);
    const isTlsRight = this.#changeTls(config, changes);
    const hasNewServerTls = isTlsRight && changesTls(changes, 'server');
    await this.#apply(config, { old: this.current, isReload: false, hasNewServerTls });
    return isTlsRight;
  }

  /** Takes all steps in one turn of the event loop, and waits until the user functions are loaded. */
  async #apply(next: Config, change: Change): Promise<void> {
    for (const step of this.#steps) step(next, change);
    await this.#parts.functions.reconfigure(next.settings, next.databases.values(), next.fallback, next);
  }

  /** Reads the files of both sides. @throws TlsSetupError now, and not at the next connection; then nothing has changed */
  #loadTls({ settings }: Config): void {
    const tls = clientTls(settings);
    serverTls(settings, '');
    this.#parts.sessions.offerTls(tls);
  }

  /** False: the options make no sense, perhaps because another one will follow, and TLS stays as it was. */
  #changeTls(next: Config, changes: ConfigDiff): boolean {
    const { log, sessions } = this.#parts;
    const { settings: old } = this.current;
    try {
      if (changesTls(changes, 'client')) sessions.offerTls(clientTls(next.settings));
      if (changesTls(changes, 'server')) serverTls(next.settings, '');
      else keepServerTls(old, next.settings);
      return true;
    } catch (error) {
      log.error((error as Error).message);
      keepServerTls(old, next.settings);
      return false;
    }
  }

  #replaceDatabases(next: Config): void {
    const { context, directory, sessions } = this.#parts;
    context.configure(next);
    for (const database of directory.reconfigure()) sessions.drop(database, clientErrors.databaseRemoved());
  }

  /** Logs the problems in the files that hold users and rules. */
  warnOfAuthFiles(): void {
    for (const problem of this.current.authProblems) this.#parts.log.warn({ event: 'auth_files' }, problem);
  }

  /** Connections with the old TLS options are closed as they come free. */
  #renewServers(): void {
    for (const pool of this.#parts.directory.allPools()) pool.retire('database configuration changed');
  }
}

function changesTls({ changed }: ConfigDiff, side: 'client' | 'server'): boolean {
  return changed.some((name: OptionName) => name.startsWith(`${side}_tls`));
}
