/** A rolling update: two proxies behind a TCP load balancer are replaced one after the other, and clients notice nothing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';
import { noPgbench, pgbench } from '../support/psql.ts';
import { until } from '../support/wait.ts';

const HAPROXY = ['/usr/sbin/haproxy', '/usr/bin/haproxy'].find((path) => existsSync(path));
const skip = HAPROXY === undefined ? 'there is no HAProxy' : false;

interface Behind {
  readonly bouncer: Bouncer;
  readonly httpPort: number;
}

async function proxy(t: TestContext, cluster: Cluster): Promise<Behind> {
  const httpPort = await freePort();
  const bouncer = await Bouncer.start(t, {
    databases: { db: cluster.connectionString() },
    settings: { pool_mode: 'transaction', http_listen_port: httpPort, shutdown_delay: 2 },
  });
  return { bouncer, httpPort };
}

/** A load balancer that asks `/readyz`. @returns its port */
async function balance(t: TestContext, proxies: readonly Behind[]): Promise<number> {
  const port = await freePort();
  const folder = await mkdtemp(join(tmpdir(), 'haproxy-'));
  const servers = proxies.map(
    ({ bouncer, httpPort }, at) =>
      `server proxy${at} ${bouncer.host}:${bouncer.port} check port ${httpPort} inter 100ms fall 1 rise 1`,
  );
  const config = join(folder, 'haproxy.cfg');
  await writeFile(
    config,
    `global
  maxconn 200
defaults
  mode tcp
  timeout connect 5s
  timeout check 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:${port}
  default_backend proxies
backend proxies
  option httpchk GET /readyz
  http-check expect status 200
  ${servers.join('\n  ')}
`,
  );
  const balancer = spawn(HAPROXY!, ['-f', config, '-db'], { stdio: 'ignore' });
  t.after(async () => {
    balancer.kill('SIGKILL');
    await rm(folder, { recursive: true });
  });
  return port;
}

/** Transactions, each in a connection of its own, until it is stopped. */
class Load {
  #isWanted = true;
  readonly #done: Promise<string>;

  constructor(port: number) {
    this.#done = this.#run(port);
  }

  /** @returns the reports of all runs */
  async stop(): Promise<string> {
    this.#isWanted = false;
    return await this.#done;
  }

  async #run(port: number): Promise<string> {
    let reports = '';
    while (this.#isWanted)
      reports += await pgbench({ host: '127.0.0.1', port, database: 'db' }, [
        '-n',
        '-C',
        '-S',
        '-c',
        '4',
        '-t',
        '20',
      ]);
    return reports;
  }
}

test('no transaction fails while both proxies are replaced', { skip: skip || noPgbench }, async (t) => {
  const cluster = await Cluster.start(t);
  await pgbench(cluster, ['-i', '-q', '-s', '1']);
  const proxies = await Promise.all([proxy(t, cluster), proxy(t, cluster)]);
  const port = await balance(t, proxies);
  const client = proxies[0].bouncer.connection({ port, database: 'db' });
  await until('the load balancer', async () => {
    try {
      await proxies[0].bouncer.sql('select 1', client);
      return true;
    } catch {
      return false;
    }
  });
  const served = async ({ bouncer }: Behind): Promise<number> => {
    const rows = await bouncer.admin('SHOW STATS_TOTALS');
    return Number(rows.find((row) => row['database'] === 'db')?.['xact_count'] ?? 0);
  };
  const load = new Load(port);
  for (const behind of proxies) {
    await until(
      'both proxies to serve',
      async () => (await served(proxies[0])) > 50 && (await served(proxies[1])) > 50,
    );
    behind.bouncer.signal('SIGTERM');
    await behind.bouncer.exited();
    assert.ok(behind.bouncer.logContains(/not ready any more, shutting down in 2 s/));
    await behind.bouncer.start();
  }
  await until('both proxies to serve again', async () => (await served(proxies[1])) > 50);
  // a failed connection or transaction would have made the load fail
  assert.doesNotMatch(await load.stop(), /number of failed transactions: [1-9]/);
});
