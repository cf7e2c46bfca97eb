import type { DatabaseStats } from '../telemetry/stats.ts';
import { STAT_NAMES, totals, type StatName } from '../telemetry/stats-history.ts';
import { ADMIN_DATABASE } from '../session/names.ts';
import type { AdminActions } from './actions.ts';
import { compare } from './sockets.ts';
import type { Column, Value } from './result.ts';

/** SHOW STATS and its relatives. The same counter has another name in each of them, as in pgbouncer. */

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

function columns(...labels: ((label: StatLabels) => string)[]): Column[] {
  return [
    ['database', 'text'],
    ...labels.flatMap((label) => STAT_NAMES.map((name): Column => [label(LABELS[name]), 'numeric'])),
  ];
}

export const STATS_COLUMNS = columns(
  (label) => label.total,
  (label) => label.average,
);
export const STATS_TOTALS_COLUMNS = columns((label) => label.plain);
export const STATS_AVERAGES_COLUMNS = columns((label) => label.plainAverage ?? label.plain);
export const TOTALS_COLUMNS: readonly Column[] = [
  ['name', 'text'],
  ['value', 'numeric'],
];

/** Databases that have been used, and the console, by name. */
function usedDatabases(actions: AdminActions): { name: string; stats: DatabaseStats }[] {
  const used = [...actions.registry.databases.values()].filter(
    (database) => database.pools.size > 0 || database.stats.clientLoginCount > 0,
  );
  return [...used, { name: ADMIN_DATABASE, stats: actions.consoleStats }].sort((a, b) =>
    compare(a.name, b.name),
  );
}

function totalValues(stats: readonly DatabaseStats[]): number[] {
  const sums = totals(stats);
  return STAT_NAMES.map((name) => sums[name]);
}

function averageValues({ statsHistory }: AdminActions, stats: DatabaseStats): number[] {
  const averages = statsHistory.averages(stats, performance.now());
  return STAT_NAMES.map((name) => averages[name]);
}

export function* statsRows(actions: AdminActions): Generator<Value[]> {
  for (const { name, stats } of usedDatabases(actions))
    yield [name, ...totalValues([stats]), ...averageValues(actions, stats)];
}

export function* statsTotalsRows(actions: AdminActions): Generator<Value[]> {
  for (const { name, stats } of usedDatabases(actions)) yield [name, ...totalValues([stats])];
}

export function* statsAveragesRows(actions: AdminActions): Generator<Value[]> {
  for (const { name, stats } of usedDatabases(actions)) yield [name, ...averageValues(actions, stats)];
}

export function totalsRows(actions: AdminActions): Value[][] {
  const sums = totalValues(usedDatabases(actions).map(({ stats }) => stats));
  const averages = actions.statsHistory.totalAverages(performance.now());
  return [
    ...STAT_NAMES.map((name, i): Value[] => [`total_${LABELS[name].sum}`, sums[i]!]),
    ...STAT_NAMES.map((name): Value[] => [`avg_${LABELS[name].sum}`, averages[name]]),
  ];
}
