/** Sessions that wait with their servers, because the writer of their cluster is not known. */
import type { LoggedInClient } from '../client.ts';

/** Whether a linked client must wait before it begins anything. If so, the gate is closed until the writer is known. */
export function waitsWithServer(client: LoggedInClient): boolean {
  const { watch } = client.database;
  if (watch === null || !watch.held || client.poolMode !== 'session') return false;
  if (client.inTransaction || client.replication !== 'none') return false;
  client.gate.close('server');
  client.clock.beginWait(performance.now());
  watch.waitWithServer(client, () => {
    if (client.state !== 'waiting' || client.server === null) return;
    client.gate.open('server');
    client.resume();
  });
  return true;
}
