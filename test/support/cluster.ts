/** Real PostgreSQL servers for tests: each test has its own, made from one template in a fraction of a second. */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { chmod, copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, type ClientConfig, type QueryResult } from 'pg';
import {
  PostgresServer,
  embeddedBinaries,
  giveToPostgres,
  initdb,
  killIfThere,
  temporaryFolder,
  type StopMode,
} from '../../src/demo/embedded-postgres.ts';
import { freePort } from './ports.ts';
import type { Scope } from './scope.ts';
import { until } from './wait.ts';

/** Tells the test processes the template's folder. */
export const TEMPLATE_VARIABLE = 'PGSWITCHYARD_TEST_TEMPLATE';

/** A row of a result; columns by name. */
export type Row = Record<string, unknown>;

/** The folder of the tests' certificates: ca, other-ca, server (localhost), client (CN=app), each .crt and .key. */
export const TLS_FOLDER = join(import.meta.dirname, 'tls');

const DEBIAN_15 = '/usr/lib/postgresql/15/bin';
/** For `test(..., { skip: noPostgres15 })`: the reason, or false if Debian's PostgreSQL 15 is installed. */
export const noPostgres15: string | false =
  existsSync(join(DEBIAN_15, 'postgres')) && existsSync(join(DEBIAN_15, 'initdb'))
    ? false
    : 'PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15)';

/** Linux's file system in memory. A server's thousand files are copied there with a tenth of the work that a disk takes. */
const MEMORY = '/dev/shm';
const ENOUGH_BYTES = 2 * 1024 ** 3;

/** Where servers keep their data: in memory if there is room for many of them. */
function dataParent(): string {
  try {
    const { bavail, bsize } = statfsSync(MEMORY);
    return bavail * bsize >= ENOUGH_BYTES ? MEMORY : tmpdir();
  } catch {
    return tmpdir();
  }
}

/** Makes an empty cluster from which others are copied; returns its data folder. */
export async function makeTemplate(binaries?: string): Promise<string> {
  const folder = await temporaryFolder('template', dataParent());
  const data = join(folder, 'data');
  await mkdir(data);
  await giveToPostgres(data);
  await initdb(data, binaries ?? (await embeddedBinaries()));
  return data;
}

const templates = new Map<string, Promise<string>>();

function templateFor(version: PostgresVersion, binaries: string): Promise<string> {
  const shared = process.env[TEMPLATE_VARIABLE];
  if (version === 18 && shared !== undefined && existsSync(shared)) return Promise.resolve(shared);
  let template = templates.get(binaries);
  if (template === undefined) templates.set(binaries, (template = makeTemplate(binaries)));
  return template;
}

export type PostgresVersion = 15 | 18;

export interface ClusterOptions {
  version?: PostgresVersion;
  settings?: Record<string, string>;
  /** Lines of pg_hba.conf; without them every user is trusted. */
  hba?: string[];
  /** True: the server speaks TLS with the certificate in TLS_FOLDER. */
  tls?: boolean;
  /** Run on the fresh server, as superuser. */
  sql?: string;
}

const TRUST = [
  'local all all trust',
  'host all all all trust',
  'local replication all trust',
  'host replication all all trust',
];

/** A running PostgreSQL server; superuser `postgres`, database `postgres`. */
export class Cluster {
  readonly host = '127.0.0.1';
  readonly port: number;
  readonly server: PostgresServer;
  readonly #scope: Scope;
  #hba: string[] = TRUST;
  #client: Client | undefined;
  #logMark = 0;

  private constructor(server: PostgresServer, scope: Scope) {
    this.server = server;
    this.port = server.port;
    this.#scope = scope;
  }

  /** Starts a server of its own; it is removed when the scope (a test, or a file's `{ after }`) ends. */
  static async start(scope: Scope, options: ClusterOptions = {}): Promise<Cluster> {
    const version = options.version ?? 18;
    const binaries = version === 15 ? DEBIAN_15 : await embeddedBinaries();
    const template = await templateFor(version, binaries);
    const cluster = await Cluster.#make(scope, binaries);
    await cluster.server.prepare(template);
    if (options.tls === true) await cluster.#installCertificate();
    Object.assign(cluster.server.settings, options.settings);
    await cluster.#writeHba(options.hba ?? TRUST);
    await cluster.start();
    if (options.sql !== undefined) await cluster.sql(options.sql);
    return cluster;
  }

  static async #make(scope: Scope, binaries: string): Promise<Cluster> {
    const folder = await temporaryFolder('pg', dataParent());
    const server = new PostgresServer({
      folder,
      port: await freePort(),
      binaries,
      // The log proves which query a server got.
      settings: { log_statement: 'all', log_connections: 'on', log_disconnections: 'on' },
    });
    const cluster = new Cluster(server, scope);
    scope.after(() => cluster.remove());
    return cluster;
  }

  /** For the Unix socket: `host=` of a connection string. */
  get socketFolder(): string {
    return this.server.socketFolder;
  }

  /** `host=… port=… dbname=…`, as a value in [databases]. */
  connectionString(dbname = 'postgres'): string {
    return `host=${this.host} port=${this.port} dbname=${dbname}`;
  }

  start(): Promise<void> {
    return this.server.start();
  }

  async stop(mode: StopMode = 'fast'): Promise<void> {
    await this.#forgetClient();
    await this.server.stop(mode);
  }

  async restart(mode: StopMode = 'fast'): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Ends all processes of the server with SIGKILL; `start()` brings it back, with crash recovery. */
  async kill(): Promise<void> {
    await this.server.kill();
    await this.#forgetClient();
  }

  /** Freezes all processes of the server: connections stay open, the kernel accepts new ones, and nothing answers. */
  freeze(): void {
    for (const pid of this.server.processes()) killIfThere(pid, 'SIGSTOP');
  }

  thaw(): void {
    for (const pid of this.server.processes()) killIfThere(pid, 'SIGCONT');
  }

  async remove(): Promise<void> {
    this.thaw();
    await this.#forgetClient();
    await this.server.remove();
  }

  /** Runs SQL as superuser; the rows of the last statement. */
  async sql<T extends Row = Row>(text: string, values?: unknown[]): Promise<T[]> {
    if (this.#client === undefined) {
      const client = new Client(this.connection({ application_name: 'test' }));
      // The server may be stopped meanwhile; the next call connects anew.
      client.on('error', () => {});
      client.on('end', () => {
        if (this.#client === client) this.#client = undefined;
      });
      await client.connect();
      this.#client = client;
    }
    const result = (await this.#client.query(text, values)) as QueryResult<T> | QueryResult<T>[];
    return (Array.isArray(result) ? result.at(-1)?.rows : result.rows) ?? [];
  }

  /** The parameters that a `pg` client needs to connect to this server directly. */
  connection(more: ClientConfig = {}): ClientConfig {
    return { host: this.host, port: this.port, user: 'postgres', database: 'postgres', ...more };
  }

  async #forgetClient(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.end().catch(() => {});
  }

  /**
   * Changes settings and/or replaces pg_hba.conf, and makes the server read them; a setting that needs a restart waits for
   * one.
   */
  async configure(change: { settings?: Record<string, string>; hba?: string[] }): Promise<void> {
    Object.assign(this.server.settings, change.settings);
    await this.server.writeSettings();
    if (change.hba !== undefined) await this.#writeHba(change.hba);
    if (!this.server.isRunning) return;
    const mark = this.log().length;
    this.server.signal('SIGHUP');
    await until(
      'the server to read its settings',
      () => this.log().indexOf('reloading configuration', mark) >= 0,
    );
    // A new connection is accepted once all processes have been told, and a checkpoint is made once the checkpointer, which
    // switches synchronous replication on and off, has read the settings.
    await this.#forgetClient();
    if (change.settings !== undefined) await this.sql('CHECKPOINT');
  }

  async #writeHba(lines: string[]): Promise<void> {
    this.#hba = lines;
    // The superuser of the harness comes first, so that `sql` always works.
    const own = ['local all postgres trust', 'host all postgres 127.0.0.1/32 trust'];
    const asked = lines.some((line) => /\bpostgres\b/.test(line)) ? lines : [...own, ...lines];
    await this.server.writeDataFile('pg_hba.conf', `${asked.join('\n')}\n`);
  }

  async #installCertificate(): Promise<void> {
    for (const [from, to] of [
      ['server.crt', 'server.crt'],
      ['server.key', 'server.key'],
      ['ca.crt', 'root.crt'],
    ] as const) {
      const target = join(this.server.dataFolder, to);
      await copyFile(join(TLS_FOLDER, from), target);
      await giveToPostgres(target);
      await chmod(target, 0o600);
    }
    Object.assign(this.server.settings, { ssl: 'on', ssl_ca_file: 'root.crt' });
  }

  /** The server's log so far. */
  log(): string {
    return existsSync(this.server.logFile) ? readFileSync(this.server.logFile, 'utf8') : '';
  }

  /** From here on, `logContains` and `waitForLog` look at new lines only. */
  markLog(): void {
    this.#logMark = this.log().length;
  }

  /** How many times the pattern occurs in the log since `markLog`. */
  logCount(pattern: RegExp): number {
    return (
      this.log()
        .slice(this.#logMark)
        .match(new RegExp(pattern, `${pattern.flags.replace('g', '')}g`))?.length ?? 0
    );
  }

  logContains(pattern: RegExp): boolean {
    return this.logCount(pattern) > 0;
  }

  async waitForLog(pattern: RegExp): Promise<void> {
    await until(`${String(pattern)} in the server's log`, () => this.logContains(pattern));
  }

  /** A streaming standby of this server, running and caught up. Its log and settings are its own. */
  async createStandby(options: { settings?: Record<string, string> } = {}): Promise<Cluster> {
    const standby = await Cluster.#make(this.#scope, this.server.binaries);
    const { server } = standby;
    // A base backup by hand: the embedded package has no pg_basebackup.
    const backup = new Client(this.connection());
    await backup.connect();
    try {
      await backup.query("select pg_backup_start('standby', true)");
      await server.prepare(this.server.dataFolder);
      const { rows } = await backup.query<{ labelfile: string }>(
        'select labelfile from pg_backup_stop(false)',
      );
      await server.writeDataFile('backup_label', rows[0]?.labelfile ?? '');
    } finally {
      await backup.end();
    }
    for (const leftover of ['postmaster.pid', 'postmaster.opts']) {
      await rm(join(server.dataFolder, leftover), { force: true });
    }
    // WAL that the primary writes during the copy is not needed; the standby streams it from there.
    for (const segment of await readdir(join(server.dataFolder, 'pg_wal'), { withFileTypes: true })) {
      if (segment.isFile()) await rm(join(server.dataFolder, 'pg_wal', segment.name));
    }
    await server.writeDataFile('standby.signal', '');
    Object.assign(server.settings, this.server.settings, {
      port: String(server.port),
      unix_socket_directories: server.socketFolder,
      ...options.settings,
    });
    await standby.#writeHba(this.#hba);
    standby.#follow(this);
    await standby.start();
    await standby.caughtUpWith(this);
    return standby;
  }

  #follow(primary: Cluster): void {
    this.server.settings['primary_conninfo'] =
      `host=${primary.host} port=${primary.port} user=postgres application_name=standby_${this.port}`;
  }

  /** Makes a standby follow another primary. */
  async follow(primary: Cluster): Promise<void> {
    this.#follow(primary);
    await this.configure({});
  }

  /** Waits until this standby has applied everything that the primary had written at the time of the call. */
  async caughtUpWith(primary: Cluster): Promise<void> {
    const [written] = await primary.sql<{ lsn: string }>('select pg_current_wal_flush_lsn() as lsn');
    await until('the standby to catch up', async () => {
      const [row] = await this.sql<{ done: boolean | null }>(
        'select pg_last_wal_replay_lsn() >= $1 as done',
        [written?.lsn],
      );
      return row?.done;
    });
  }

  /** Makes a standby the writer. */
  async promote(): Promise<void> {
    const [row] = await this.sql<{ pg_promote: boolean }>('select pg_promote(true, 30)');
    if (row?.pg_promote !== true) throw new Error('the standby was not promoted in time');
  }
}
