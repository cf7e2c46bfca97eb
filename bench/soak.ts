/**
 * `npm run soak`: does a proxy with 200 tenants get slower or larger with time? Clients come and go, rules change, fail and are
 * rolled back, processes are killed; the clients of twenty other tenants, whose latency is measured, must not notice. Fails if
 * latency, memory, handles or processes grow, by the slope of each series (flatness.ts), or if a measured query fails.
 * The table at the end is that of docs/tenants.md.
 *   --minutes N   (240; 10 for a short form)
 */
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Bouncer } from '../test/support/bouncer.ts';
import { Cluster } from '../test/support/cluster.ts';
import type { Scope } from '../test/support/scope.ts';
import { until } from '../test/support/wait.ts';
import { withScope } from './cluster.ts';
import { isFlat, tableOf, type Series } from './flatness.ts';
import { familyOf, ownRssKb, rssKb } from './processes.ts';
import { guestRule, Load } from './soak-load.ts';
import { ask, Client, nothing, percentile } from './tenants-clients.ts';

const TENANTS = 200;
/** Tenants with a client whose queries are measured. */
const MEASURED = 20;
const PACE_MS = 100;
/** The number of measurements in a run. */
const WINDOWS = 60;
/** The part of the run in which versions are loaded and memory fills: it is not judged. */
const WARM_UP = 1 / 3;

/** V8 lets garbage grow for minutes before it collects all of it: shorter windows do not see the least that a heap has. */
const GARBAGE_MB = { inLongWindows: 25, inShortWindows: 60 };
const LONG_WINDOW_SECONDS = 60;

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '240' } } });
const windowSeconds = Math.max(1, (Number(values.minutes) * 60) / WINDOWS);
const garbageMb = windowSeconds < LONG_WINDOW_SECONDS ? GARBAGE_MB.inShortWindows : GARBAGE_MB.inLongWindows;

const RULE = `export const routing_rules = (username, query) => /\\btablea\\b/.test(query) ? 't0' : null;
export const rewrite_query = (username, query) => query === 'SELECT 1' ? 'SELECT 1 AS one' : null;
`;

interface Window {
  readonly p50: number;
  readonly p99: number;
  readonly proxyMb: number;
  readonly allMb: number;
  readonly handles: number;
  readonly processes: number;
  readonly failed: number;
}

const isMeasured = (tenant: string): boolean => Number(/^t(\d+)$/.exec(tenant)?.[1] ?? 0) < MEASURED;

async function start(scope: Scope): Promise<{ bouncer: Bouncer; cluster: Cluster; names: string[] }> {
  const cluster = await Cluster.start(scope, {
    settings: {
      max_connections: '400',
      log_statement: 'none',
      log_connections: 'off',
      log_disconnections: 'off',
    },
    sql: 'CREATE ROLE guest LOGIN',
  });
  const names = Array.from({ length: TENANTS }, (_, i) => `t${i}`);
  const bouncer = await Bouncer.start(scope, {
    databases: Object.fromEntries(
      names.map((name) => [
        name,
        `${cluster.connectionString()} user=${isMeasured(name) ? 'postgres' : 'guest'} pool_size=2`,
      ]),
    ),
    settings: {
      pool_mode: 'transaction',
      max_client_conn: 1_000,
      server_idle_timeout: 10,
      server_tls_sslmode: 'disable',
      log_connections: 0,
      log_disconnections: 0,
      query_wait_timeout: 20,
      user_function_timeout: 100,
      user_function_memory_limit: 32,
    },
    files: Object.fromEntries(
      names.map((name) => [
        `user-functions/${name}/routing_rules.js`,
        isMeasured(name) ? RULE : guestRule(0),
      ]),
    ),
  });
  return { bouncer, cluster, names };
}

function handlesOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Everything of one window, in which the measured clients ask. */
async function observe(pid: number, clients: readonly Client[]): Promise<Window> {
  const outcome = nothing();
  await ask(clients, windowSeconds, PACE_MS, outcome);
  return {
    p50: percentile(outcome.tookMs, 0.5),
    p99: percentile(outcome.tookMs, 0.99),
    proxyMb: ownRssKb(pid) / 1024,
    allMb: rssKb(pid) / 1024,
    handles: handlesOf(pid),
    processes: familyOf(pid).length,
    failed: outcome.failed,
  };
}

/** What is allowed is noise: each of them may grow once in a run, and not with its length. */
function seriesOf(windows: readonly Window[]): Series[] {
  const judged = windows.slice(Math.floor(windows.length * WARM_UP));
  const series = (name: string, of: (window: Window) => number, part: number, atLeast: number): Series => ({
    name,
    values: judged.map(of),
    part,
    atLeast,
  });
  return [
    series('latency, median (ms)', ({ p50 }) => p50, 0.25, 0.5),
    series('latency, 99th percentile (ms)', ({ p99 }) => p99, 0.5, 5),
    series('memory of the proxy (MB)', ({ proxyMb }) => proxyMb, 0.15, garbageMb),
    series('memory of all processes (MB)', ({ allMb }) => allMb, 0.2, 60),
    series('handles of the proxy', ({ handles }) => handles, 0.15, 10),
    series('processes', ({ processes }) => processes, 0, 1.5),
  ];
}

/** When the guests have gone, nothing of them is left. @returns what is */
async function leftovers(bouncer: Bouncer): Promise<string[]> {
  const guests = async (table: string): Promise<number> =>
    (await bouncer.admin(`SHOW ${table}`)).filter(({ database }) => !isMeasured(String(database))).length;
  try {
    await until(
      'the guests and their servers to be gone',
      async () => (await guests('CLIENTS')) + (await guests('SERVERS')) === 0,
      60_000,
    );
    return [];
  } catch {
    return [`${await guests('CLIENTS')} clients and ${await guests('SERVERS')} servers of guests are left`];
  }
}

await withScope(async (scope) => {
  const { bouncer, cluster, names } = await start(scope);
  const clients = await Promise.all(
    names.filter(isMeasured).map((name) => Client.connect(bouncer.port, name)),
  );
  const load = new Load(
    bouncer,
    cluster,
    names.filter((name) => !isMeasured(name)),
  );
  load.start();
  scope.after(() => load.stop());
  const windows: Window[] = [];
  let failed = 0;
  for (let i = 1; i <= WINDOWS; i++) {
    const window = await observe(bouncer.pid, clients);
    windows.push(window);
    failed += window.failed;
    const { p50, p99, proxyMb, allMb, handles, processes } = window;
    process.stderr.write(
      `${i}/${WINDOWS}: ${p50.toFixed(2)} and ${p99.toFixed(1)} ms, ${proxyMb.toFixed(0)} and ${allMb.toFixed(0)} MB, ${handles} handles, ${processes} processes, ${window.failed} failed\n`,
    );
  }
  await load.stop();
  const all = seriesOf(windows);
  const problems = [
    ...all.filter((series) => !isFlat(series)).map(({ name }) => `${name}: it grows`),
    ...(failed === 0 ? [] : [`${failed} measured queries failed`]),
    ...(await leftovers(bouncer)),
  ];
  console.log(tableOf(all));
  for (const [what, count] of Object.entries(load.counts)) console.log(`${count} ${what}`);
  for (const problem of problems) console.log(`FAILED: ${problem}`);
  for (const client of clients) client.close();
  process.exitCode = problems.length === 0 ? 0 : 1;
});
process.exit();
