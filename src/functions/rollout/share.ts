/** Which clients get the candidate: a stable share of them, spread by their numbers. */

/** All clients, as a share. */
export const ALL = 1_000_000;

/**
 * The place of a client between 0 and ALL, the same for its whole life. A client whose place is below the share has the
 * candidate, so a larger share only adds clients.
 * @param salt of the tenant: a client of several tenants is not in the canaries of all of them
 */
export function placeOf(clientId: number, salt: number): number {
  return Math.floor((mixed(clientId ^ salt) / 2 ** 32) * ALL);
}

/**
 * Which connections are one client, so that all proxies of a fleet count them alike. Without a fleet each connection is a client
 * of its own, and nothing is noted.
 */
export class ClientKeys {
  readonly #keys = new Map<number, number>();

  /** @param parts of the client's identity: texts that are the same on all proxies */
  note(clientId: number, parts: readonly string[]): void {
    this.#keys.set(clientId, saltOf(parts.join('\0')));
  }

  forget(clientId: number): void {
    this.#keys.delete(clientId);
  }

  of(clientId: number): number {
    return this.#keys.get(clientId) ?? clientId;
  }
}

/** A number of 32 bits for a text. */
export function saltOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mixed(hash);
}

/** Spreads numbers that follow one another over all 32 bits (the last step of MurmurHash3). */
function mixed(number: number): number {
  let bits = number | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
