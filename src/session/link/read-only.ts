/**
 * Finds out whether a client has set default_transaction_read_only itself. A server reports a SET of its client and a change of
 * its configuration in the same way. The first must follow the client to other servers. The second must not: an operator makes
 * the old writer read-only before a switchover, and clients that took the setting along could not write to the new one.
 */
import { runControl } from '../../pool/control.ts';
import type { Server } from '../../pool/server.ts';
import type { LoggedInClient } from '../client.ts';

const WHERE_FROM = "SELECT source FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'";

/** Asks the server that the client no longer needs, and gives it back afterwards. */
export function askReadOnly(client: LoggedInClient, server: Server): void {
  const { pool } = server;
  const { tracked } = client.context;
  const value = server.settings.parameters[tracked.readOnly];
  const wasLikely = client.settings.settleReadOnly();
  if (server.inDoubt || server.state === 'closed') {
    if (!wasLikely) client.settings.forgetReadOnly(value);
    return pool.give(server);
  }
  server.moveTo('tested');
  runControl(server, WHERE_FROM)
    .then(
      ([row]) => {
        if (row?.['source'] === 'session') return;
        server.settings.noteConfigured(tracked.readOnly, value);
        client.settings.forgetReadOnly(value);
      },
      () => {
        if (!wasLikely) client.settings.forgetReadOnly(value);
      },
    )
    .finally(() => {
      if (server.state !== 'closed') server.pool.give(server);
    });
}
