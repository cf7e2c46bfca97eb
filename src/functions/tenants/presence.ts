/**
 * Whether a tenant's functions are loaded. A tenant that nobody uses costs no isolate, no process and no bundle.
 *
 * | state        | need                | settle   | leave        |
 * | ------------ | ------------------- | -------- | ------------ |
 * | `not loaded` | `loading`, begun    | stays    | stays        |
 * | `loading`    | stays               | `loaded` | stays        |
 * | `loaded`     | stays               | stays    | `not loaded` |
 *
 * `loaded` means that calls get answers: those of a version or, if the files can't be loaded, those of the policy.
 */
export type PresenceState = 'not loaded' | 'loading' | 'loaded';

export class Presence {
  #state: PresenceState = 'not loaded';

  get state(): PresenceState {
    return this.#state;
  }

  /** A version that is found sound is installed. Otherwise it is only kept. */
  get isNeeded(): boolean {
    return this.#state !== 'not loaded';
  }

  /** A call has arrived, or the tenant is loaded ahead. @returns whether loading must begin */
  need(): boolean {
    if (this.#state !== 'not loaded') return false;
    this.#state = 'loading';
    return true;
  }

  /** There is a version, or a reason why not. @returns whether calls may go to it */
  settle(): boolean {
    if (this.#state === 'loading') this.#state = 'loaded';
    return this.#state === 'loaded';
  }

  /** Nobody has used the functions for long. @returns whether they must be unloaded now */
  leave(): boolean {
    if (this.#state !== 'loaded') return false;
    this.#state = 'not loaded';
    return true;
  }
}
