/** Free TCP ports for tests that run at the same time in several processes. */
import { createServer, type ListenOptions, type Server } from 'node:net';

// Below the kernel's range for outgoing connections, one of which could use the number just when a server wants to listen on
// it again.
const FIRST = 10_240;
const LAST = 32_767;

const locks: Server[] = [];

function listen(options: ListenOptions): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(options, () => resolve(server));
  });
}

/**
 * A port without a listener that no other test gets while this process lives: the lock is a socket in the abstract namespace,
 * which the kernel frees with the process.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    const lock = await listen({ path: `\0pgswitchyard-test-port-${port}` });
    if (lock === undefined) continue;
    lock.unref();
    const probe = await listen({ port, host: '127.0.0.1' });
    if (probe === undefined) {
      lock.close();
      continue;
    }
    await new Promise((resolve) => probe.close(resolve));
    locks.push(lock);
    return port;
  }
}
