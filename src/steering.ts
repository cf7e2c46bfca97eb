/** Carries out the operators' commands, from the console or by signals: PAUSE, KILL, SUSPEND, SHUTDOWN and the like. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Steer, StopMode } from './admin/steer.ts';
import type { Config } from './config/config.ts';
import type { Configuration } from './configuration.ts';
import type { Fleet } from './fleet/fleet.ts';
import type { Functions } from './functions/functions.ts';
import type { Lifecycle } from './lifecycle.ts';
import type { HttpEndpoint } from './http/endpoint.ts';
import type { Listener } from './listener.ts';
import { notifySystemd } from './platform/systemd.ts';
import type { Database } from './pool/database.ts';
import type { Context } from './pool/context.ts';
import type { Directory } from './pool/directory.ts';
import type { Pause } from './pool/pause.ts';
import type { Turnover } from './pool/turnover.ts';
import { clientPhase } from './session/phase.ts';
import type { Sessions } from './session/sessions.ts';
import { dropUnflushed, resumeReading, suspendReading } from './session/suspend.ts';
import type { ClusterController } from './switchover/controller.ts';
import type { Logger } from './telemetry/log.ts';
import { clientErrors } from './wire/errors.ts';

/** The interval at which SUSPEND checks whether the buffers are empty. */
const SUSPEND_POLL_MS = 10;

/** The parts of the proxy that are steered. */
export interface SteeredParts {
  readonly lifecycle: Lifecycle;
  readonly context: Context;
  readonly directory: Directory;
  readonly pause: Pause;
  readonly turnover: Turnover;
  readonly sessions: Sessions;
  readonly listener: Listener;
  readonly http: HttpEndpoint;
  readonly configuration: Configuration;
  readonly clusters: ReadonlyMap<string, ClusterController>;
  readonly functions: Functions;
  readonly fleet: Fleet;
  readonly log: Logger;
  /** Closes everything, whatever it is doing. */
  readonly close: () => Promise<void>;
}

export class Steering implements Steer {
  readonly #parts: SteeredParts;
  #closed: Promise<void> | null = null;
  #endDelay = (): void => {};

  constructor(parts: SteeredParts) {
    this.#parts = parts;
  }

  get lifecycle(): Lifecycle {
    return this.#parts.lifecycle;
  }

  get clusters(): ReadonlyMap<string, ClusterController> {
    return this.#parts.clusters;
  }

  get functions(): Functions {
    return this.#parts.functions;
  }

  get fleet(): Fleet {
    return this.#parts.fleet;
  }

  database(name: string): Database | null {
    return this.#parts.directory.find(name);
  }

  knownDatabase(name: string): Database | null {
    return this.#parts.directory.databases.get(name) ?? null;
  }

  databases(): Iterable<Database> {
    return this.#parts.directory.databases.values();
  }

  reload(): Promise<void> {
    return this.#parts.configuration.reload();
  }

  set(config: Config): Promise<boolean> {
    return this.#parts.configuration.set(config);
  }

  pause(database: Database | null): void {
    const { pause, directory } = this.#parts;
    pause.begin(database, directory.poolsOf(database));
  }

  resume(database: Database | null): void {
    const { pause } = this.#parts;
    if (database !== null) return pause.end(database);
    if (this.lifecycle.isSuspended) this.#endSuspend();
    // a stop that waits for servers needs its pause
    if (!this.lifecycle.endsWaiting) pause.end(null);
  }

  async suspend(): Promise<void> {
    const { context, sessions } = this.#parts;
    const { suspend_timeout: timeout } = context.settings;
    const giveUpAt = timeout > 0 ? performance.now() + timeout : Infinity;
    this.lifecycle.suspend();
    while (this.lifecycle.isSuspended && !suspendReading(sessions)) {
      if (performance.now() >= giveUpAt) dropUnflushed(sessions);
      await delay(SUSPEND_POLL_MS);
    }
  }

  #endSuspend(): void {
    this.lifecycle.resume();
    resumeReading(this.#parts.sessions);
  }

  reconnect(database: Database | null): void {
    for (const pool of this.#parts.directory.poolsOf(database)) pool.retire('database configuration changed');
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
    return this.#parts.directory.hasServers(database);
  }

  hasRetired(database: Database | null): boolean {
    return this.#parts.directory.hasRetired(database);
  }

  untilServers(isDone: () => boolean): Promise<void> {
    return this.#parts.turnover.until(isDone);
  }

  recheck(): void {
    this.#parts.turnover.recheck();
  }

  handOver(): number[] {
    this.lifecycle.handOver();
    this.functions.handOver();
    // the other process has the same port
    this.#parts.http.close();
    return this.#parts.listener.descriptors();
  }

  takeBack(): void {
    if (this.lifecycle.isStopping) return;
    this.lifecycle.takeBack();
    this.functions.takeBack();
    this.#parts.http.reopen();
    this.fleet.announce();
  }

  /** May be called again, with a mode that waits for less. */
  async stop(mode: StopMode): Promise<void> {
    const { sessions, listener, log } = this.#parts;
    if (mode === 'wait_for_clients') await this.#untilUnknown();
    else this.#endDelay();
    if (this.#closed !== null) return await this.#closed;
    // after a takeover the service continues
    if (!this.lifecycle.isStopping && !this.lifecycle.isHandedOver) notifySystemd('STOPPING=1');
    this.lifecycle.drain(mode === 'wait_for_servers' ? 'servers' : 'clients');
    this.fleet.announce();
    // After a takeover, existing clients are served to the end and the new process answers operators. Otherwise the Unix
    // socket stays open for operators.
    if (this.lifecycle.isHandedOver) listener.closeUnix();
    listener.closeTcp();
    if (mode === 'wait_for_clients') await sessions.untilNoClients();
    if (mode === 'wait_for_servers') await this.#untilNoServers();
    if (mode !== 'immediate' && this.#closed === null) {
      const connections = mode === 'wait_for_clients' ? 'client' : 'server';
      log.info({ event: 'drained' }, `${connections} connections dropped, exiting`);
    }
    this.#closed ??= this.#parts.close();
    await this.#closed;
  }

  /**
   * shutdown_delay: clients are served as before, and `/readyz` fails, until load balancers have noticed. A second stop ends
   * the wait.
   */
  async #untilUnknown(): Promise<void> {
    const { context, log } = this.#parts;
    const { shutdown_delay: delayMs } = context.settings;
    const { isLeaving, isStopping, isHandedOver } = this.lifecycle;
    if (isLeaving) return this.#endDelay();
    if (delayMs === 0 || isStopping || isHandedOver) return;
    this.lifecycle.leave();
    this.fleet.announce();
    log.info({ event: 'leaving' }, `not ready any more, shutting down in ${delayMs / 1000} s`);
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, delayMs);
    this.#endDelay = () => {
      clearTimeout(timer);
      resolve();
    };
    await promise;
  }

  async #untilNoServers(): Promise<void> {
    // statements that are running on a server must be able to end
    if (this.lifecycle.isSuspended) this.#endSuspend();
    this.pause(null);
    await this.untilServers(() => !this.hasServers(null));
  }
}
