/** Carries out what operators ask for by the console or by signals: PAUSE, KILL, SUSPEND, SHUTDOWN and the like. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Steer, StopMode } from './admin/steer.ts';
import type { Config } from './config/config.ts';
import type { Configuration } from './configuration.ts';
import type { Listener } from './listener.ts';
import { notifySystemd } from './platform/systemd.ts';
import type { Database } from './pool/database.ts';
import type { Registry } from './pool/databases.ts';
import { clientPhase } from './session/phase.ts';
import type { Sessions } from './session/sessions.ts';
import { dropUnflushed, resumeReading, suspendReading } from './session/suspend.ts';
import type { ClusterController } from './switchover/controller.ts';
import type { Logger } from './telemetry/log.ts';
import { clientErrors } from './wire/errors.ts';

/** How often SUSPEND looks whether the buffers are empty. */
const SUSPEND_POLL_MS = 10;

/** The parts of the proxy that are steered. */
export interface SteeredParts {
  readonly registry: Registry;
  readonly sessions: Sessions;
  readonly listener: Listener;
  readonly configuration: Configuration;
  readonly clusters: ReadonlyMap<string, ClusterController>;
  readonly log: Logger;
  /** Closes everything, in the middle of whatever it does. */
  readonly close: () => Promise<void>;
}

export class Steering implements Steer {
  isStopping = false;
  readonly #parts: SteeredParts;
  #closed: Promise<void> | null = null;

  constructor(parts: SteeredParts) {
    this.#parts = parts;
  }

  get clusters(): ReadonlyMap<string, ClusterController> {
    return this.#parts.clusters;
  }

  database(name: string): Database | null {
    return this.#parts.registry.find(name);
  }

  knownDatabase(name: string): Database | null {
    return this.#parts.registry.databases.get(name) ?? null;
  }

  databases(): Iterable<Database> {
    return this.#parts.registry.databases.values();
  }

  reload(): Promise<void> {
    return this.#parts.configuration.reload();
  }

  set(config: Config): Promise<boolean> {
    return this.#parts.configuration.set(config);
  }

  pause(database: Database | null): void {
    this.#parts.registry.pause(database);
  }

  resume(database: Database | null): void {
    const { registry, sessions } = this.#parts;
    if (database !== null) return registry.resume(database);
    if (sessions.suspended) resumeReading(sessions);
    // a stop that waits for servers needs its pause
    if (!sessions.endsWaiting) registry.resume(null);
  }

  isPaused(database: Database | null): boolean {
    return database === null ? this.#parts.registry.paused : database.paused;
  }

  async suspend(): Promise<void> {
    const { registry, sessions } = this.#parts;
    const { suspend_timeout: timeout } = registry.config.settings;
    const giveUpAt = timeout > 0 ? performance.now() + timeout : Infinity;
    sessions.suspended = true;
    while (sessions.suspended && !suspendReading(sessions)) {
      if (performance.now() >= giveUpAt) dropUnflushed(sessions);
      await delay(SUSPEND_POLL_MS);
    }
  }

  get isSuspended(): boolean {
    return this.#parts.sessions.suspended;
  }

  reconnect(database: Database | null): void {
    for (const pool of this.#parts.registry.poolsOf(database)) pool.retire('database configuration changed');
  }

  kill(database: Database): void {
    const error = clientErrors.databaseRemoved();
    database.setPaused(true);
    this.#parts.sessions.drop(database, error);
    for (const pool of database.pools.values()) {
      for (const server of [...pool.servers]) server.close(error.message);
      pool.opener.abort(error.message);
    }
  }

  killClient(id: number): boolean {
    for (const client of this.#parts.sessions.clients) {
      if (client.id !== id || clientPhase(client) === 'login') continue;
      const error = clientErrors.forcedDisconnect();
      client.close(error.message, error);
      return true;
    }
    return false;
  }

  hasServers(database: Database | null): boolean {
    return this.#parts.registry.hasServers(database);
  }

  hasRetired(database: Database | null): boolean {
    return this.#parts.registry.hasRetired(database);
  }

  untilServers(isDone: () => boolean): Promise<void> {
    return this.#parts.registry.untilServers(isDone);
  }

  recheck(): void {
    this.#parts.registry.recheck();
  }

  get endsWaiting(): boolean {
    return this.#parts.sessions.endsWaiting;
  }

  handOver(): number[] {
    const { listener } = this.#parts;
    listener.isHandedOver = true;
    return listener.descriptors();
  }

  takeBack(): void {
    if (!this.isStopping) this.#parts.listener.isHandedOver = false;
  }

  /** May be called again, with a mode that waits for less. */
  async stop(mode: StopMode): Promise<void> {
    const { registry, sessions, listener, log } = this.#parts;
    // after a takeover the service goes on
    if (!this.isStopping && !listener.isHandedOver) notifySystemd('STOPPING=1');
    this.isStopping = true;
    // After a takeover, existing clients are served to the end and the new process answers operators. Otherwise the Unix
    // socket stays open for operators.
    if (listener.isHandedOver) listener.closeUnix();
    else sessions.draining = true;
    listener.closeTcp();
    if (mode === 'wait_for_clients') await sessions.untilNoClients();
    if (mode === 'wait_for_servers') {
      sessions.endsWaiting = true;
      // statements that run on a server must be able to end
      if (sessions.suspended) resumeReading(sessions);
      this.pause(null);
      await registry.untilServers(() => !registry.hasServers(null));
    }
    if (mode !== 'immediate' && this.#closed === null) {
      const connections = mode === 'wait_for_clients' ? 'client' : 'server';
      log.info({ event: 'drained' }, `${connections} connections dropped, exiting`);
    }
    this.#closed ??= this.#parts.close();
    await this.#closed;
  }
}
