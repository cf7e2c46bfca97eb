/** The states of a server, and which of them may follow which. */

/**
 * `login`: connecting and logging in. `idle`: free. `tested`: one of the proxy's own queries is running (reset, check), or a
 * cancel request is still on its way. `active`: lent. `closed`: gone.
 */
export type ServerState = 'login' | 'idle' | 'tested' | 'active' | 'parked' | 'closed';

const NEXT: Readonly<Record<ServerState, readonly ServerState[]>> = {
  login: ['idle', 'tested', 'active', 'closed'],
  idle: ['active', 'tested', 'closed'],
  tested: ['idle', 'tested', 'active', 'closed'],
  active: ['idle', 'tested', 'parked', 'closed'],
  parked: ['active', 'closed'],
  closed: [],
};

/** @throws Error if `to` may not follow `from` */
export function checkMove(from: ServerState, to: ServerState): void {
  if (!NEXT[from].includes(to)) throw new Error(`a server cannot go from ${from} to ${to}`);
}
