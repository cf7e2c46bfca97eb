/**
 * `npm run bench:switchover`: how long it takes from the moment at which a promoted standby answers
 * `pg_is_in_recovery() = false` until the first write through the proxy is acknowledged, and the clients that notice.
 *   --rounds N   of each kind (20)      --json FILE   the figures
 */
import { spawn, spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import type { Client } from 'pg';
import { Cluster } from '../test/support/cluster.ts';
import { setUp } from '../test/switchover/pair.ts';
import type { Bouncer } from '../test/support/bouncer.ts';
import { percentile, promoteInstead, withScope, type Kind } from './cluster.ts';

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '20' }, json: { type: 'string' } },
});
const KINDS: readonly Kind[] = ['planned', 'crash'];
const WRITERS = 8;
const IDLE = 20;

interface Figure {
  readonly kind: Kind;
  readonly client: string;
  /** ms from the promotion to the first write, of each round */
  readonly gaps: number[];
  /** ms from the order to stop the old writer to the first write on the new one */
  readonly outages: number[];
  failed: number;
  dropped: number;
  idleDropped: number;
  idleErrors: number;
}

/** Writes one row after the other; reports when a given server first acknowledged one. */
class Load {
  readonly #client: Client;
  readonly #arrivals = new Map<number, number>();
  failed = 0;
  isDropped = false;
  #isOver = false;

  constructor(client: Client) {
    this.#client = client;
    client.on('error', () => {
      this.isDropped = true;
    });
    void this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#isOver && !this.isDropped) {
      try {
        const { rows } = await this.#client.query<{ port: number }>(
          'INSERT INTO ledger (writer, n) VALUES (1, 1) RETURNING inet_server_port() AS port',
        );
        const { port } = rows[0]!;
        if (!this.#arrivals.has(port)) this.#arrivals.set(port, performance.now());
      } catch {
        this.failed++;
      }
    }
  }

  arrival(port: number): number | null {
    return this.#arrivals.get(port) ?? null;
  }

  end(): void {
    this.#isOver = true;
  }
}

/** A client without a proxy: psql with both addresses, started again and again until a write is acknowledged. */
async function libpqWrites(clusters: readonly Cluster[]): Promise<number> {
  const target = [
    `host=${clusters.map((each) => each.host).join(',')}`,
    `port=${clusters.map((each) => each.port).join(',')}`,
    'user=postgres dbname=postgres connect_timeout=2 target_session_attrs=primary',
  ].join(' ');
  for (;;) {
    const child = spawn('psql', ['-X', '-q', target, '-c', 'INSERT INTO ledger (writer, n) VALUES (2, 1)'], {
      stdio: 'ignore',
    });
    const code = await new Promise<number | null>((resolve) => child.once('exit', resolve));
    if (code === 0) return performance.now();
  }
}

async function until(ready: () => boolean): Promise<void> {
  while (!ready()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function round(
  bouncer: Bouncer,
  primary: Cluster,
  standby: Cluster,
  kind: Kind,
  ours: Figure,
  libpq: Figure | null,
): Promise<void> {
  const loads = await Promise.all(
    Array.from({ length: WRITERS }, async () => new Load(await bouncer.connect())),
  );
  const idle = await Promise.all(Array.from({ length: IDLE }, () => bouncer.connect()));
  for (const client of idle) {
    client.on('error', () => ours.idleDropped++);
    await client.query('SELECT 1');
  }
  await until(() => loads.every((load) => load.arrival(primary.port) !== null));

  const promotion = promoteInstead(primary, standby, kind);
  const direct = libpq === null ? null : libpqWrites([primary, standby]);
  const { startedAt, promotedAt } = await promotion;
  const first = (): number => Math.min(...loads.map((load) => load.arrival(standby.port) ?? Infinity));
  await until(() => Number.isFinite(first()));
  ours.gaps.push(Math.max(0, first() - promotedAt));
  ours.outages.push(first() - startedAt);
  for (const client of idle) await client.query('SELECT 1').catch(() => ours.idleErrors++);
  if (libpq !== null) {
    const at = (await direct)!;
    libpq.gaps.push(Math.max(0, at - promotedAt));
    libpq.outages.push(at - startedAt);
  }
  for (const load of loads) {
    load.end();
    ours.failed += load.failed;
    ours.dropped += Number(load.isDropped);
  }
}

function print(figures: readonly Figure[]): void {
  const ms = (value: number): string => value.toFixed(1).padStart(8);
  console.log(
    '| kind    | client                      | p50 ms   | p99 ms   | max ms   | outage p50 | failed writes | dropped | idle dropped | idle errors |',
  );
  console.log(
    '| ------- | --------------------------- | -------: | -------: | -------: | ---------: | ------------: | ------: | -----------: | ----------: |',
  );
  for (const each of figures) {
    const known = (value: number): string => (each.client === 'pgswitchyard' ? String(value) : '');
    console.log(
      `| ${each.kind.padEnd(7)} | ${each.client.padEnd(27)} | ${ms(percentile(each.gaps, 0.5))} | ${ms(percentile(each.gaps, 0.99))} | ${ms(Math.max(...each.gaps))} | ${ms(percentile(each.outages, 0.5))} | ${known(each.failed)} | ${known(each.dropped)} | ${known(each.idleDropped)} | ${known(each.idleErrors)} |`,
    );
  }
}

await withScope(async (scope) => {
  const hasPsql = spawnSync('psql', ['--version']).error === undefined;
  const figures: Figure[] = [];
  for (const kind of KINDS) {
    const make = (client: string): Figure => ({
      kind,
      client,
      gaps: [],
      outages: [],
      failed: 0,
      dropped: 0,
      idleDropped: 0,
      idleErrors: 0,
    });
    const ours = make('pgswitchyard');
    const libpq = hasPsql ? make('psql, both hosts, new each time') : null;
    figures.push(ours, ...(libpq === null ? [] : [libpq]));
    const pair = await setUp(scope, { settings: { max_client_conn: 1000, server_failed_delay: 0 } });
    let primary = pair.primary;
    let standby = pair.standbys[0]!;
    for (let i = 0; i < Number(values.rounds); i++) {
      await round(pair.bouncer, primary, standby, kind, ours, libpq);
      const old = primary;
      primary = standby;
      await primary.sql('DELETE FROM nodes WHERE port = $1', [old.port]);
      await old.remove();
      standby = await primary.createStandby();
      await primary.sql('INSERT INTO nodes VALUES ($1, $2)', [standby.host, standby.port]);
      await standby.caughtUpWith(primary);
      await pair.bouncer.admin('NOTIFY TOPOLOGY dev');
      await pair.bouncer.waitForLog(new RegExp(`:${standby.port} is a reader`));
      process.stderr.write(`\r${kind} ${i + 1}/${values.rounds} `);
    }
    process.stderr.write('\n');
  }
  print(figures);
  const { writeFileSync } = await import('node:fs');
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(figures));
});
process.exit();
