/**
 * Finds out whether a client itself has set default_transaction_read_only. A server reports a client's SET and a change of its
 * configuration in the same way. A SET must follow the client to other servers. A change of the configuration must not: an
 * operator makes the old writer read-only before a switchover, and a client that carried the setting along could not write to
 * the new writer.
 */
import { runControl } from '../../pool/control.ts';
import type { Server } from '../../pool/server.ts';
import type { LoggedInClient } from '../client.ts';

const WHERE_FROM = "SELECT source FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only'";

/** Asks the server that the client no longer needs, then gives it back. */
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
