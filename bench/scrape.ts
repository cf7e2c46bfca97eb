/**
 * `npm run bench:scrape`: does a scrape of many databases delay queries? A proxy with 1,000 databases, each with a pool and a
 * client, serves a steady load, in turns with and without scrapes. The last lines are the table in docs/monitoring.md.
 *   --databases N   (1000)      --seconds N   of each turn (4)      --turns N   (4)      --series N   metrics_max_series (1000)
 */
import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { parseArgs } from 'node:util';
import { removeFolder, type PostgresServer } from '../src/demo/embedded-postgres.ts';
import { freePort } from '../test/support/ports.ts';
import { iniText, proxyFolder, startProxy, withServer } from './servers.ts';
import { ask, Client, nothing, percentile } from './tenants-clients.ts';

/** Clients that ask, each once in this time. */
const ASKING = 40;
const PACE_MS = 50;
/** Between the end of a scrape and the next one: Prometheus asks a hundred times less often. */
const PAUSE_MS = 50;

const { values } = parseArgs({
  options: {
    databases: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '4' },
    turns: { type: 'string', default: '4' },
    series: { type: 'string', default: '1000' },
  },
});
const databases = Array.from({ length: Number(values.databases) }, (_, i) => `database_number_${i}`);

/** The outcome of a scrape. */
interface Scrape {
  readonly ms: number;
  readonly bytes: number;
  /** delay of the proxy's event loop since the last scrape: the longest, and the 99th percentile */
  readonly longestDelayMs: number;
}

/** Scrapes in a thread of its own: reading megabytes would delay the clients here. */
class Scraper {
  readonly #worker: Worker;

  constructor(port: number) {
    this.#worker = new Worker(import.meta.filename, { workerData: { port } });
  }

  async once(): Promise<Scrape> {
    this.#worker.postMessage('scrape');
    const [outcome] = (await once(this.#worker, 'message')) as [Scrape];
    return outcome;
  }

  /** Scrapes until the other work is done. */
  async during(work: Promise<void>, into: Scrape[]): Promise<void> {
    let isDone = false;
    void work.finally(() => (isDone = true));
    while (!isDone) {
      into.push(await this.once());
      await delay(PAUSE_MS);
    }
    await work;
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

function serveScrapes(port: number): void {
  parentPort!.on('message', () => void scrape(port).then((outcome) => parentPort!.postMessage(outcome)));
}

async function scrape(port: number): Promise<Scrape> {
  const from = performance.now();
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const ms = performance.now() - from;
  const [, delayed = 'NaN'] = /_event_loop_delay_seconds\{quantile="max"\} (\S+)/.exec(text) ?? [];
  return { ms, bytes: text.length, longestDelayMs: Number(delayed) * 1000 };
}

async function startReady(
  folder: string,
  port: number,
  httpPort: number,
  serverPort: number,
): Promise<ChildProcess> {
  const ini = join(folder, 'pgbouncer.ini');
  const settings = [
    'default_pool_size = 1',
    'max_user_connections = 200',
    `http_listen_port = ${httpPort}`,
    `metrics_max_series = ${values.series}`,
  ];
  await writeFile(ini, iniText({ folder, port, serverPort, databases, settings }));
  const child = startProxy(ini, 'ignore');
  for (let tries = 0; ; tries++) {
    await delay(100);
    const isUp = await fetch(`http://127.0.0.1:${httpPort}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isUp) return child;
    if (tries > 100 || child.exitCode !== null) throw new Error('the proxy does not start');
  }
}

/** A client for each database, whose pool has been used. */
async function connectAll(port: number): Promise<Client[]> {
  const clients: Client[] = [];
  for (const database of databases) {
    const client = await Client.connect(port, database);
    if (await client.ask('SELECT 1')) throw new Error(`a query to ${database} has failed`);
    clients.push(client);
  }
  return clients;
}

function row(name: string, tookMs: readonly number[], longestDelayMs: number): string {
  const figures = [
    percentile(tookMs, 0.5),
    percentile(tookMs, 0.99),
    percentile(tookMs, 0.999),
    longestDelayMs,
  ];
  return `| ${name} | ${figures.map((ms) => `${ms.toFixed(1)} ms`).join(' | ')} |`;
}

async function measure(clients: readonly Client[], scraper: Scraper): Promise<void> {
  const quiet = nothing();
  const scraped = nothing();
  const scrapes: Scrape[] = [];
  let quietDelayMs = 0;
  for (let i = 0; i < 3; i++) await scraper.once();
  await ask(clients, 1, PACE_MS, nothing());
  for (let turn = 0; turn < Number(values.turns); turn++) {
    await scraper.once();
    await ask(clients, Number(values.seconds), PACE_MS, quiet);
    // this scrape tells about the time before it
    quietDelayMs = Math.max(quietDelayMs, (await scraper.once()).longestDelayMs);
    await scraper.during(ask(clients, Number(values.seconds), PACE_MS, scraped), scrapes);
  }
  const all = scrapes.map(({ ms }) => ms);
  const kb = (scrapes[0]!.bytes / 1024).toFixed(0);
  const [median, longest] = [percentile(all, 0.5), percentile(all, 1)].map((ms) => ms.toFixed(0));
  console.log(
    `${scrapes.length} scrapes of ${kb} KB: ${median} ms, the longest ${longest} ms; failed queries: ${quiet.failed + scraped.failed}`,
  );
  console.log(
    '\n| queries | p50 | p99 | p99.9 | longest delay of the event loop |\n| --- | ---: | ---: | ---: | ---: |',
  );
  console.log(row('without scrapes', quiet.tookMs, quietDelayMs));
  console.log(row('with scrapes', scraped.tookMs, Math.max(...scrapes.map((each) => each.longestDelayMs))));
}

async function measureWith(server: PostgresServer): Promise<void> {
  const folder = await proxyFolder('bench-scrape');
  const [port, httpPort] = [await freePort(), await freePort()];
  const child = await startReady(folder, port, httpPort, server.port);
  try {
    const clients = await connectAll(port);
    const scraper = new Scraper(httpPort);
    await measure(clients.slice(0, ASKING), scraper);
    await scraper.stop();
    for (const client of clients) client.close();
  } finally {
    child.kill('SIGKILL');
    await removeFolder(folder);
  }
}

if (isMainThread) await withServer(300, measureWith);
else serveScrapes((workerData as { port: number }).port);
