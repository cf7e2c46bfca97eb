/** The servers of one pool: which exist, which are free, and the order in which those are taken. */
import type { Server } from './server.ts';

export class ServerSet {
  readonly #all = new Set<Server>();
  readonly #idle: Server[] = [];
  readonly #tested = new Set<Server>();

  /** The servers that have logged in. */
  get all(): ReadonlySet<Server> {
    return this.#all;
  }

  /** Free servers; the last one given back is the last element. */
  get idle(): readonly Server[] {
    return this.#idle;
  }

  /** The number of servers that will soon come free by themselves: one of the proxy's own queries runs there. */
  get testedCount(): number {
    return this.#tested.size;
  }

  add(server: Server): void {
    this.#all.add(server);
  }

  /** The server is free from now on. */
  addIdle(server: Server): void {
    this.#idle.push(server);
  }

  remove(server: Server): void {
    this.#all.delete(server);
    const at = this.#idle.indexOf(server);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** One of the proxy's own queries begins or ends there. */
  noteTested(server: Server, isTested: boolean): void {
    if (isTested) this.#tested.add(server);
    else this.#tested.delete(server);
  }

  /** The server that has been idle longest; null: none. */
  longestIdle(): Server | null {
    let found: Server | null = null;
    for (const server of this.#idle) if (!found || server.releasedAt < found.releasedAt) found = server;
    return found;
  }

  /**
   * Takes an idle server that can be lent as it is, and closes those that it meets that must be closed.
   * @param isRoundRobin begin with the one that has been idle longest (server_round_robin), not with the one that came last
   * @returns null: none
   */
  takeFit(isRoundRobin: boolean, upkeep: { isFit(server: Server): boolean }): Server | null {
    const idle = this.#idle;
    for (let i = idle.length - 1; i >= 0; i--) {
      const at = isRoundRobin ? idle.length - 1 - i : i;
      const server = idle[at]!;
      if (server.closeReason !== null) {
        server.close(server.closeReason);
        return this.takeFit(isRoundRobin, upkeep);
      }
      if (!upkeep.isFit(server)) continue;
      idle.splice(at, 1);
      return server;
    }
    return null;
  }

  /** Takes the idle server that came last, unless a cancel request is on its way to it; null: none. */
  takeIdle(): Server | null {
    const at = this.#idle.findLastIndex((each) => each.cancelsInFlight === 0);
    return at < 0 ? null : this.#idle.splice(at, 1)[0]!;
  }
}
