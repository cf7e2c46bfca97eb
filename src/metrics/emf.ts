/**
 * metrics_emf: figures of each minute as log lines in CloudWatch's embedded metric format, which CloudWatch turns into metrics
 * by itself. They are part of JSON log lines only (log_format = json).
 * https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
 */
import type { Observe } from '../admin/observe.ts';
import type { Logger } from '../telemetry/log.ts';
import type { StatValues } from '../telemetry/stats-history.ts';

const EVERY_MS = 60_000;
/** Databases with a line of their own; the line about all has the others too. */
const MOST_DATABASES = 100;

interface Metric {
  readonly name: string;
  readonly unit: 'Count' | 'Bytes' | 'Milliseconds';
}

const METRICS: readonly Metric[] = [
  { name: 'ActiveClients', unit: 'Count' },
  { name: 'WaitingClients', unit: 'Count' },
  { name: 'LongestWait', unit: 'Milliseconds' },
  { name: 'ActiveServers', unit: 'Count' },
  { name: 'IdleServers', unit: 'Count' },
  { name: 'Transactions', unit: 'Count' },
  { name: 'Queries', unit: 'Count' },
  { name: 'AverageQueryTime', unit: 'Milliseconds' },
  { name: 'ReceivedBytes', unit: 'Bytes' },
  { name: 'SentBytes', unit: 'Bytes' },
];

/** Pools as they are now. */
interface Present {
  ActiveClients: number;
  WaitingClients: number;
  LongestWait: number;
  ActiveServers: number;
  IdleServers: number;
}

/** Counters of the time since the last line. */
type Past = Pick<StatValues, 'xactCount' | 'queryCount' | 'queryTime' | 'bytesReceived' | 'bytesSent'>;

const NOTHING: Past = { xactCount: 0, queryCount: 0, queryTime: 0, bytesReceived: 0, bytesSent: 0 };

export class EmbeddedMetrics {
  readonly #observe: Observe;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  /** by database, the counters of the last line */
  #last = new Map<string, Past>();

  constructor(observe: Observe, log: Logger) {
    this.#observe = observe;
    this.#log = log;
    this.#timer = setInterval(() => this.write(), EVERY_MS).unref();
  }

  /** Logs the figures since the last call, if metrics_emf is on: a line about all databases, and one for each. */
  write(): void {
    if (!this.#observe.config.settings.metrics_emf) {
      this.#last.clear();
      return;
    }
    const present = presentOf(this.#observe);
    const totals = new Map(
      [...this.#observe.statistics.databases()].map((each) => [each.database, each.totals]),
    );
    const past = new Map(
      [...totals].map(([name, now]) => [name, since(this.#last.get(name) ?? NOTHING, now)]),
    );
    this.#last = totals;
    const allPast = [...past.values()].reduce(added, NOTHING);
    this.#line({}, [...present.values()].reduce(joined, nobody()), allPast);
    for (const [database, figures] of [...past].slice(0, MOST_DATABASES))
      this.#line({ Database: database }, present.get(database) ?? nobody(), figures);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #line(dimensions: Readonly<Record<string, string>>, present: Present, past: Past): void {
    const fields = {
      event: 'metrics',
      _aws: {
        Timestamp: Date.now(),
        CloudWatchMetrics: [
          {
            Namespace: this.#observe.config.settings.metrics_prefix || 'pgswitchyard',
            Dimensions: [Object.keys(dimensions)],
            Metrics: METRICS.map(({ name, unit }) => ({ Name: name, Unit: unit })),
          },
        ],
      },
      ...dimensions,
      ...present,
      Transactions: past.xactCount,
      Queries: past.queryCount,
      AverageQueryTime: past.queryCount === 0 ? 0 : past.queryTime / past.queryCount / 1000,
      ReceivedBytes: past.bytesReceived,
      SentBytes: past.bytesSent,
    };
    this.#log.info(fields, 'metrics');
  }
}

function presentOf({ pools, sessions }: Observe): ReadonlyMap<string, Present> {
  const all = new Map<string, Present>();
  const of = (database: string): Present => {
    const present = all.get(database) ?? nobody();
    all.set(database, present);
    return present;
  };
  for (const { database, active, waiting, longestWaitMs } of sessions.observe().pools) {
    const present = of(database);
    present.ActiveClients += active;
    present.WaitingClients += waiting;
    present.LongestWait = Math.max(present.LongestWait, longestWaitMs);
  }
  for (const { database, servers } of pools.pools()) {
    const present = of(database);
    present.ActiveServers += servers.active;
    present.IdleServers += servers.idle + servers.used;
  }
  return all;
}

function nobody(): Present {
  return { ActiveClients: 0, WaitingClients: 0, LongestWait: 0, ActiveServers: 0, IdleServers: 0 };
}

function joined(a: Present, b: Present): Present {
  return {
    ActiveClients: a.ActiveClients + b.ActiveClients,
    WaitingClients: a.WaitingClients + b.WaitingClients,
    LongestWait: Math.max(a.LongestWait, b.LongestWait),
    ActiveServers: a.ActiveServers + b.ActiveServers,
    IdleServers: a.IdleServers + b.IdleServers,
  };
}

function since(last: Past, now: Past): Past {
  // a database that was removed and came back counts from 0 again
  const of = (name: keyof Past): number => (now[name] < last[name] ? now[name] : now[name] - last[name]);
  return combined(of);
}

function added(a: Past, b: Past): Past {
  return combined((name) => a[name] + b[name]);
}

function combined(of: (name: keyof Past) => number): Past {
  return {
    xactCount: of('xactCount'),
    queryCount: of('queryCount'),
    queryTime: of('queryTime'),
    bytesReceived: of('bytesReceived'),
    bytesSent: of('bytesSent'),
  };
}
