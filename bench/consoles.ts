/**
 * `npm run bench:consoles`: the processor time that open web consoles cost the proxy, without load and under load.
 *   --databases N (200)   --consoles N (10)   --seconds N (20)   --clients N (8)
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client } from 'pg';
import { removeFolder } from '../src/demo/embedded-postgres.ts';
import { freePort } from '../test/support/ports.ts';
import { cpuMs } from './processes.ts';
import { proxyFolder, startProxy, untilListening, withServer } from './servers.ts';

const { values } = parseArgs({
  options: {
    databases: { type: 'string', default: '200' },
    consoles: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '20' },
    clients: { type: 'string', default: '8' },
  },
});
const databases = Number(values.databases);
const consoles = Number(values.consoles);
const seconds = Number(values.seconds);
const nameOf = (i: number): string => `db_${String(i).padStart(3, '0')}`;

/** What the pages with the largest tables show. */
const PAGES = ['topic=point', 'topic=SHOW DATABASES', 'topic=SHOW POOLS', 'topic=SHOW CLIENTS&topic=point'];

interface Proxy {
  readonly pid: number;
  readonly port: number;
  readonly httpPort: number;
}

async function writeFiles(
  folder: string,
  serverPort: number,
  port: number,
  httpPort: number,
): Promise<string> {
  const all = Array.from({ length: databases }, (_, i) => nameOf(i));
  const file = join(folder, 'pgbouncer.ini');
  await writeFile(join(folder, 'userlist.txt'), '"boss" "secret"\n');
  await writeFile(
    file,
    `[databases]
${all.map((name) => `${name} = host=127.0.0.1 port=${serverPort} dbname=postgres user=postgres`).join('\n')}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
http_listen_addr = 127.0.0.1
http_listen_port = ${httpPort}
unix_socket_dir =
auth_type = trust
auth_file = ${join(folder, 'userlist.txt')}
pool_mode = transaction
max_client_conn = 1000
default_pool_size = 1
log_connections = 0
log_disconnections = 0
admin_users = boss
logfile = ${join(folder, 'log')}
`,
  );
  return file;
}

/** A browser's part: it logs in, and reads its stream. */
async function openConsole({ httpPort }: Proxy, page: string): Promise<() => number> {
  const base = `http://127.0.0.1:${httpPort}/api`;
  const login = await fetch(`${base}/login`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user: 'boss', password: 'secret' }),
  });
  const [cookie = ''] = login.headers.getSetCookie();
  const ending = new AbortController();
  const stream = await fetch(`${base}/live?${page.replaceAll(' ', '%20')}`, {
    headers: { cookie: cookie.split(';')[0]! },
    signal: ending.signal,
  });
  if (!stream.ok) throw new Error(`the stream was refused: ${stream.status}`);
  let bytes = 0;
  const read = async (): Promise<void> => {
    for await (const chunk of stream.body!) bytes += chunk.length;
  };
  read().catch(() => {});
  return () => {
    ending.abort();
    return bytes;
  };
}

/** Clients that send a query each 10 ms, each time in another database. */
function load({ port }: Proxy, count: number): () => Promise<void> {
  let isOn = true;
  const work = async (at: number): Promise<void> => {
    const clients: Client[] = [];
    for (let i = at; i < databases; i += count) {
      const client = new Client({ host: '127.0.0.1', port, user: 'boss', database: nameOf(i) });
      await client.connect();
      clients.push(client);
    }
    for (let i = 0; isOn; i++) {
      await clients[i % clients.length]!.query('SELECT 1');
      await sleep(10);
    }
    for (const client of clients) await client.end();
  };
  const all = Array.from({ length: count }, (_, at) => work(at));
  return async () => {
    isOn = false;
    await Promise.all(all);
  };
}

/** Percent of a core that the proxy takes. */
async function share({ pid }: Proxy): Promise<number> {
  const before = cpuMs(pid);
  const startedAt = performance.now();
  await sleep(seconds * 1000);
  return ((cpuMs(pid) - before) / (performance.now() - startedAt)) * 100;
}

async function compare(proxy: Proxy, what: string): Promise<void> {
  const without = await share(proxy);
  const open: (() => number)[] = [];
  for (let i = 0; i < consoles; i++) open.push(await openConsole(proxy, PAGES[i % PAGES.length]!));
  // the first tables are made, and the first points sent
  await sleep(6_000);
  const withThem = await share(proxy);
  const bytes = open.reduce((sum, close) => sum + close(), 0);
  const kb = bytes / 1024 / consoles / (seconds + 6);
  console.log(
    `${what}: ${without.toFixed(2)} % of a core without consoles, ${withThem.toFixed(2)} % with ${consoles}, ` +
      `so ${(withThem - without).toFixed(2)} % for all of them; ${kb.toFixed(1)} KB/s each`,
  );
}

await withServer(400, async (server) => {
  const folder = await proxyFolder('consoles');
  const [port, httpPort] = [await freePort(), await freePort()];
  const file = await writeFiles(folder, server.port, port, httpPort);
  const child = startProxy(file, ['ignore', 'ignore', 'inherit']);
  try {
    const proxy = { pid: child.pid!, port, httpPort };
    await untilListening(port, child);
    await sleep(3_000);
    console.log(`${databases} databases, Node ${process.versions.node}, ${seconds} s each`);
    await compare(proxy, 'no queries');
    const end = load(proxy, Number(values.clients));
    await sleep(5_000);
    await compare(proxy, `${values.clients} clients with up to 100 queries a second each`);
    await end();
  } finally {
    child.kill('SIGKILL');
    await removeFolder(folder);
  }
});
