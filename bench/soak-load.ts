/** What a proxy of many tenants goes through in a soak: guests, new versions, operators, and processes that are killed. */
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Bouncer } from '../test/support/bouncer.ts';
import type { Cluster } from '../test/support/cluster.ts';
import * as raw from '../test/support/raw.ts';
import { RawClient } from '../test/support/raw.ts';
import { familyOf } from './processes.ts';

const GUESTS = 4;
const GUEST_PAUSE_MS = 30;
const OPERATOR_PAUSE_MS = 400;
const KILL_PAUSE_MS = 5_000;
/** A guest that has no answer by then leaves, like an application's timeout. */
const PATIENCE_MS = 10_000;

/** A rule that does what a comment in the query asks for. */
export const guestRule = (version: number): string => `import { reject } from 'pgswitchyard';
export const version = ${version};
const seen = [];
export const routing_rules = (username, query) => {
  if (query.includes('-- throw')) null.x;
  if (query.includes('-- spin')) for (;;);
  if (query.includes('-- exhaust')) for (;;) seen.push(new Array(10_000).fill(seen.length));
  if (query.includes('-- print')) console.log('x'.repeat(500));
  if (query.includes('-- reject')) reject('version ${version}');
  return null;
};
export const rewrite_query = (username, query) => query.includes('-- rewrite') ? 'SELECT 2' : null;
`;

const QUERIES: readonly (readonly [weight: number, comment: string])[] = [
  [60, ''],
  [12, '-- rewrite'],
  [8, '-- reject'],
  [8, '-- throw'],
  [8, '-- print'],
  [2, '-- spin'],
  [1, '-- exhaust'],
];

function any<Item>(items: readonly Item[]): Item {
  return items[Math.floor(Math.random() * items.length)]!;
}

function anyQuery(): string {
  const total = QUERIES.reduce((sum, [weight]) => sum + weight, 0);
  let left = Math.random() * total;
  for (const [weight, comment] of QUERIES)
    if ((left -= weight) < 0) return `SELECT ${Math.random()} ${comment}`;
  return 'SELECT 1';
}

export class Load {
  readonly #bouncer: Bouncer;
  readonly #cluster: Cluster;
  readonly #tenants: readonly string[];
  readonly #working: Promise<void>[] = [];
  #isStopped = false;
  #versions = 0;
  /** how often each thing was done */
  readonly counts: Record<string, number> = {};

  /** @param tenants whose databases are used by guests, and whose rules change */
  constructor(bouncer: Bouncer, cluster: Cluster, tenants: readonly string[]) {
    this.#bouncer = bouncer;
    this.#cluster = cluster;
    this.#tenants = tenants;
  }

  start(): void {
    for (let i = 0; i < GUESTS; i++) this.#repeat('guests', GUEST_PAUSE_MS, () => this.#visit());
    this.#repeat('commands', OPERATOR_PAUSE_MS, () => this.#operate());
    this.#repeat('kills', KILL_PAUSE_MS, () => this.#kill());
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(this.#working);
  }

  #count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1;
  }

  #repeat(what: string, pauseMs: number, work: () => Promise<void>): void {
    const run = async (): Promise<void> => {
      while (!this.#isStopped) {
        this.#count(what);
        await work().catch((error: unknown) => this.#count(`${what}: ${reasonOf(error)}`));
        await delay(pauseMs);
      }
    };
    this.#working.push(run());
  }

  /** One client comes, asks, and goes in one of many ways. */
  async #visit(): Promise<void> {
    const client = await RawClient.login(this.#bouncer, { user: 'postgres', database: any(this.#tenants) });
    const patience = setTimeout(() => client.destroy(), PATIENCE_MS);
    try {
      for (let i = 0; i < 3; i++) await client.query(anyQuery());
      await this.#leave(client);
    } finally {
      clearTimeout(patience);
      client.destroy();
    }
  }

  async #leave(client: RawClient): Promise<void> {
    const way = Math.floor(Math.random() * 6);
    if (way === 0) client.send(raw.terminate());
    else if (way === 1) await client.query('BEGIN');
    else if (way === 2) client.send(raw.parse('a', anyQuery()), raw.bind('a'), raw.execute(), raw.sync());
    // the pipeline has no end
    else if (way === 3) client.send(raw.parse('', anyQuery()), raw.flush());
    // half a message
    else if (way === 4) client.send(raw.query(anyQuery()).subarray(0, 12));
    else {
      client.send(raw.query('SELECT pg_sleep(0.2)'));
      const canceller = await RawClient.connect(this.#bouncer);
      canceller.send(raw.cancelRequest(client.backendPid, client.backendSecret));
      await client.readUntil('Z');
      canceller.destroy();
    }
  }

  /** New versions, good and bad, and the commands of operators. */
  async #operate(): Promise<void> {
    const tenant = any(this.#tenants);
    const file = `user-functions/${tenant}/routing_rules.js`;
    const rule = guestRule(++this.#versions);
    const commands = [
      () => this.#bouncer.writeFile(file, rule),
      () => this.#bouncer.writeFile(file, rule),
      () => this.#bouncer.writeFile(file, `${rule} this is no JavaScript`),
      () => this.#bouncer.admin(`RELOAD FUNCTIONS ${tenant}`),
      () => this.#bouncer.admin(`ROLLBACK FUNCTIONS ${tenant}`),
      () => this.#bouncer.admin(`RESUME FUNCTIONS ${tenant}`),
      async () => {
        await this.#bouncer.admin(`PAUSE FUNCTIONS ${tenant}`);
        await this.#bouncer.admin(`RESUME FUNCTIONS ${tenant}`);
      },
      () =>
        this.#bouncer.admin(
          any(['SHOW TENANTS', 'SHOW FUNCTIONS', 'SHOW POOLS', 'SHOW CLIENTS', 'SHOW STATS']),
        ),
      () => (Math.random() < 0.1 ? this.#bouncer.admin('RELOAD') : Promise.resolve()),
    ];
    await any<() => Promise<unknown>>(commands)();
  }

  /** A sandbox process, a bundler, or a server's connection ends. */
  async #kill(): Promise<void> {
    if (Math.random() < 0.3) {
      await this.#cluster.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guest'",
      );
      return this.#count('ended servers');
    }
    const children = familyOf(this.#bouncer.pid).filter((pid) => /sandbox|bundler/.test(commandOf(pid)));
    if (children.length === 0) return;
    process.kill(any(children), 'SIGKILL');
    this.#count('killed processes');
  }
}

/** Why something failed, without the names of tenants, so that equal reasons are counted together. */
function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.replaceAll(/"?\bt\d+\b"?|\d+/g, '…') : String(error);
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}
