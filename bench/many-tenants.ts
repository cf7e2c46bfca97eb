/**
 * `npm run bench:many-tenants`: the start of a proxy that has many tenants, of which few are active.
 *   --tenants N (1000)   --active N (50)   --layout entries|folders (entries of [tenants], or folders only)   --rounds N (1)
 *   --more "option = value; …"   further lines of [pgbouncer]
 */
import { execSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client } from 'pg';
import { removeFolder } from '../src/demo/embedded-postgres.ts';
import { freePort } from '../test/support/ports.ts';
import { percentile } from './cluster.ts';
import { cpuMs, familyOf, pssKb, rssKb } from './processes.ts';
import { iniText, proxyFolder, startProxy, untilListening, withServer } from './servers.ts';

const { values } = parseArgs({
  options: {
    tenants: { type: 'string', default: '1000' },
    active: { type: 'string', default: '50' },
    layout: { type: 'string', default: 'entries' },
    rounds: { type: 'string', default: '1' },
    more: { type: 'string', default: '' },
  },
});
const tenants = Number(values.tenants);
const active = Number(values.active);
/** Idle bundling processes have ended after this time (BUNDLER.idleMs in src/functions/limits.ts, and some more). */
const BUNDLERS_END_MS = 7_000;
const nameOf = (i: number): string => `tenant_${String(i).padStart(4, '0')}`;

/** Its own text in each tenant: no two have the same hash. */
const rule = (i: number): string => `import { reject } from 'pgswitchyard';

const SECRETS = /\\b(?:secrets|passwords)\\b/i;

export function rewrite_query(username: string, query: string): string | null {
  if (SECRETS.test(query)) reject('not for ${nameOf(i)}');
  return query === 'SELECT 1 AS tenant' ? 'SELECT ${i} AS tenant' : null;
}
`;

async function writeTenants(folder: string, serverPort: number, port: number): Promise<string> {
  const all = Array.from({ length: tenants }, (_, i) => i);
  const rules = join(folder, 'rules');
  for (const i of all) {
    await mkdir(join(rules, nameOf(i)), { recursive: true });
    await writeFile(join(rules, nameOf(i), 'rewrite_query.ts'), rule(i));
  }
  const entries = all.map((i) => `${nameOf(i)} = databases=${nameOf(i)} timeout=100 log_limit=20`);
  const file = join(folder, 'pgbouncer.ini');
  const text = iniText({
    folder,
    port,
    serverPort,
    databases: all.map(nameOf),
    settings: [
      'default_pool_size = 2',
      'admin_users = postgres',
      `user_functions_dir = ${rules}`,
      ...values.more.split(';'),
    ],
    sections: values.layout === 'entries' ? `[tenants]\n${entries.join('\n')}` : '',
  });
  await writeFile(file, text);
  return file;
}

/** When the proxy and its children have done nothing for half a second. */
async function untilQuiet(pid: number): Promise<void> {
  for (let last = -1; ;) {
    await sleep(500);
    const now = cpuMs(pid);
    if (now - last <= 20) return;
    last = now;
  }
}

const mb = (kb: number): string => `${(kb / 1024).toFixed(0)} MB`;

function memory(pid: number): string {
  const family = familyOf(pid);
  const each = family.map((one) => mb(pssKb(one))).join(' + ');
  const pss = family.reduce((sum, one) => sum + pssKb(one), 0);
  return `PSS ${mb(pss)} (${each}), RSS ${mb(rssKb(pid))}`;
}

/** The first query of a tenant that nobody has used, in ms: after the login, and with it. */
async function firstQuery(port: number, i: number): Promise<{ client: Client; loginMs: number; ms: number }> {
  const client = new Client({ host: '127.0.0.1', port, user: 'postgres', database: nameOf(i) });
  const startedAt = performance.now();
  await client.connect();
  const loggedInAt = performance.now();
  const { rows } = await client.query<{ tenant: number }>('SELECT 1 AS tenant');
  const ms = performance.now() - loggedInAt;
  if (rows[0]?.tenant !== i) throw new Error(`${nameOf(i)} was answered by ${rows[0]?.tenant}`);
  return { client, loginMs: loggedInAt - startedAt, ms };
}

async function measure(serverPort: number): Promise<void> {
  const folder = await proxyFolder('many-tenants');
  const port = await freePort();
  const file = await writeTenants(folder, serverPort, port);
  try {
    for (const what of ['first start', 'restart']) {
      const child = startProxy(file, ['ignore', 'ignore', 'inherit']);
      try {
        const pid = child.pid!;
        const listeningMs = await untilListening(port, child);
        console.log(`${what}: listens after ${listeningMs.toFixed(0)} ms, CPU ${cpuMs(pid)} ms`);
        await untilQuiet(pid);
        console.log(`  idle: ${memory(pid)}, CPU ${cpuMs(pid)} ms`);
        const firsts = [];
        for (let i = 0; i < active; i++)
          firsts.push(await firstQuery(port, Math.floor((i * tenants) / active)));
        const times = firsts.map(({ ms }) => ms);
        const logins = firsts.map(({ loginMs }) => loginMs);
        const shown = (list: readonly number[]): string =>
          [0, 0.5, 0.9, 1].map((share) => percentile(list, share).toFixed(0)).join(' / ');
        console.log(`  first query of ${active} cold tenants, min / median / p90 / max ms: ${shown(times)}`);
        console.log(`  the very first: ${times[0]?.toFixed(0)} ms; logins ${shown(logins)}`);
        for (let round = 0; round < 20; round++)
          await Promise.all(firsts.map(({ client }) => client.query('SELECT 1 AS tenant')));
        console.log(`  ${active} active: ${memory(pid)}`);
        await sleep(BUNDLERS_END_MS);
        console.log(`  ${active} active, without bundlers: ${memory(pid)}`);
        for (const { client } of firsts) await client.end();
        if (process.env['SHOW'])
          console.log(
            execSync(
              `ps -o pid,ppid,rss,args --forest -p ${familyOf(pid).join()} | cut -c1-220; cut -c1-200 ${join(folder, 'log')} | tail -60`,
            ).toString(),
          );
      } finally {
        child.kill('SIGKILL');
        await new Promise((resolve) => child.once('exit', resolve));
      }
    }
  } finally {
    await removeFolder(folder);
  }
}

await withServer(400, async (server) => {
  console.log(`${tenants} tenants, ${values.layout}, Node ${process.versions.node}`);
  for (let round = 0; round < Number(values.rounds); round++) await measure(server.port);
});
