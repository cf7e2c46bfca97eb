import type { DedicatedWaiter } from '../../pool/waiter.ts';
import type { LoggedInClient } from '../client.ts';
import { welcome } from './dialogue.ts';

/**
 * Replication connections ("Streaming Replication Protocol"). The server is in a mode of its own from its login on, so
 * nobody else could use it: each client gets a server that is made for it and closed behind it. It counts in the limits
 * of its pool, and is pooled by session whatever pool_mode says.
 */
export function enterReplication(client: LoggedInClient): void {
  const pool = client.pool;
  client.clock.beginWait(performance.now());
  const waiter: DedicatedWaiter = {
    waitingSince: client.clock.waitingSince,
    startupParameters: [
      ['replication', client.replication === 'logical' ? 'database' : 'true'],
      ...client.replicationParameters,
    ],
    onOwnServer(server, settings): void {
      client.onLeft = null;
      client.loan.begin(server);
      server.attach(client);
      client.database.stats.serverAssignmentCount++;
      client.database.stats.waitTime += (performance.now() - client.clock.waitingSince) * 1000;
      welcome(client, settings);
    },
    onNoServer(error): void {
      client.close(error.message, error);
    },
  };
  client.onLeft = () => pool.cancelWait(waiter);
  pool.acquireDedicated(waiter);
}
