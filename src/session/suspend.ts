import type { Server } from '../pool/server.ts';
import { clientErrors } from '../wire/errors.ts';
import type { Sessions } from './sessions.ts';

/**
 * SUSPEND: what is in the proxy's buffers is sent, and nothing more is read from clients or servers, the console's
 * clients excepted. Connections stay open; new ones wait in their sockets' buffers.
 */

/**
 * Stops reading and looks whether everything has been sent. To be called until it has: what drains meanwhile may make
 * the relay read again, and once nothing is left to drain nothing can.
 * @returns true when all buffers are empty
 */
export function suspendReading(sessions: Sessions): boolean {
  sessions.suspended = true;
  let isFlushed = true;
  for (const client of sessions.clients) {
    if (client.isConsole) continue;
    client.socket.pause();
    if (client.socket.writableLength > 0) isFlushed = false;
  }
  for (const server of sessions.directory.allServers()) {
    server.socket.pause();
    if (server.socket.writableLength > 0) isFlushed = false;
  }
  return isFlushed;
}

/** suspend_timeout is over: those who have not taken their bytes are disconnected. */
export function dropUnflushed(sessions: Sessions): void {
  const error = clientErrors.suspendTimeout();
  for (const client of [...sessions.clients]) {
    if (client.isConsole || client.socket.writableLength === 0) continue;
    client.close(error.message, error);
  }
  for (const server of [...sessions.directory.allServers()]) {
    if (server.socket.writableLength > 0) server.close(error.message);
  }
}

/**
 * Everybody is read again, unless something else speaks against it: the server of a client that has not taken all would
 * write over what is still to be sent (SUSPEND may be ended before its buffers are empty).
 */
export function resumeReading(sessions: Sessions): void {
  sessions.suspended = false;
  const unread = new Set<Server>();
  for (const client of sessions.clients) {
    if (client.replies.isUnsent && client.server !== null) unread.add(client.server);
    if (client.isConsole) client.socket.resume();
    else client.readOn();
  }
  for (const server of sessions.directory.allServers()) if (!unread.has(server)) server.socket.resume();
}
