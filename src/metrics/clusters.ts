/** Metrics about the clusters: their nodes and their switchovers. */
import type { Observe } from '../admin/observe.ts';
import type {
  NodeSnapshot,
  SwitchoverSnapshot,
  SwitchoverTallySnapshot,
} from '../telemetry/snapshots/switchovers.ts';
import { counter, familiesOf, gauge, type Column, type Family, type Labels } from './family.ts';
import { histogramFamily } from './times.ts';

const NODES: readonly Column<NodeSnapshot>[] = [
  gauge('node_writer', '1 for the writer of a cluster', ({ role }) => Number(role === 'writer')),
  gauge('node_reachable', '1 if the last probe was answered', ({ role }) => Number(role !== 'unknown')),
  gauge('node_lag_bytes', 'Bytes behind the writer', ({ lagBytes }) => lagBytes ?? NaN, 'max'),
  gauge('node_lag_seconds', 'Time behind the writer', ({ lagSeconds }) => lagSeconds ?? NaN, 'max'),
];

/** The console keeps the last switchovers only, so these are about the last one of each database. */
const LAST: readonly Column<SwitchoverSnapshot>[] = [
  gauge(
    'last_switchover_timestamp_seconds',
    'When the last switchover was detected',
    (row) => row.detectedAtMs / 1000,
    'max',
  ),
  gauge(
    'last_switchover_gap_seconds',
    'From its detection until clients went on',
    ({ resumedMs }) => (resumedMs === null ? NaN : resumedMs / 1000),
    'max',
  ),
  gauge('last_switchover_clients_held', 'Clients that it held', (row) => row.clientsHeld),
  gauge('last_switchover_transactions_broken', 'Transactions that it broke', (row) => row.transactionsBroken),
];

const TALLIES: readonly Column<SwitchoverTallySnapshot>[] = [
  counter('switchovers_total', 'Switchovers and false alarms by outcome', ({ gaps }) =>
    gaps.counts.reduce(sum),
  ),
];

/** @param most series of one family */
export function* clusterFamilies({ switchovers }: Observe, most: number): Generator<Family> {
  const last = new Map(switchovers.switchovers().map((each) => [each.database, each]));
  const tallies = switchovers.tallies();
  yield* familiesOf(switchovers.nodes(), ({ database, name }) => ({ database, node: name }), NODES, most);
  yield* familiesOf([...last.values()], ({ database }) => ({ database }), LAST, most);
  yield* familiesOf(tallies, labelsOf, TALLIES, most);
  yield histogramFamily(
    'switchover_gap_seconds',
    'From the detection of a switchover until clients went on',
    tallies.map((tally) => ({ labels: labelsOf(tally), histogram: tally.gaps })),
    most,
  );
}

function labelsOf({ database, outcome }: SwitchoverTallySnapshot): Labels {
  return { database, outcome };
}

function sum(a: number, b: number): number {
  return a + b;
}
