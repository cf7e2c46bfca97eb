/** SHOW FLEET and the metrics, from snapshots. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FLEET } from '../../src/admin/fleet-tables.ts';
import type { Observe } from '../../src/admin/observe.ts';
import { NO_LOAD } from '../../src/fleet/load.ts';
import { fleetFamilies } from '../../src/metrics/fleet.ts';
import type { FleetProxySnapshot, FleetSnapshot } from '../../src/telemetry/snapshots/fleet.ts';

const proxy = (name: string, more: Partial<FleetProxySnapshot> = {}): FleetProxySnapshot => ({
  name,
  isOwn: name === 'own',
  address: '10.0.0.1',
  port: 6432,
  peerId: 1,
  version: '1.0',
  state: 'serving',
  startedAtMs: Date.now() - 5_500,
  sinceHeartbeatMs: 1_200,
  load: NO_LOAD,
  ...more,
});

const snapshot = (more: Partial<FleetSnapshot>): FleetSnapshot => ({
  store: 'up',
  problem: '',
  sinceContactMs: 1_200,
  proxies: [proxy('own')],
  waitingAuditLines: 0,
  lostAuditLines: 0,
  refusedRows: 0,
  ...more,
});

const observing = (fleet: FleetSnapshot): Observe =>
  ({ fleet: { observe: () => fleet } }) as unknown as Observe;

function rowsOf(fleet: FleetSnapshot): Record<string, unknown>[] {
  const names = FLEET.columns.map(({ name }) => name);
  return [...FLEET.rows(observing(fleet), () => true)].map((row) =>
    Object.fromEntries(row.map((value, at) => [names[at]!, value])),
  );
}

test('the last row has sums of what is there, means of times, and the longest wait', () => {
  const load = { ...NO_LOAD, clients: 3, servers: 1, queriesPerSecond: 100, queryUs: 10, longestWaitMs: 7 };
  const rows = rowsOf(
    snapshot({
      proxies: [
        proxy('own', { load }),
        proxy('busy', {
          load: { ...load, queriesPerSecond: 300, queryUs: 50, longestWaitMs: 9, databases: 4 },
        }),
        proxy('gone', { state: 'away', load: { ...load, clients: 1000 } }),
        proxy('over', { state: 'ended', load: { ...load, clients: 1000 } }),
      ],
    }),
  );
  assert.deepEqual(
    rows.map(({ name, state, clients, uptime }) => [name, state, clients, uptime]),
    [
      ['own', 'serving', 3, 5],
      ['busy', 'serving', 3, 5],
      ['gone', 'away', 1000, 5],
      ['over', 'ended', 1000, 5],
      ['(all)', '2 of 4', 6, null],
    ],
  );
  assert.partialDeepStrictEqual(rows.at(-1)!, {
    query_per_s: 400,
    query_us: 40,
    maxwait_ms: 9,
    servers: 2,
    databases: 4,
    store: '',
  });
});

for (const [more, store] of [
  [{}, 'up'],
  [{ problem: 'the name is taken' }, 'up: the name is taken'],
  [{ store: 'off', sinceContactMs: null }, 'off: this proxy is alone'],
  [{ store: 'connecting', sinceContactMs: null }, 'connecting'],
  [{ store: 'away', problem: 'refused' }, 'away for 1 s: refused; only this proxy is shown'],
  [{ store: 'away', problem: 'refused', sinceContactMs: null }, 'away: refused; only this proxy is shown'],
] as const) {
  test(`the store is shown as "${store}"`, () => {
    assert.equal(rowsOf(snapshot(more))[0]!['store'], store);
  });
}

test('there are metrics if there is a store', () => {
  assert.deepEqual(fleetFamilies(observing(snapshot({ store: 'off' }))), []);
  const families = fleetFamilies(
    observing(
      snapshot({ proxies: [proxy('own'), proxy('a'), proxy('b', { state: 'away' })], lostAuditLines: 2 }),
    ),
  );
  const values = Object.fromEntries(
    families.map(({ name, samples }) => [name, samples.map(({ labels, value }) => [labels, value])]),
  );
  assert.deepEqual(values['fleet_store_up'], [[{}, 1]]);
  assert.deepEqual(values['fleet_store_last_contact_seconds'], [[{}, 1.2]]);
  assert.deepEqual(values['fleet_proxies'], [
    [{ state: 'serving' }, 2],
    [{ state: 'away' }, 1],
  ]);
  assert.deepEqual(values['fleet_audit_lines_lost_total'], [[{}, 2]]);
});
