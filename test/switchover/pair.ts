/** A primary, its standbys and a proxy that watches them, and clients that write to it. */
import { Client, type ClientConfig } from 'pg';
import { Bouncer, type Settings } from '../support/bouncer.ts';
import { Cluster, type PostgresVersion, type Row } from '../support/cluster.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

/** The cluster's nodes in a table: the simplest of topology queries. */
export const TOPOLOGY = "topology_query='select endpoint, port from nodes'";

export interface Setup {
  readonly primary: Cluster;
  readonly standbys: Cluster[];
  /** the first of them */
  readonly standby: Cluster;
  readonly bouncer: Bouncer;
}

export interface SetupOptions {
  standbys?: number;
  settings?: Settings;
  version?: PostgresVersion;
  /** of the PostgreSQL servers */
  postgres?: Record<string, string>;
  /** beside the configuration: path -> text */
  files?: Record<string, string>;
  /** run on the primary at first */
  sql?: string;
  /** added to the whole entry in [databases] */
  database?: (primary: Cluster) => string;
}

/** Starts it all, and waits until the proxy knows every node. */
export async function setUp(scope: Scope, options: SetupOptions = {}): Promise<Setup> {
  const primary = await Cluster.start(scope, {
    version: options.version ?? 18,
    settings: { wal_keep_size: '64MB', hot_standby_feedback: 'on', ...options.postgres },
    sql: `CREATE TABLE nodes (endpoint text, port int);
      CREATE TABLE ledger (writer int, n int, at timestamptz DEFAULT clock_timestamp());
      ${options.sql ?? ''}`,
  });
  const standbys: Cluster[] = [];
  for (let i = 0; i < (options.standbys ?? 1); i++) standbys.push(await primary.createStandby());
  for (const each of [primary, ...standbys])
    await primary.sql('INSERT INTO nodes VALUES ($1, $2)', [each.host, each.port]);
  for (const standby of standbys) await standby.caughtUpWith(primary);
  const entry = options.database?.(primary) ?? `${primary.connectionString()} ${TOPOLOGY}`;
  const bouncer = await Bouncer.start(scope, {
    databases: { dev: entry },
    files: options.files ?? {},
    settings: {
      pool_mode: 'transaction',
      auth_user: 'postgres',
      polling_frequency: 0.1,
      server_failed_delay: 1,
      topology_refresh: 1,
      ...options.settings,
    },
  });
  await until('all nodes to be known', () =>
    [primary, ...standbys].every((each) =>
      bouncer.logContains(new RegExp(`${each.host}:${each.port} is a (?:writer|reader)`)),
    ),
  );
  return {
    primary,
    standbys,
    bouncer,
    get standby() {
      const [first] = standbys;
      if (first === undefined) throw new Error('the cluster has no standby');
      return first;
    },
  };
}

/** Clean shutdown, then promotion of the standby, which has received everything. */
export async function planned(primary: Cluster, standby: Cluster): Promise<void> {
  await primary.stop('fast');
  await standby.promote();
}

/** Brings a stopped server back as a standby of another. */
export async function rejoin(old: Cluster, primary: Cluster): Promise<void> {
  await old.server.writeDataFile('standby.signal', '');
  old.server.settings['primary_conninfo'] =
    `host=${primary.host} port=${primary.port} user=postgres application_name=standby_${old.port}`;
  old.server.settings['recovery_target_timeline'] = 'latest';
  await old.start();
}

/** The way in which a writer sends its statements. */
export type Protocol = 'simple' | 'extended' | 'prepared';

/** A client that writes the numbers from 1 on into the ledger, one autocommit statement after the other. */
export class Writer {
  readonly client: Client;
  readonly errors: { code: string | undefined; message: string; n: number }[] = [];
  /** acknowledged */
  readonly done: number[] = [];
  readonly #id: number;
  readonly #protocol: Protocol;
  #next = 0;
  #stop = false;
  #loop: Promise<void> = Promise.resolve();
  isLost = false;

  private constructor(client: Client, id: number, protocol: Protocol) {
    this.client = client;
    this.#id = id;
    this.#protocol = protocol;
    // either event may come alone; without a connection every query is refused at once, and the loop would never yield
    for (const event of ['error', 'end'] as const) client.on(event, () => (this.isLost = true));
  }

  static async start(
    bouncer: Bouncer,
    id: number,
    protocol: Protocol,
    more: ClientConfig = {},
  ): Promise<Writer> {
    // of its own, so that servers must get the client's settings again and again
    const application_name = `writer ${id}`;
    const writer = new Writer(await bouncer.connect({ application_name, ...more }), id, protocol);
    writer.#loop = writer.#run();
    return writer;
  }

  async #run(): Promise<void> {
    while (!this.#stop && !this.isLost) {
      const n = ++this.#next;
      try {
        await this.#write(n);
        this.done.push(n);
      } catch (error) {
        this.errors.push({
          code: (error as { code?: string }).code,
          message: (error as Error).message,
          n,
        });
      }
    }
  }

  #write(n: number): Promise<unknown> {
    if (this.#protocol === 'simple')
      return this.client.query(`INSERT INTO ledger (writer, n) VALUES (${this.#id}, ${n})`);
    const text = 'INSERT INTO ledger (writer, n) VALUES ($1, $2)';
    const values = [this.#id, n];
    return this.client.query(
      this.#protocol === 'prepared' ? { name: 'write', text, values } : { text, values },
    );
  }

  /** Waits until this many more statements have been acknowledged. */
  async progress(more: number): Promise<void> {
    const goal = this.done.length + more;
    await until(`${more} more writes`, () => this.done.length >= goal || this.isLost);
    if (this.isLost) throw new Error('the writer has lost its connection');
  }

  async stop(): Promise<void> {
    this.#stop = true;
    await this.#loop;
  }

  /** The ledger's result for this writer: acknowledged and missing, and duplicates. */
  async audit(cluster: Cluster): Promise<{ missing: number[]; doubled: number[] }> {
    const rows = await cluster.sql<Row & { n: number; times: string }>(
      'SELECT n, count(*) AS times FROM ledger WHERE writer = $1 GROUP BY n',
      [this.#id],
    );
    const found = new Map(rows.map((row) => [row.n, Number(row.times)]));
    return {
      missing: this.done.filter((n) => !found.has(n)),
      doubled: [...found].filter(([, times]) => times > 1).map(([n]) => n),
    };
  }
}
