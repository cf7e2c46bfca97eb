/** Figures in CloudWatch's embedded metric format. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Observe } from '../../src/admin/observe.ts';
import { EmbeddedMetrics } from '../../src/metrics/emf.ts';
import type { LogFields, Logger } from '../../src/telemetry/log.ts';

/** A proxy with one database, whose counters can be set. */
function parts(isOn = true): {
  observe: Observe;
  log: Logger;
  counters: Record<string, number>;
  lines: LogFields[];
} {
  const counters = { xactCount: 0, queryCount: 0, queryTime: 0, bytesReceived: 0, bytesSent: 0 };
  const lines: LogFields[] = [];
  const observe = {
    config: { settings: { metrics_emf: isOn, metrics_prefix: 'pgswitchyard' } },
    sessions: {
      observe: () => ({ pools: [{ database: 'db', user: 'u', active: 3, waiting: 2, longestWaitMs: 7 }] }),
    },
    pools: { pools: () => [{ database: 'db', servers: { active: 1, idle: 2, used: 1 } }] },
    statistics: { databases: () => [{ database: 'db', totals: { ...counters } }] },
  } as unknown as Observe;
  const log = { info: (fields: LogFields) => lines.push(fields) } as unknown as Logger;
  return { observe, log, counters, lines };
}

test('a line about all databases and one for each, with the figures since the last', (t) => {
  const { observe, log, counters, lines } = parts();
  const metrics = new EmbeddedMetrics(observe, log);
  t.after(() => metrics.stop());
  Object.assign(counters, {
    xactCount: 4,
    queryCount: 10,
    queryTime: 20_000,
    bytesReceived: 5,
    bytesSent: 6,
  });
  metrics.write();
  assert.equal(lines.length, 2);
  const [all, db] = lines as [LogFields, LogFields];
  const { _aws: format, ...figures } = all as { _aws: { CloudWatchMetrics: [Record<string, unknown>] } };
  assert.deepEqual(figures, {
    event: 'metrics',
    ActiveClients: 3,
    WaitingClients: 2,
    LongestWait: 7,
    ActiveServers: 1,
    IdleServers: 3,
    Transactions: 4,
    Queries: 10,
    AverageQueryTime: 2,
    ReceivedBytes: 5,
    SentBytes: 6,
  });
  const [metric] = format.CloudWatchMetrics;
  assert.deepEqual([metric['Namespace'], metric['Dimensions']], ['pgswitchyard', [[]]]);
  // each metric that is declared has a value
  for (const { Name } of metric['Metrics'] as { Name: string }[])
    assert.equal(typeof all[Name], 'number', Name);
  assert.equal(db['Database'], 'db');
  counters['queryCount'] = 11;
  metrics.write();
  assert.deepEqual([lines[2]!['Queries'], lines[2]!['Transactions']], [1, 0]);
});

test('counters that begin again count from 0', (t) => {
  const { observe, log, counters, lines } = parts();
  const metrics = new EmbeddedMetrics(observe, log);
  t.after(() => metrics.stop());
  counters['queryCount'] = 10;
  metrics.write();
  counters['queryCount'] = 3;
  metrics.write();
  assert.equal(lines[2]!['Queries'], 3);
});

test('nothing is logged while metrics_emf is off', (t) => {
  const { observe, log, lines } = parts(false);
  const metrics = new EmbeddedMetrics(observe, log);
  t.after(() => metrics.stop());
  metrics.write();
  assert.deepEqual(lines, []);
});
