/**
 * Replication connections ("Streaming Replication Protocol"). The server is in a special mode from its login on, so each
 * client gets a server of its own, which is closed after it. The server counts in the limits of its pool, and is pooled by
 * session whatever pool_mode says.
 */
import type { DedicatedWaiter } from '../../pool/waiter.ts';
import type { LoggedInClient } from '../client.ts';
import { welcome } from './welcome.ts';

/** The client waits for its server, and is welcomed once it has it. */
export function enterReplication(client: LoggedInClient): void {
  const { pool, database } = client;
  const began = performance.now();
  client.clock.beginWait(began);
  const waiter: DedicatedWaiter = {
    waitingSince: began,
    startupParameters: [
      ['replication', client.replication === 'logical' ? 'database' : 'true'],
      ...client.login.replicationParameters,
    ],
    onOwnServer(server, settings): void {
      client.errand.onLeft(null);
      client.loan.begin(server);
      server.attach(client);
      database.stats.noteWait((performance.now() - began) * 1000);
      welcome(client, settings);
    },
    onNoServer(error): void {
      client.close(error.message, error);
    },
  };
  client.errand.onLeft(() => pool.cancelWait(waiter));
  pool.acquireDedicated(waiter);
}
