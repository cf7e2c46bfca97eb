/** The way in which a pool logs in to its servers. */
import type { LearnedSecret } from '../auth/server-auth.ts';

/** The user of a pool and the known parts of its secret. Logins of clients add to them. */
export class Credentials {
  readonly user: string;
  #secret: string | null;
  #learned: LearnedSecret | null = null;

  /** @param secret plain, `md5…` or `SCRAM-SHA-256$…`, from [databases] or auth_file; null: unknown */
  constructor(user: string, secret: string | null) {
    this.user = user;
    this.#secret = secret;
  }

  /** From [databases], auth_file or auth_query: plain, `md5…` or `SCRAM-SHA-256$…`; null: unknown. */
  get secret(): string | null {
    return this.#secret;
  }

  /** The secret from a client's own login: SCRAM keys or the password; null: none. */
  get learned(): LearnedSecret | null {
    return this.#learned;
  }

  /** Takes a newer secret; null changes nothing. */
  renew(secret: string | null): void {
    this.#secret = secret ?? this.#secret;
  }

  /** Takes knowledge from the latest login; null changes nothing. */
  learn(learned: LearnedSecret | null): void {
    this.#learned = learned ?? this.#learned;
  }

  /** Takes knowledge from a login, unless some is already present. */
  learnFirst(learned: LearnedSecret | null): void {
    this.#learned ??= learned;
  }

  /** Fills the gaps with knowledge about the same user from elsewhere. */
  inherit(known: Credentials | undefined): void {
    this.#learned ??= known?.learned ?? null;
    this.#secret ??= known?.secret ?? null;
  }
}
