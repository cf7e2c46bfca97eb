/**
 * SUSPEND: the proxy sends the contents of its buffers and reads nothing more from clients or servers, except from the
 * console's clients. Connections stay open; new ones are not read.
 */
import type { Server } from '../pool/server.ts';
import { clientErrors } from '../wire/errors.ts';
import type { Sessions } from './sessions.ts';

/**
 * Stops reading and checks whether everything has been sent. Call it until it returns true: a buffer that drains in the
 * meantime may make the relay read again, which is impossible once all buffers are empty.
 * @returns true when all buffers are empty
 */
export function suspendReading(sessions: Sessions): boolean {
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

/** suspend_timeout has passed: disconnects the clients and servers that have not taken their bytes. */
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
 * Reads from all clients and servers again, unless there is another reason not to: the server of a client that has not taken
 * everything would overwrite the bytes that are still to be sent (SUSPEND may end before its buffers are empty).
 */
export function resumeReading(sessions: Sessions): void {
  const unread = new Set<Server>();
  for (const client of sessions.clients) {
    if (client.replies.isUnsent && client.server !== null) unread.add(client.server);
    if (client.isConsole) client.socket.resume();
    else client.readOn();
  }
  for (const server of sessions.directory.allServers()) if (!unread.has(server)) server.socket.resume();
}
