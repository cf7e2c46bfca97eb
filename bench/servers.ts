/** What the benchmarks start: a PostgreSQL server, and proxies in front of it, each with a folder of its own. */
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { chmod } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  embeddedBinaries,
  giveToPostgres,
  isReachableUnprivileged,
  PostgresServer,
  removeFolder,
  temporaryFolder,
  unprivileged,
} from '../src/demo/embedded-postgres.ts';
import { freePort } from '../test/support/ports.ts';

const COMMAND = join(import.meta.dirname, '..', 'bin', 'pgswitchyard');

/** Runs `work` with a PostgreSQL server, and removes that afterwards. */
export async function withServer(
  maxConnections: number,
  work: (server: PostgresServer) => Promise<void>,
): Promise<void> {
  const folder = await temporaryFolder('bench-server');
  const server = new PostgresServer({
    folder,
    port: await freePort(),
    binaries: await embeddedBinaries(),
    settings: { max_connections: String(maxConnections) },
  });
  await server.prepare();
  await server.start();
  try {
    await work(server);
  } finally {
    await server.stop('immediate');
    await removeFolder(folder);
  }
}

/** A temporary folder that a proxy may read. */
export async function proxyFolder(name: string): Promise<string> {
  const folder = await temporaryFolder(name);
  await chmod(folder, 0o755);
  await giveToPostgres(folder);
  return folder;
}

export interface IniOptions {
  /** for the log */
  readonly folder: string;
  readonly port: number;
  readonly serverPort: number;
  /** names of entries, all of the one database */
  readonly databases: readonly string[];
  /** further lines of [pgbouncer] */
  readonly settings?: readonly string[];
  /** further sections */
  readonly sections?: string;
}

/** pgbouncer.ini of a proxy that measures nothing but queries: no TLS, no log of connections, transaction mode. */
export function iniText({ folder, port, serverPort, databases, settings, sections }: IniOptions): string {
  const entries = databases.map(
    (name) => `${name} = host=127.0.0.1 port=${serverPort} dbname=postgres user=postgres`,
  );
  return `[databases]
${entries.join('\n')}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_client_conn = 5000
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
logfile = ${join(folder, 'log')}
${(settings ?? []).join('\n')}
${sections ?? ''}
`;
}

/**
 * Starts this checkout's proxy. As root it runs as nobody, like every server of the benchmarks.
 * @param nodeFlags what inline isolation needs, unless others are given
 */
export function startProxy(
  iniFile: string,
  stdio: StdioOptions,
  nodeFlags: readonly string[] = ['--no-node-snapshot'],
): ChildProcess {
  const isRoot = unprivileged.uid !== undefined;
  const user = isRoot ? ['-u', isReachableUnprivileged(COMMAND) ? 'nobody' : 'root'] : [];
  return spawn(process.execPath, [...nodeFlags, COMMAND, '-q', ...user, iniFile], { stdio });
}

/**
 * Resolves with the ms after which the process accepts connections.
 * @throws if it ends before, or after a minute
 */
export async function untilListening(port: number, child: ChildProcess): Promise<number> {
  const startedAt = performance.now();
  while (!(await accepts(port))) {
    const hasEnded = child.exitCode !== null || child.signalCode !== null;
    if (hasEnded || performance.now() - startedAt > 60_000)
      throw new Error(`${child.spawnargs.join(' ')} did not start`);
    await delay(5);
  }
  return performance.now() - startedAt;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
