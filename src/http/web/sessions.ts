/** The web console's sessions: who has logged in from which browser. They live in memory and end with the process. */
import { createHash, randomBytes } from 'node:crypto';

const LIMITS = {
  /** sessions at the same time; the one that was idle longest ends first */
  most: 1_000,
  /** so that nobody pushes out the sessions of others */
  mostOfUser: 50,
  idleMs: 30 * 60_000,
  longestMs: 8 * 60 * 60_000,
};

export interface WebSession {
  readonly user: string;
  /** the browser's address, for the log */
  readonly address: string;
  /** a request that changes something must bring it: pages of other sites don't know it */
  readonly csrfToken: string;
  /** of a steady clock */
  readonly beganAtMs: number;
}

interface Entry extends WebSession {
  usedAtMs: number;
}

export class WebSessions {
  readonly #now: () => number;
  /** by the hash of its key, so that the memory holds no key; in the order of use */
  readonly #sessions = new Map<string, Entry>();

  /** @param now ms of any steady clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** @returns the key of a new session, for its cookie */
  begin(user: string, address: string): string {
    const now = this.#now();
    const key = randomBytes(32).toString('base64url');
    const csrfToken = randomBytes(32).toString('base64url');
    const own = [...this.#sessions].filter(([, session]) => session.user === user);
    if (own.length >= LIMITS.mostOfUser) this.#sessions.delete(own[0]![0]);
    this.#sessions.set(hashOf(key), { user, address, csrfToken, beganAtMs: now, usedAtMs: now });
    const [oldest] = this.#sessions.keys();
    if (this.#sessions.size > LIMITS.most && oldest !== undefined) this.#sessions.delete(oldest);
    return key;
  }

  /** The session of a cookie, which counts as used; null: there is none, or it has expired. */
  find(key: string | undefined): WebSession | null {
    if (key === undefined) return null;
    const hash = hashOf(key);
    const session = this.#sessions.get(hash);
    if (session === undefined) return null;
    this.#sessions.delete(hash);
    if (this.#isOver(session)) return null;
    session.usedAtMs = this.#now();
    this.#sessions.set(hash, session);
    return session;
  }

  /** Whether a session lasts, without counting as a use of it. */
  lasts(key: string | undefined): boolean {
    const session = key === undefined ? undefined : this.#sessions.get(hashOf(key));
    return session !== undefined && !this.#isOver(session);
  }

  #isOver({ usedAtMs, beganAtMs }: Entry): boolean {
    const now = this.#now();
    return now - usedAtMs > LIMITS.idleMs || now - beganAtMs > LIMITS.longestMs;
  }

  end(key: string | undefined): void {
    if (key !== undefined) this.#sessions.delete(hashOf(key));
  }
}

function hashOf(key: string): string {
  return createHash('sha256').update(key).digest('base64');
}
