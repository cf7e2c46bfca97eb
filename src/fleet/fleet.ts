/**
 * The fleet: several proxies that share a store, which is a PostgreSQL database. Each reports to it at intervals (heartbeats) and
 * reads what the others have changed. Nothing here is waited for by a query: while the store is away, the proxy continues with
 * what it has.
 */
import type { FleetSnapshot, ObserveFleet } from '../telemetry/snapshots/fleet.ts';
import { Artifacts } from './artifacts.ts';
import { AuditLog, type AuditLine, type AuditRow } from './audit.ts';
import type { StoreConnection } from './connection.ts';
import { HEARTBEAT, NOTIFIED_MS, START_WAIT_MS, STOP_WAIT_MS, STORE_CONNECTION } from './limits.ts';
import { StoreLink } from './link.ts';
import { Membership, type MembershipParts } from './membership.ts';
import { readNews, tidy } from './proxies.ts';
import { RefusedRows } from './refused-rows.ts';
import { checkSchema } from './schema.ts';
import { Shared } from './shared.ts';
import { storeTarget } from './target.ts';

export interface FleetParts extends MembershipParts {
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
}

export class Fleet implements ObserveFleet {
  /** what the proxies share about tenants */
  readonly shared: Shared;
  readonly artifacts: Artifacts;
  readonly #parts: FleetParts;
  readonly #link: StoreLink;
  readonly #membership: Membership;
  readonly #audit: AuditLog;
  readonly #refused: RefusedRows;
  readonly #listeners = new Set<(isUp: boolean) => void>();
  /** the next heartbeat */
  #timer: NodeJS.Timeout | null = null;
  #beating: Promise<void> | null = null;
  /** a heartbeat was wanted while another one was under way */
  #isStale = false;
  /** the tables that notifications have named since the last read */
  readonly #announced = new Set<string>();
  #tidiedAt = -Infinity;
  /** the last complaint about something that a heartbeat does besides */
  #complaint = '';

  constructor(parts: FleetParts) {
    this.#parts = parts;
    const { log, config } = parts;
    const connection = (): StoreConnection => this.#link.connection;
    this.#refused = new RefusedRows(log);
    this.#membership = new Membership(parts, this.#refused);
    const { name } = this.#membership;
    this.shared = new Shared({ proxy: name, connection, refused: this.#refused });
    this.artifacts = new Artifacts(connection);
    this.#audit = new AuditLog({ proxy: name, connection, refused: this.#refused, log });
    this.#link = new StoreLink({
      target: () => storeTarget(config()),
      settings: () => config().settings,
      name,
      answerMs: () => this.#answerMs(),
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
    return this.#membership.name;
  }

  /** Calls back when the store has come or gone. When it has come, everything in it has been handed to the followers. */
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
    if (!this.isConfigured) this.#membership.forgetOthers();
    this.#schedule();
    if (this.#membership.hasNewClaim) this.announce();
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
      const flushed = this.#audit.flush().catch(() => {});
      const left = flushed.then(() => this.#membership.leave(connection)).catch(() => {});
      await within(left, STOP_WAIT_MS);
    }
    this.#link.stop();
  }

  /** Writes a line to the audit log of the fleet. Nothing is waited for. */
  audit(line: AuditLine): void {
    if (!this.isConfigured) return;
    this.#audit.add(line);
    if (this.isUp) void this.#flush();
  }

  /** The last lines of the audit log, oldest first. @throws StoreAway and pg's errors */
  async auditLines(): Promise<AuditRow[]> {
    return await this.#audit.read();
  }

  observe(): FleetSnapshot {
    const { state, problem, contactAtMs } = this.#link;
    const isUp = state === 'up';
    return {
      store: state,
      problem: isUp ? this.#membership.problem : problem,
      sinceContactMs: contactAtMs === null ? null : performance.now() - contactAtMs,
      proxies: [this.#membership.ownRow(contactAtMs), ...(isUp ? this.#membership.otherRows() : [])],
      waitingAuditLines: this.#audit.waiting,
      lostAuditLines: this.#audit.lost,
      refusedRows: this.#refused.count,
    };
  }

  #answerMs(): number {
    const { shortestAnswerMs, longestAnswerMs } = STORE_CONNECTION;
    return Math.min(longestAnswerMs, Math.max(shortestAnswerMs, 2 * this.#membership.intervalMs));
  }

  /** A new connection: everything that this proxy says and reads at the beginning. */
  async #prepare(connection: StoreConnection): Promise<void> {
    await checkSchema(connection);
    await connection.query('LISTEN pgswitchyard');
    await this.#membership.join(connection);
    await this.#membership.readOthers(connection);
    const { storeId, seq } = await readNews(connection);
    await this.shared.catchUp(storeId, seq, connection);
    await this.shared.verify(connection);
  }

  #schedule(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (!this.isConfigured) return;
    this.#timer = setTimeout(() => {
      void this.#beat();
      this.#schedule();
    }, this.#membership.intervalMs).unref();
  }

  /** One heartbeat at a time. */
  async #beat(): Promise<void> {
    this.#isStale = true;
    this.#beating ??= this.#beatOnce().finally(() => {
      this.#beating = null;
    });
    await this.#beating;
  }

  async #beatOnce(): Promise<void> {
    while (this.#isStale && this.isUp) {
      this.#isStale = false;
      const { connection } = this.#link;
      try {
        const { storeId, seq } = await this.#membership.beat(connection);
        this.#link.noteContact();
        await this.#membership.readOthers(connection);
        await this.shared.catchUp(storeId, seq, connection);
      } catch (error) {
        return this.#failed(connection, error as Error);
      }
      await this.#flush();
      await this.#tidy(connection);
    }
  }

  /** A lost connection has been reported. After any other error, a new one shows whether the store can be used. */
  #failed(connection: StoreConnection, error: Error): void {
    if (connection.isOpen) this.#link.renew(error.message);
  }

  /** Lines that can't be written now wait for the next heartbeat. */
  #flush(): Promise<void> {
    return this.#besides('the audit log is not written', () => this.#audit.flush());
  }

  async #tidy(connection: StoreConnection): Promise<void> {
    if (performance.now() - this.#tidiedAt < HEARTBEAT.tidyMs) return;
    this.#tidiedAt = performance.now();
    const { fleet_audit_days: days } = this.#parts.config().settings;
    await this.#besides('what is shared is not compared', () => this.shared.verify(connection));
    await this.#besides('old rows are not removed', () => tidy(connection, days));
  }

  /** Does what is useful, but no reason to give up a connection that works. */
  async #besides(what: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const complaint = `${what}: ${(error as Error).message}`;
      if (!this.isUp || complaint === this.#complaint) return;
      this.#complaint = complaint;
      this.#parts.log.warn({ event: 'fleet_store' }, `fleet: ${complaint}`);
    }
  }

  /** The payload, which anybody can send, is only a hint about which table to read. */
  #notified(payload: string): void {
    const [table = ''] = payload.split(' ', 1);
    if (table !== 'proxies' && table !== 'shared') return;
    if (this.#announced.size === 0) setTimeout(() => void this.#readAnnounced(), NOTIFIED_MS).unref();
    this.#announced.add(table);
  }

  async #readAnnounced(): Promise<void> {
    const tables = new Set(this.#announced);
    this.#announced.clear();
    if (!this.isUp) return;
    const { connection } = this.#link;
    try {
      if (tables.has('shared')) await this.shared.read(connection);
      if (tables.has('proxies')) await this.#membership.readOthers(connection);
    } catch (error) {
      this.#failed(connection, error as Error);
    }
  }

  #tell(isUp: boolean): void {
    for (const listener of this.#listeners) listener(isUp);
    if (isUp) void this.#flush();
  }
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
