/**
 * `npm run bench:tenants`: do tenants pay for their neighbours? A hundred tenants share a proxy; five of them misbehave. Two
 * proxies take turns on one machine: in one of them the five are idle. Each round starts both afresh, so that the first costly
 * calls of the five count. The last lines are the table in docs/tenants.md.
 *   --seconds N   of each turn (5)      --turns N   in a round (4)      --rounds N   (3)
 *   --quick       1 round of 3 turns, 2 s each      --log   also what the proxy beside the five logged
 *   --only NAMES  of the five: the others are idle, too (spins,exhausts,nearly,reloads,prints)
 */
import type { ChildProcess } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { removeFolder } from '../src/demo/embedded-postgres.ts';
import { freePort } from '../test/support/ports.ts';
import { cpuMs, familyOf, rssKb } from './processes.ts';
import { iniText, proxyFolder, startProxy, withServer } from './servers.ts';
import { ask, Client, nothing, percentile, type Outcome } from './tenants-clients.ts';

const GOOD = 95;
/** When latency is measured, each of the 95 asks once in this time: a part of the full load. */
const PACE_MS = 100;
/** Connections of each of the five. They pause between queries, so that they do not flood the proxy itself. */
const BAD_CLIENTS = 2;
const BAD_PAUSE_MS = 20;
const RELOAD_MS = 200;

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '5' },
    turns: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '3' },
    quick: { type: 'boolean', default: false },
    log: { type: 'boolean', default: false },
    only: { type: 'string' },
  },
});
const seconds = values.quick ? 2 : Number(values.seconds);
const turns = values.quick ? 3 : Number(values.turns);
const rounds = values.quick ? 1 : Number(values.rounds);

const RULE = `export function routing_rules(username, query) {
  if (/\\btablea\\b/.test(query)) return 'a';
  if (/\\btableb\\b/.test(query)) return 'b';
  return null;
}
`;

/** A rule that behaves when it is tried, and otherwise does this. */
const bad = (body: string): string => `export function routing_rules(username, query) {
  if (username !== 'pgswitchyard') { ${body} }
  return null;
}
`;

/** The five, by what they do. The timeout is 100 ms. */
const BAD = {
  spins: bad('for (;;);'),
  exhausts: bad('const all = []; for (;;) all.push(new Array(10_000).fill(all.length));'),
  nearly: bad('const end = Date.now() + 90; while (Date.now() < end);'),
  reloads: RULE,
  prints: bad("for (let i = 0; i < 64; i++) console.log('x'.repeat(1_000));"),
} as const;

/** Those of the five that are at work in the proxy beside them. */
const AT_WORK = values.only?.split(',') ?? Object.keys(BAD);

class Proxy {
  readonly name: string;
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #port: number;
  #good: Client[] = [];
  cpuMs = 0;

  private constructor(name: string, folder: string, child: ChildProcess, port: number) {
    this.name = name;
    this.#folder = folder;
    this.#child = child;
    this.#port = port;
  }

  static async start(name: string, serverPort: number): Promise<Proxy> {
    const folder = await proxyFolder('bench-tenants');
    const port = await freePort();
    const good = Array.from({ length: GOOD }, (_, i) => `good${i}`);
    const rules = { ...Object.fromEntries(good.map((each) => [each, RULE])), ...BAD };
    for (const [tenant, text] of Object.entries(rules)) {
      await mkdir(join(folder, 'rules', tenant), { recursive: true });
      await writeFile(join(folder, 'rules', tenant, 'routing_rules.js'), text);
    }
    const databases = Object.keys(rules);
    const settings = [
      'default_pool_size = 2',
      'server_idle_timeout = 0',
      `user_functions_dir = ${join(folder, 'rules')}`,
      'user_function_timeout = 100',
      'user_function_memory_limit = 32',
    ];
    const ini = join(folder, 'pgbouncer.ini');
    await writeFile(ini, iniText({ folder, port, serverPort, databases, settings }));
    const child = startProxy(ini, 'ignore');
    const proxy = new Proxy(name, folder, child, port);
    await proxy.#connect(good);
    return proxy;
  }

  async #connect(databases: readonly string[]): Promise<void> {
    for (let tries = 0; this.#good.length === 0; tries++) {
      await delay(100);
      this.#good = await Client.connect(this.#port, databases[0]!).then(
        (client) => [client],
        (error: unknown) => {
          if (tries > 200 || this.#child.exitCode !== null) throw error;
          return [];
        },
      );
    }
    for (const database of databases.slice(1)) this.#good.push(await Client.connect(this.#port, database));
    // all functions are loaded, and all servers connected
    for (const client of this.#good) await client.ask('SELECT 1');
    await ask(this.#good, 1, PACE_MS, nothing());
  }

  /** One turn, paced and then at full speed. @param isBeside the five misbehave meanwhile */
  async turn(isBeside: boolean, paced: Outcome, full: Outcome): Promise<void> {
    const five = isBeside ? await Five.start(this.#port, join(this.#folder, 'rules')) : null;
    const before = cpuMs(this.#child.pid!);
    await ask(this.#good, seconds, PACE_MS, paced);
    await ask(this.#good, seconds, 0, full);
    this.cpuMs += cpuMs(this.#child.pid!) - before;
    await five?.stop();
  }

  get processes(): number {
    return familyOf(this.#child.pid!).length;
  }

  get rssMb(): number {
    return Math.round(rssKb(this.#child.pid!) / 1024);
  }

  /** What it logged about its tenants, without their output. */
  async log(): Promise<string> {
    const lines = (await readFile(join(this.#folder, 'log'), 'utf8')).split('\n');
    return lines.filter((line) => !/ console of | loaded: |^ /.test(line)).join('\n');
  }

  async stop(): Promise<void> {
    for (const client of this.#good) client.close();
    this.#child.kill('SIGTERM');
    await new Promise((resolve) => setTimeout(resolve, 200));
    this.#child.kill('SIGKILL');
    await removeFolder(this.#folder);
  }
}

/** The five at work. */
class Five {
  readonly #working: Promise<void>[];
  readonly #clients: readonly Client[];
  #isStopped = false;

  private constructor(clients: readonly Client[], folder: string) {
    this.#clients = clients;
    this.#working = clients.map((client) => this.#ask(client));
    if (AT_WORK.includes('reloads')) this.#working.push(this.#reload(folder));
  }

  static async start(port: number, folder: string): Promise<Five> {
    const names = AT_WORK.flatMap((name) => Array.from({ length: BAD_CLIENTS }, () => name));
    return new Five(await Promise.all(names.map((name) => Client.connect(port, name))), folder);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.race([Promise.all(this.#working), delay(1_000)]);
    for (const client of this.#clients) client.close();
  }

  async #ask(client: Client): Promise<void> {
    for (let i = 0; !this.#isStopped; i++) {
      await client.ask(`SELECT ${i}`);
      await delay(BAD_PAUSE_MS);
    }
  }

  async #reload(folder: string): Promise<void> {
    for (let i = 0; !this.#isStopped; i++) {
      await writeFile(join(folder, 'reloads', 'routing_rules.js'), `${RULE}export const n = ${i};\n`);
      await delay(RELOAD_MS);
    }
  }
}

function print(alone: Totals, beside: Totals): void {
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  const row = (what: string, of: (totals: Totals) => number, show: (value: number) => string): string => {
    const [a, b] = [of(alone), of(beside)];
    return `| ${what} | ${show(a)} | ${show(b)} |`;
  };
  const rate = ({ full }: Totals): number => full.tookMs.length / full.seconds;
  const change = (100 * (rate(beside) / rate(alone) - 1)).toFixed(1);
  console.log(`
| the other 95 | the five are idle | the five misbehave |
| --- | ---: | ---: |
${row('p50, at 950 queries/s', ({ paced }) => percentile(paced.tookMs, 0.5), ms)}
${row('p99, at 950 queries/s', ({ paced }) => percentile(paced.tookMs, 0.99), ms)}
${row('longest', ({ paced }) => percentile(paced.tookMs, 1), ms)}
${row('queries/s at full load', rate, (value) => value.toFixed(0))}
${row('p99 at full load', ({ full }) => percentile(full.tookMs, 0.99), ms)}
${row('failed', ({ paced, full }) => paced.failed + full.failed, String)}

p99: ${(percentile(beside.paced.tookMs, 0.99) - percentile(alone.paced.tookMs, 0.99)).toFixed(2)} ms more (aim: 2 at most); throughput: ${change} % (aim: -5 at most)`);
}

interface Totals {
  readonly paced: Outcome;
  readonly full: Outcome;
}

async function main(serverPort: number): Promise<void> {
  const alone: Totals = { paced: nothing(), full: nothing() };
  const beside: Totals = { paced: nothing(), full: nothing() };
  for (let round = 0; round < rounds; round++) {
    const calm = await Proxy.start('alone', serverPort);
    const busy = await Proxy.start('beside', serverPort);
    try {
      for (let turn = 0; turn < turns; turn++) {
        await calm.turn(false, alone.paced, alone.full);
        await busy.turn(true, beside.paced, beside.full);
      }
      for (const { name, processes, rssMb, cpuMs: used } of [calm, busy])
        console.log(
          `round ${round + 1}, ${name}: ${processes} processes, ${rssMb} MB, ${used.toFixed(0)} ms of CPU`,
        );
      if (values.log) console.log(await busy.log());
    } finally {
      await Promise.all([calm.stop(), busy.stop()]);
    }
  }
  print(alone, beside);
}

await withServer(600, (server) => main(server.port));
