/** Keeps one connection to the store: connects again with growing delays, and says once why it can't. */
import type { Settings } from '../config/options.ts';
import { isDeepStrictEqual } from 'node:util';
import { StoreAway, StoreConnection } from './connection.ts';
import { STORE_CONNECTION } from './limits.ts';
import type { StoreTarget } from './target.ts';

/** off: fleet_store is not set; connecting: nothing is known yet. */
export type LinkState = 'off' | 'connecting' | 'up' | 'away';

export interface LinkOptions {
  /** null: fleet_store is not set. @throws StoreTargetError */
  readonly target: () => StoreTarget | null;
  readonly settings: () => Settings;
  readonly name: string;
  /** ms to wait for an answer */
  readonly answerMs: () => number;
  readonly log: {
    info(fields: object, message: string): void;
    warn(fields: object, message: string): void;
  };
  /** Makes a new connection useful. @throws if the store can't be used as it is */
  readonly prepare: (connection: StoreConnection) => Promise<void>;
  /** The store is there, and `prepare` has succeeded. */
  readonly onUp: () => void;
  /** The store was there, and is not any more. */
  readonly onAway: () => void;
  readonly onNotification: (payload: string) => void;
}

export class StoreLink {
  readonly #options: LinkOptions;
  #state: LinkState = 'off';
  #problem = '';
  #target: StoreTarget | null = null;
  #connection: StoreConnection | null = null;
  #timer: NodeJS.Timeout | null = null;
  #delayMs: number = STORE_CONNECTION.firstDelayMs;
  /** the attempts of an earlier configuration come to nothing */
  #generation = 0;
  /** ms since 1970; null: never */
  #contactAtMs: number | null = null;

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Why the store is away; '': it is not, or nothing is known yet. */
  get problem(): string {
    return this.#problem;
  }

  /** When the store has last answered, by performance.now(); null: never. */
  get contactAtMs(): number | null {
    return this.#contactAtMs;
  }

  /** @throws StoreAway */
  get connection(): StoreConnection {
    if (this.#state !== 'up' || this.#connection === null)
      throw new StoreAway(this.#problem || 'the store of the fleet is not connected');
    return this.#connection;
  }

  /** The store has answered. */
  noteContact(): void {
    this.#contactAtMs = performance.now();
  }

  /** Follows the configuration. @returns when the first attempt to connect has succeeded or failed */
  async configure(): Promise<void> {
    let target: StoreTarget | null;
    try {
      target = this.#options.target();
    } catch (error) {
      this.#drop();
      this.#target = null;
      return this.#complain((error as Error).message);
    }
    if (this.#state !== 'off' && isDeepStrictEqual(target, this.#target)) return;
    this.#drop();
    this.#target = target;
    this.#state = target === null ? 'off' : 'connecting';
    this.#problem = '';
    if (target !== null) await this.#connect(target, this.#generation);
  }

  /** Ends the connection for good. */
  stop(): void {
    this.#drop();
    this.#state = 'off';
  }

  /** The connection can't be used as it is: it is made again. */
  renew(reason: string): void {
    if (this.#state === 'up') this.#lost(reason, this.#generation);
  }

  #drop(): void {
    this.#generation++;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#delayMs = STORE_CONNECTION.firstDelayMs;
    this.#connection?.close();
    this.#connection = null;
    if (this.#state === 'up') {
      this.#state = 'connecting';
      this.#options.onAway();
    }
  }

  async #connect(target: StoreTarget, generation: number): Promise<void> {
    const { settings, name, answerMs, prepare, onUp, onNotification, log } = this.#options;
    let connection: StoreConnection | null = null;
    try {
      connection = await StoreConnection.open({
        target,
        settings: settings(),
        name,
        answerMs: answerMs(),
        onNotification,
        onLost: (reason) => this.#lost(reason, generation),
      });
      if (generation === this.#generation) {
        this.#connection = connection;
        await prepare(connection);
      }
    } catch (error) {
      connection?.close();
      if (generation !== this.#generation) return;
      this.#connection = null;
      this.#complain((error as Error).message);
      return this.#retry(target, generation);
    }
    if (generation !== this.#generation) return connection.close();
    this.#delayMs = STORE_CONNECTION.firstDelayMs;
    this.#problem = '';
    this.#state = 'up';
    this.noteContact();
    log.info({ event: 'fleet_store' }, 'fleet: the store is connected');
    onUp();
  }

  #lost(reason: string, generation: number): void {
    if (generation !== this.#generation) return;
    this.#connection?.close();
    // while the connection is being prepared, the failure is reported there
    if (this.#state !== 'up') return;
    this.#connection = null;
    this.#complain(reason);
    this.#options.onAway();
    if (this.#target !== null) this.#retry(this.#target, generation);
  }

  #retry(target: StoreTarget, generation: number): void {
    const delayMs = this.#delayMs * (0.5 + Math.random());
    this.#delayMs = Math.min(2 * this.#delayMs, STORE_CONNECTION.longestDelayMs);
    this.#timer = setTimeout(() => void this.#connect(target, generation), delayMs).unref();
  }

  /** Logged again only if it is another problem. */
  #complain(reason: string): void {
    const isNew = reason !== this.#problem || this.#state !== 'away';
    this.#state = 'away';
    this.#problem = reason;
    if (!isNew) return;
    this.#options.log.warn(
      { event: 'fleet_store' },
      `fleet: the store is away: ${reason}; this proxy continues with what it has`,
    );
  }
}
