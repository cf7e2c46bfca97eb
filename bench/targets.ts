/** The measured targets: PostgreSQL itself, pgbouncer if it is installed, and this proxy in several set-ups. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unprivileged } from '../src/demo/embedded-postgres.ts';
import { freePort } from '../test/support/ports.ts';
import { iniText, proxyFolder, startProxy, untilListening } from './servers.ts';

export interface Target {
  readonly name: string;
  readonly port: number;
  /** null: there is no pooler whose processor time could be measured */
  readonly pid: number | null;
  stop(): void;
}

const ROUTING = `export function routing_rules(username, query) {
  if (/\\btablea\\b/.test(query)) return 'bench';
  if (/\\btableb\\b/.test(query)) return 'bench';
  return null;
}
`;
const REWRITING = `export function rewrite_query(username, query) {
  return query.includes('FROM sales JOIN store') ? query.replace('sales', 'store_sales') : null;
}
`;

interface SetUp {
  readonly name: string;
  readonly files: Readonly<Record<string, string>>;
  readonly isolation: 'inline' | 'process';
  /** decisions are remembered; otherwise the functions are asked about each query */
  readonly remembers?: boolean;
}

const BOTH = { 'routing_rules.js': ROUTING, 'rewrite_query.js': REWRITING };

const SET_UPS: readonly SetUp[] = [
  { name: 'ours', files: {}, isolation: 'inline' },
  { name: 'routing inline', files: { 'routing_rules.js': ROUTING }, isolation: 'inline' },
  { name: 'routing process', files: { 'routing_rules.js': ROUTING }, isolation: 'process' },
  { name: 'both inline', files: BOTH, isolation: 'inline' },
  { name: 'both process', files: BOTH, isolation: 'process' },
  { name: 'remembered inline', files: BOTH, isolation: 'inline', remembers: true },
  { name: 'remembered process', files: BOTH, isolation: 'process', remembers: true },
];

/** Starts them all. `serverPort` is PostgreSQL's. */
export async function startTargets(serverPort: number): Promise<Target[]> {
  const targets: Target[] = [{ name: 'direct', port: serverPort, pid: null, stop: () => {} }];
  const pgbouncer = await startPgbouncer(serverPort);
  if (pgbouncer !== null) targets.push(pgbouncer);
  for (const setUp of SET_UPS) targets.push(await startOurs(serverPort, setUp));
  return targets;
}

const DATABASES = ['bench'];
const POOL = 'default_pool_size = 20';

async function startPgbouncer(serverPort: number): Promise<Target | null> {
  if (spawnSync('pgbouncer', ['--version']).error) return null;
  const folder = await proxyFolder('bench-pgbouncer');
  const port = await freePort();
  const file = join(folder, 'pgbouncer.ini');
  await writeFile(file, iniText({ folder, port, serverPort, databases: DATABASES, settings: [POOL] }));
  return await started(
    'pgbouncer',
    port,
    spawn('pgbouncer', ['-q', file], { stdio: 'ignore', ...unprivileged }),
  );
}

async function startOurs(
  serverPort: number,
  { name, files, isolation, remembers = false }: SetUp,
): Promise<Target> {
  const folder = await proxyFolder('bench');
  const port = await freePort();
  const rules = join(folder, 'rules');
  await mkdir(rules);
  for (const [file, text] of Object.entries(files)) await writeFile(join(rules, file), text);
  const file = join(folder, 'pgbouncer.ini');
  const settings = [
    POOL,
    `user_functions_dir = ${rules}`,
    `user_function_isolation = ${isolation}`,
    `user_function_cache = ${remembers ? 64 : 0}`,
  ];
  await writeFile(file, iniText({ folder, port, serverPort, databases: DATABASES, settings }));
  const nodeFlags = isolation === 'inline' ? ['--no-node-snapshot'] : [];
  return await started(name, port, startProxy(file, 'ignore', nodeFlags));
}

async function started(name: string, port: number, child: ChildProcess): Promise<Target> {
  await untilListening(port, child);
  return { name, port, pid: child.pid!, stop: () => void child.kill('SIGKILL') };
}
