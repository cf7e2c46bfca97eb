/** The users that limits count and SHOW USERS lists. */
import type { UserConfig } from '../config/config.ts';
import type { Context } from './context.ts';

/** One user: its entry in [users] and the clients that have logged in under its name. */
export class User {
  readonly name: string;
  #config: UserConfig | null;
  #clientCount = 0;
  #hasPool = false;

  constructor(name: string, config: UserConfig | null) {
    this.name = name;
    this.#config = config;
  }

  /** The entry in [users]; null: none. */
  get config(): UserConfig | null {
    return this.#config;
  }

  get clientCount(): number {
    return this.#clientCount;
  }

  /** True once a pool has logged in as this user, and from then on. */
  get hasPool(): boolean {
    return this.#hasPool;
  }

  configure(config: UserConfig | null): void {
    this.#config = config;
  }

  /** A client of this name has logged in. */
  enter(): void {
    this.#clientCount++;
  }

  /** A client that had entered is gone. */
  leave(): void {
    this.#clientCount--;
  }

  notePool(): void {
    this.#hasPool = true;
  }
}

/** All known users by name: those in [users], those with a pool, and those with a client. */
export class Users {
  readonly #context: Context;
  readonly #byName = new Map<string, User>();

  constructor(context: Context) {
    this.#context = context;
  }

  get size(): number {
    return this.#byName.size;
  }

  [Symbol.iterator](): IterableIterator<User> {
    return this.#byName.values();
  }

  /** A user that is already known. */
  known(name: string): User | undefined {
    return this.#byName.get(name);
  }

  /** A user that is remembered from now on; one without an entry and a pool, only until `left`. */
  get(name: string): User {
    const user = this.lookUp(name);
    this.#byName.set(name, user);
    return user;
  }

  /**
   * A user for a client that has not logged in yet. It is not remembered: names can be made up without end, and those of
   * refused clients must cost nothing.
   */
  lookUp(name: string): User {
    return this.#byName.get(name) ?? new User(name, this.#context.config.users.get(name) ?? null);
  }

  /** A client that had entered is gone. A user without an entry, a pool and clients is forgotten. */
  left(name: string): void {
    const user = this.get(name);
    user.leave();
    if (user.clientCount === 0 && user.config === null && !user.hasPool) this.#byName.delete(name);
  }

  /** Takes over the entries of a new configuration. */
  reconfigure(): void {
    const { users } = this.#context.config;
    for (const user of this.#byName.values()) user.configure(users.get(user.name) ?? null);
    for (const name of users.keys()) this.get(name);
  }
}
