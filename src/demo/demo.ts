/**
 * `npm start`: two PostgreSQL servers that are thrown away afterwards, the repository's pgbouncer.ini and user-functions/,
 * and a few queries that show which server answers. Goes on until Ctrl-C; with --once it ends by itself.
 */
import { createServer } from 'node:net';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { configFromText, loadConfig } from '../config/load.ts';
import type { Config } from '../config/config.ts';
import { Proxy } from '../proxy.ts';
import { createLog } from '../telemetry/log.ts';
import { onLauncherGone } from '../platform/launcher.ts';
import { FIRST_SERVER, SECOND_SERVER, SHOWN_QUERIES } from './demo-data.ts';
import {
  embeddedBinaries,
  isReachableUnprivileged,
  PostgresServer,
  temporaryFolder,
} from './embedded-postgres.ts';

const CONFIG_FILE = fileURLToPath(new URL('../../pgbouncer.ini', import.meta.url));
const RULES = fileURLToPath(new URL('../../user-functions/', import.meta.url));
const SERVER_PORTS = [6433, 6434];

const say = (line = ''): void => void process.stdout.write(`${line}\n`);

interface Running {
  readonly servers: PostgresServer[];
  proxy: Proxy | null;
  /** Ctrl-C may arrive while a process is starting, which then fails. */
  isStopping: boolean;
}

/** Runs the demonstration; `--once` leaves out the waiting. */
export async function demo(args: readonly string[]): Promise<void> {
  const running: Running = { servers: [], proxy: null, isStopping: false };
  const stop = stopper(running);
  try {
    const { ports, config } = await choosePorts();
    say('Starting two PostgreSQL servers (this takes a few seconds) ...');
    const binaries = await embeddedBinaries();
    const servers = await Promise.all(ports.servers.map((port) => startServer(running, binaries, port)));
    await sendSql(ports.servers[0]!, FIRST_SERVER);
    await sendSql(ports.servers[1]!, SECOND_SERVER);
    say(
      `  server 1: 127.0.0.1:${ports.servers[0]}, has tablea, sales, store_sales ... (pid ${servers[0]!.pid})`,
    );
    say(`  server 2: 127.0.0.1:${ports.servers[1]}, has tableb (pid ${servers[1]!.pid})`);
    say('Starting the proxy with pgbouncer.ini and user-functions/ ...');
    const settings = { ...config.settings, ...isolation() };
    running.proxy = new Proxy({ config: { ...config, settings }, log: createLog({ settings }) });
    await running.proxy.start();
    await showQueries(ports.proxy);
    showWhatToDo(ports.proxy, servers[1]!);
    if (args.includes('--once')) await stop();
  } catch (error) {
    if (!running.isStopping) {
      process.stderr.write(`demo: ${(error as Error).message}\n`);
      process.exitCode = 1;
    }
    await stop();
  }
}

/** Sandbox processes give up root's rights, and then can't even be started from a folder that only root can enter. */
function isolation(): { user_function_isolation?: 'inline' } {
  if (isReachableUnprivileged(CONFIG_FILE)) return {};
  say(`  (only root may read ${CONFIG_FILE}: the rules run in this process, not in one of their own)`);
  return { user_function_isolation: 'inline' };
}

function stopper(running: Running): () => Promise<never> {
  let stopping: Promise<never> | null = null;
  const stop = (): Promise<never> => {
    running.isStopping = true;
    stopping ??= stopAll(running);
    return stopping;
  };
  process.on('SIGINT', () => void stop());
  process.on('SIGTERM', () => void stop());
  // The terminal was closed.
  process.on('SIGHUP', () => void stop());
  onLauncherGone(() => void stop());
  return stop;
}

async function stopAll(running: Running): Promise<never> {
  say('\nStopping ...');
  try {
    await running.proxy?.steer.stop('immediate');
    await Promise.all(running.servers.map((server) => server.remove()));
  } catch (error) {
    process.stderr.write(`demo: ${(error as Error).message}\n`);
    process.exitCode = 1;
  }
  // Processes left by an interrupted start end with this process.
  process.exit();
}

/** The ports of pgbouncer.ini; if one is taken, free ones, in a copy of it. */
async function choosePorts(): Promise<{ ports: { proxy: number; servers: number[] }; config: Config }> {
  const config = loadConfig(CONFIG_FILE);
  const wanted = [config.settings.listen_port, ...SERVER_PORTS];
  if ((await Promise.all(wanted.map((port) => isFree(port)))).every(Boolean)) {
    return { ports: { proxy: wanted[0]!, servers: SERVER_PORTS }, config };
  }
  const [proxy, ...servers] = (await Promise.all(wanted.map(() => freePort()))) as [number, ...number[]];
  say(
    `Port ${wanted.join(', ')} or one of them is in use: taking ${[proxy, ...servers].join(', ')} instead.`,
  );
  let text = await readFile(CONFIG_FILE, 'utf8');
  text = text.replace(/^listen_port = .*$/m, `listen_port = ${proxy}`);
  SERVER_PORTS.forEach((port, i) => {
    text = text.replaceAll(`port=${port}`, `port=${servers[i]}`);
  });
  return { ports: { proxy, servers }, config: configFromText(text, CONFIG_FILE) };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

async function startServer(running: Running, binaries: string, port: number): Promise<PostgresServer> {
  const server = new PostgresServer({
    folder: await temporaryFolder('demo'),
    port,
    binaries,
    settings: { cluster_name: `server-${port}` },
  });
  running.servers.push(server);
  await server.prepare();
  await server.start();
  return server;
}

async function connect(port: number, database: string): Promise<import('pg').Client> {
  const { Client } = await import('pg');
  const client = new Client({ host: '127.0.0.1', port, database, user: 'postgres' });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function sendSql(port: number, sql: string): Promise<void> {
  const client = await connect(port, 'postgres');
  await client.query(sql);
  await client.end();
}

/** One session, several queries: the proxy picks the server for each one. */
async function showQueries(port: number): Promise<void> {
  say('\nOne session on database dev; the rules in user-functions/ decide for each query:');
  const client = await connect(port, 'dev');
  for (const { sql, shows } of SHOWN_QUERIES) {
    const { rows } = await client.query<Record<string, unknown>>(sql);
    say(`  ${sql}`);
    say(
      `    -> ${rows.map((row) => Object.values(row).join(' | ')).join('; ')}${shows ? `   (${shows})` : ''}`,
    );
  }
  await client.end();
}

function showWhatToDo(port: number, second: PostgresServer): void {
  say('\nThe proxy is running. In another terminal:');
  say(`  psql -h 127.0.0.1 -p ${port} -U postgres dev          a session of your own; try the queries above`);
  say(`  psql -h 127.0.0.1 -p ${port} -U postgres pgbouncer    the console: SHOW POOLS; SHOW HELP;`);
  say(`Edit ${RULES}routing_rules.ts and save: the next query follows the new rule (a line here says so).`);
  say(
    `Kill server 2 (kill -9 ${second.pid}): queries on tablea go on, those on tableb get an error within 5 s.`,
  );
  say('Ctrl-C ends all of it and leaves nothing behind.');
}
