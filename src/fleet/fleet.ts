/**
 * The fleet: several proxies that share a store, which is a PostgreSQL database. Each reports to it at intervals (heartbeats) and
 * reads what the others have changed. Nothing here is waited for by a query: while the store is away, the proxy continues with
 * what it has.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { Config, PeerConfig } from '../config/config.ts';
import type { LifecycleView } from '../lifecycle.ts';
import { programVersion } from '../platform/program-version.ts';
import type { FleetProxySnapshot, FleetSnapshot, LoadSnapshot, ObserveFleet } from '../telemetry/snapshot.ts';
import { Artifacts } from './artifacts.ts';
import { AuditLog, type AuditLine, type AuditRow } from './audit.ts';
import type { StoreConnection } from './connection.ts';
import { HEARTBEAT, START_WAIT_MS, STOP_WAIT_MS } from './limits.ts';
import { StoreLink } from './link.ts';
import { ownAddress } from './own-address.ts';
import {
  beat,
  deregister,
  ENDED,
  readNews,
  readOthers,
  register,
  tidy,
  type OtherProxy,
  type OwnIdentity,
  type OwnReport,
} from './proxies.ts';
import { RefusedRows } from './refused-rows.ts';
import { checkSchema } from './schema.ts';
import { Shared } from './shared.ts';
import { storeTarget } from './target.ts';

/** The state of a proxy that will stop soon. */
const LEAVING = 'leaving';

export interface FleetParts {
  readonly config: () => Config;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  readonly load: () => LoadSnapshot;
  /** the state that the heartbeats report, and whether another process has this one's place */
  readonly lifecycle: Pick<LifecycleView, 'state' | 'isHandedOver' | 'isLeaving' | 'isStopping'>;
  /** takes the peers that the store knows, and the own id; 0: none */
  readonly peers: { setFleet(ownId: number, peers: ReadonlyMap<number, PeerConfig>): void };
}

export class Fleet implements ObserveFleet {
  /** what the proxies share about tenants */
  readonly shared: Shared;
  readonly artifacts: Artifacts;
  readonly #parts: FleetParts;
  readonly #own: OwnIdentity;
  readonly #link: StoreLink;
  readonly #refused: RefusedRows;
  readonly #audit: AuditLog;
  readonly #listeners = new Set<(isUp: boolean) => void>();
  #others: readonly OtherProxy[] = [];
  /** when `#others` was read; ms of performance.now() */
  #readAt = 0;
  #peerId = 0;
  #address = '';
  /** this process has been in the table: another one with its name is no predecessor */
  #hasRegistered = false;
  #isNameTaken = false;
  #timer: NodeJS.Timeout | null = null;
  #tidiedAt = -Infinity;
  #isBeating = false;

  constructor(parts: FleetParts) {
    this.#parts = parts;
    const { fleet_name: name, listen_port: port } = parts.config().settings;
    this.#own = {
      name: name || `${hostname().slice(0, 200)}:${port}`,
      instance: randomUUID(),
      startedAtMs: Math.round(performance.timeOrigin),
    };
    const { log } = parts;
    const connection = (): StoreConnection => this.#link.connection;
    this.#refused = new RefusedRows(log);
    this.shared = new Shared({ proxy: this.#own.name, connection, refused: this.#refused });
    this.artifacts = new Artifacts(connection);
    this.#audit = new AuditLog({ proxy: this.#own.name, connection, refused: this.#refused, log });
    this.#link = new StoreLink({
      target: () => storeTarget(parts.config()),
      settings: () => parts.config().settings,
      name: this.#own.name,
      log,
      prepare: (fresh) => this.#prepare(fresh),
      onUp: () => this.#tell(true),
      onAway: () => this.#tell(false),
      onNotification: (payload) => this.#notified(payload),
    });
  }

  /** fleet_store is set. */
  get isConfigured(): boolean {
    return this.#link.state !== 'off';
  }

  /** The store can be used now. */
  get isUp(): boolean {
    return this.#link.state === 'up';
  }

  /** This proxy's name in the fleet. */
  get name(): string {
    return this.#own.name;
  }

  /** Calls back when the store has come or gone. When it has come, everything in it has been read. */
  onStore(listener: (isUp: boolean) => void): void {
    this.#listeners.add(listener);
  }

  /** Connects to the store, if there is one. @returns when it has been read, or after the longest wait */
  async start(): Promise<void> {
    const connecting = this.#link.configure();
    this.#schedule();
    await within(connecting, START_WAIT_MS);
  }

  /** Follows the configuration (RELOAD, SET). */
  reconfigure(): void {
    void this.#link.configure();
    if (this.#link.state === 'off') this.#forget();
    this.#schedule();
  }

  /** The state of this proxy has changed: the others are told without waiting for the next heartbeat. */
  announce(): void {
    void this.#beat();
  }

  /** Tells the fleet that this proxy ends. @returns after a bounded time */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.isUp) {
      const { connection } = this.#link;
      const leaving = this.#audit.flush().then(() => deregister(connection, this.#own));
      await within(
        leaving.catch(() => {}),
        STOP_WAIT_MS,
      );
    }
    this.#link.stop();
  }

  /** Writes a line to the audit log of the fleet. Nothing is waited for. */
  audit(line: AuditLine): void {
    if (!this.isConfigured) return;
    this.#audit.add(line);
    if (this.isUp) this.#attempt(this.#audit.flush());
  }

  /** The last lines of the audit log, oldest first. @throws StoreAway and pg's errors */
  auditLines(): Promise<AuditRow[]> {
    return this.#audit.read();
  }

  observe(): FleetSnapshot {
    const { state, problem, contactAtMs } = this.#link;
    const isShown = state === 'up';
    return {
      store: state,
      problem: state === 'up' && this.#isNameTaken ? this.#nameProblem() : problem,
      sinceContactMs: contactAtMs === null ? null : Math.max(0, Date.now() - contactAtMs),
      proxies: [this.#ownRow(contactAtMs), ...(isShown ? this.#others.map((other) => this.#row(other)) : [])],
      waitingAuditLines: this.#audit.waiting,
      lostAuditLines: this.#audit.lost,
      refusedRows: this.#refused.count,
    };
  }

  #ownRow(contactAtMs: number | null): FleetProxySnapshot {
    const { config, lifecycle, load } = this.#parts;
    const { settings } = config();
    return {
      name: this.#own.name,
      isOwn: true,
      address: this.#address || (ownAddress(settings) ?? ''),
      port: settings.listen_port,
      peerId: settings.peer_id || this.#peerId || null,
      version: programVersion(),
      state: stateOf(lifecycle),
      startedAtMs: this.#own.startedAtMs,
      sinceHeartbeatMs: contactAtMs === null ? null : Math.max(0, Date.now() - contactAtMs),
      load: load(),
    };
  }

  #row({ heartbeatMs, ageMs, ...other }: OtherProxy): FleetProxySnapshot {
    const sinceHeartbeatMs = ageMs + (performance.now() - this.#readAt);
    const isAway = other.state !== ENDED && sinceHeartbeatMs > HEARTBEAT.missed * heartbeatMs;
    return { ...other, isOwn: false, state: isAway ? 'away' : other.state, sinceHeartbeatMs };
  }

  #nameProblem(): string {
    return `another process has the name "${this.#own.name}" in the fleet: set fleet_name`;
  }

  /** A new connection: everything that this proxy says and reads at the beginning. */
  async #prepare(connection: StoreConnection): Promise<void> {
    await checkSchema(connection);
    await connection.query('LISTEN pgswitchyard');
    await this.#register(connection);
    await this.#readOthers(connection);
    const { storeId, seq } = await readNews(connection);
    await this.shared.catchUp(storeId, seq, connection);
  }

  async #register(connection: StoreConnection): Promise<void> {
    const { config, log, lifecycle } = this.#parts;
    if (lifecycle.isHandedOver) return;
    const { settings, peers } = config();
    const wish = { configured: settings.peer_id, present: this.#peerId, taken: [...peers.keys()] };
    const result = await register(connection, this.#own, this.#report(), {
      wish,
      isSuccessor: !this.#hasRegistered,
    });
    const wasTaken = this.#isNameTaken;
    this.#isNameTaken = result.kind === 'name taken';
    if (result.kind === 'name taken') {
      if (!wasTaken) log.warn({ event: 'fleet_name' }, `fleet: ${this.#nameProblem()}`);
      return;
    }
    this.#hasRegistered = true;
    this.#address = result.address;
    if (result.kind === 'registered') this.#peerId = result.peerId;
    else
      log.warn(
        { event: 'fleet_peer_id' },
        `fleet: peer_id ${settings.peer_id} is also the one of proxy "${result.by}": cancel requests may not find their way`,
      );
    this.#publishPeers();
  }

  async #readOthers(connection: StoreConnection): Promise<void> {
    this.#others = await readOthers(connection, this.#own.name, this.#refused);
    this.#readAt = performance.now();
    this.#publishPeers();
  }

  /** A proxy that is away for the store may be there for its clients. */
  #publishPeers(): void {
    const peers = new Map<number, PeerConfig>();
    for (const { peerId: id, address: host, port, state } of this.#others)
      if (id !== null && host !== '' && port > 0 && state !== ENDED)
        peers.set(id, { id, host, port, pool_size: null });
    this.#parts.peers.setFleet(this.#peerId, peers);
  }

  /** fleet_store is not set any more. Cancel keys keep the proxy's id. */
  #forget(): void {
    this.#others = [];
    this.#publishPeers();
  }

  #report(): OwnReport {
    const { config, load, lifecycle } = this.#parts;
    const { settings } = config();
    return {
      address: ownAddress(settings),
      port: settings.listen_port,
      state: stateOf(lifecycle),
      heartbeatMs: this.#intervalMs(),
      load: load(),
    };
  }

  #intervalMs(): number {
    const { fleet_heartbeat: interval } = this.#parts.config().settings;
    return Math.round(Math.min(HEARTBEAT.longestMs, Math.max(HEARTBEAT.shortestMs, interval)));
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#link.state === 'off') return;
    this.#timer = setTimeout(() => {
      void this.#beat();
      this.#schedule();
    }, this.#intervalMs()).unref();
  }

  async #beat(): Promise<void> {
    if (!this.isUp || this.#isBeating) return;
    this.#isBeating = true;
    const { connection } = this.#link;
    try {
      const isHandedOver = this.#parts.lifecycle.isHandedOver;
      const { storeId, seq, isRegistered } = isHandedOver
        ? { ...(await readNews(connection)), isRegistered: true }
        : await beat(connection, this.#own, this.#report());
      this.#link.noteContact();
      // the row was removed during a long absence, or another process has taken it
      if (!isRegistered) await this.#register(connection);
      await this.#readOthers(connection);
      await this.shared.catchUp(storeId, seq, connection);
      await this.#audit.flush();
      await this.#tidy(connection);
    } catch (error) {
      // a lost connection has been reported; with any other error, a new one shows whether the store can be used
      if (connection.isOpen) this.#link.renew((error as Error).message);
    } finally {
      this.#isBeating = false;
    }
  }

  async #tidy(connection: StoreConnection): Promise<void> {
    if (performance.now() - this.#tidiedAt < HEARTBEAT.tidyMs) return;
    this.#tidiedAt = performance.now();
    await tidy(connection, this.#parts.config().settings.fleet_audit_days);
  }

  /** The payload is only a hint about which table to read. */
  #notified(payload: string): void {
    if (!this.isUp) return;
    const { connection } = this.#link;
    if (payload === 'proxies') this.#attempt(this.#readOthers(connection));
    else if (payload.startsWith('shared ')) this.#attempt(this.shared.read(connection));
  }

  /** What fails here is done again with the next heartbeat. */
  #attempt(work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (this.isUp) this.#link.renew((error as Error).message);
    });
  }

  #tell(isUp: boolean): void {
    for (const listener of this.#listeners) listener(isUp);
    if (isUp) this.#attempt(this.#audit.flush());
  }
}

function stateOf({ state, isLeaving, isStopping }: FleetParts['lifecycle']): string {
  return isLeaving && !isStopping ? LEAVING : state;
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
