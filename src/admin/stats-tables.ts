/** SHOW STATS, STATS_TOTALS, STATS_AVERAGES and TOTALS. The same counter has another name in each of them, as in pgbouncer. */
import type { StatisticsSnapshot } from '../telemetry/snapshots/statistics.ts';
import { STAT_NAMES, type StatName } from '../telemetry/stats-history.ts';
import type { Observe } from './observe.ts';
import { table, type Column } from './table.ts';

interface StatLabels {
  /** STATS: total_X and avg_X */
  readonly total: string;
  readonly average: string;
  /** STATS_TOTALS, and STATS_AVERAGES where that differs */
  readonly plain: string;
  readonly plainAverage?: string;
  /** TOTALS */
  readonly sum: string;
}

function same(name: string): StatLabels {
  return { total: `total_${name}`, average: `avg_${name}`, plain: name, sum: name };
}

function prepared(name: string): StatLabels {
  return { ...same(name), plainAverage: `avg_${name}`, sum: `ps_${name}` };
}

const LABELS: Readonly<Record<StatName, StatLabels>> = {
  serverAssignmentCount: same('server_assignment_count'),
  xactCount: same('xact_count'),
  queryCount: same('query_count'),
  bytesReceived: {
    total: 'total_received',
    average: 'avg_recv',
    plain: 'bytes_received',
    sum: 'client_bytes',
  },
  bytesSent: { total: 'total_sent', average: 'avg_sent', plain: 'bytes_sent', sum: 'server_bytes' },
  xactTime: same('xact_time'),
  queryTime: same('query_time'),
  waitTime: same('wait_time'),
  clientParseCount: prepared('client_parse_count'),
  serverParseCount: prepared('server_parse_count'),
  bindCount: prepared('bind_count'),
  clientLoginCount: { ...same('client_login_count'), plainAverage: 'avg_client_login_count' },
};

const DATABASE: Column<StatisticsSnapshot> = {
  name: 'database',
  type: 'text',
  of: (row) => row.database,
};
const PLAIN_TOTALS = totalColumns((labels) => labels.plain);
const PLAIN_AVERAGES = averageColumns((labels) => labels.plainAverage ?? labels.plain);

export const STATS = table(
  [DATABASE, ...totalColumns((labels) => labels.total), ...averageColumns((labels) => labels.average)],
  databases,
);
export const STATS_TOTALS = table([DATABASE, ...PLAIN_TOTALS], databases);
export const STATS_AVERAGES = table([DATABASE, ...PLAIN_AVERAGES], databases);

/** A counter's name and its value over all databases. */
type Sum = readonly [name: string, value: number];

export const TOTALS = table<Sum>(
  [
    { name: 'name', type: 'text', of: ([name]) => name },
    { name: 'value', type: 'numeric', of: ([, value]) => value },
  ],
  ({ statistics }) => {
    const { totals, averages } = statistics.total();
    return [
      ...STAT_NAMES.map((name): Sum => [`total_${LABELS[name].sum}`, totals[name]]),
      ...STAT_NAMES.map((name): Sum => [`avg_${LABELS[name].sum}`, averages[name]]),
    ];
  },
);

function databases({ statistics }: Observe): Iterable<StatisticsSnapshot> {
  return statistics.databases();
}

function totalColumns(labelOf: (labels: StatLabels) => string): Column<StatisticsSnapshot>[] {
  return STAT_NAMES.map((name) => ({
    name: labelOf(LABELS[name]),
    type: 'numeric',
    of: (row) => row.totals[name],
  }));
}

function averageColumns(labelOf: (labels: StatLabels) => string): Column<StatisticsSnapshot>[] {
  return STAT_NAMES.map((name) => ({
    name: labelOf(LABELS[name]),
    type: 'numeric',
    of: (row) => row.averages[name],
  }));
}
