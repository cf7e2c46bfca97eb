/** The measured targets: PostgreSQL itself, pgbouncer if it is installed, and this proxy in several set-ups. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import {
  giveToPostgres,
  isReachableUnprivileged,
  temporaryFolder,
  unprivileged,
} from '../src/demo/embedded-postgres.ts';
import { freePort } from '../test/support/ports.ts';

export interface Target {
  readonly name: string;
  readonly port: number;
  /** null: there is no pooler whose processor time could be measured */
  readonly pid: number | null;
  stop(): void;
}

const COMMAND = join(import.meta.dirname, '..', 'bin', 'pgswitchyard');

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

function iniText(serverPort: number, port: number, folder: string, more: string): string {
  return `[databases]
bench = host=127.0.0.1 port=${serverPort} dbname=postgres user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 5000
default_pool_size = 20
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
logfile = ${join(folder, 'log')}
${more}`;
}

async function startPgbouncer(serverPort: number): Promise<Target | null> {
  if (spawnSync('pgbouncer', ['--version']).error) return null;
  const folder = await newFolder('bench-pgbouncer');
  const port = await freePort();
  const file = join(folder, 'pgbouncer.ini');
  await writeFile(file, iniText(serverPort, port, folder, ''));
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
  const folder = await newFolder('bench');
  const port = await freePort();
  const rules = join(folder, 'rules');
  await mkdir(rules);
  for (const [file, text] of Object.entries(files)) await writeFile(join(rules, file), text);
  const file = join(folder, 'pgbouncer.ini');
  const options = [
    `user_functions_dir = ${rules}`,
    `user_function_isolation = ${isolation}`,
    `user_function_cache = ${remembers ? 64 : 0}`,
  ];
  await writeFile(file, iniText(serverPort, port, folder, `${options.join('\n')}\n`));
  const isRoot = unprivileged.uid !== undefined;
  const user = isRoot ? ['-u', isReachableUnprivileged(COMMAND) ? 'nobody' : 'root'] : [];
  const node = isolation === 'inline' ? ['--no-node-snapshot'] : [];
  return await started(
    name,
    port,
    spawn(process.execPath, [...node, COMMAND, '-q', ...user, file], { stdio: 'ignore' }),
  );
}

async function newFolder(name: string): Promise<string> {
  const folder = await temporaryFolder(name);
  await chmod(folder, 0o755);
  await giveToPostgres(folder);
  return folder;
}

async function started(name: string, port: number, child: ChildProcess): Promise<Target> {
  const deadline = Date.now() + 15_000;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${name} did not start`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { name, port, pid: child.pid!, stop: () => void child.kill('SIGKILL') };
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
