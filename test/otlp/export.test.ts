/** Metrics and traces over OTLP, as a collector gets them. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Bouncer, type BouncerOptions } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { OtlpCollector, type CollectedSpan } from '../support/otlp-collector.ts';
import { freePort } from '../support/ports.ts';
import { query, RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

interface Setup {
  readonly bouncer: Bouncer;
  readonly collector: OtlpCollector;
}

async function start(t: Scope, options: BouncerOptions = {}): Promise<Setup> {
  const collector = await OtlpCollector.start(t);
  const bouncer = await Bouncer.start(t, {
    databases: { db: cluster.connectionString() },
    ...options,
    settings: {
      pool_mode: 'transaction',
      otlp_endpoint: collector.url,
      otlp_trace_ratio: 1,
      otlp_metrics_interval: 1,
      ...options.settings,
    },
  });
  if (bouncer.settings['otlp_endpoint'] !== '') await bouncer.waitForLog(/exporting over OTLP to/);
  return { bouncer, collector };
}

const RULE = `export function rewrite_query(username, query) {
  if (query.includes('secret')) reject('no');
  return query;
}`;

const shared = await start({ after }, { files: { 'user-functions/rewrite_query.ts': RULE } });

/** Waits for the trace of a query with this text. */
async function rootWith(collector: OtlpCollector, text: string): Promise<CollectedSpan> {
  return await until(`a span for ${text}`, () =>
    collector.spans.find(({ attributes }) => attributes['db.query.text'] === text),
  );
}

test('a query has a span with its wait, its rule and its server below it', async () => {
  const { bouncer, collector } = shared;
  await bouncer.sql("select 'a value', 42");
  const root = await rootWith(collector, 'select ?, ...');
  const below = collector.traceOf(root).filter(({ parentId }) => parentId === root.spanId);
  assert.deepEqual(below.map(({ name }) => name).toSorted(), ['rule', 'server', 'wait for a server']);
  for (const { startNs, endNs } of below)
    assert.ok(root.startNs <= startNs && startNs <= endNs && endNs <= root.endNs);
  assert.equal(root.name, 'SELECT db');
  assert.equal(root.parentId, '');
  assert.equal(root.status, 0);
  assert.equal(root.attributes['db.namespace'], 'db');
  assert.equal(root.attributes['db.user'], 'postgres');
  assert.equal(root.attributes['client.address'], '127.0.0.1');
  assert.equal(root.attributes['server.port'], cluster.port);
  assert.equal(typeof root.attributes['pgswitchyard.tenant'], 'string');
});

test("a server's error and a rule's rejection have their SQLSTATE", async () => {
  const { bouncer, collector } = shared;
  await assert.rejects(bouncer.sql('select missing'));
  await assert.rejects(bouncer.sql("select 'secret'"));
  const failed = await rootWith(collector, 'select missing');
  assert.equal(failed.attributes['db.response.status_code'], '42703');
  assert.equal(failed.status, 2);
  const rejected = await until('the rejected query', () =>
    collector.spans.find(({ name, status }) => name === 'query db' && status === 2),
  );
  assert.equal(String(rejected.attributes['db.response.status_code']).length, 5);
  const parts = collector.traceOf(rejected).map(({ name }) => name);
  assert.deepEqual(parts.toSorted(), ['query db', 'rule']);
});

test('statements of the extended protocol have their text, whichever message begins the query', async () => {
  const { bouncer, collector } = shared;
  const client = await bouncer.connect();
  for (let i = 0; i < 2; i++) await client.query({ name: 'mine', text: 'select $1::int + 17', values: [i] });
  await until(
    'two spans',
    () =>
      collector.spans.filter(({ attributes }) => attributes['db.query.text'] === 'select ?::int + ?')
        .length >= 2,
  );
});

test('each query of a pipeline has a span', async (t) => {
  const { bouncer, collector } = shared;
  const before = collector.spans.length;
  const client = await RawClient.session(t, bouncer, { user: 'postgres', database: 'db' });
  client.send(query('select 1'), query('select 2'), query('select 3'));
  await until(
    'three spans',
    () => collector.spans.slice(before).filter(({ name }) => name === 'server').length === 3,
  );
});

test("a query's comment names the trace that it belongs to", async () => {
  const { bouncer, collector } = shared;
  const trace = '4bf92f3577b34da6a3ce929d0e0e4736';
  await bouncer.sql(`select 'x' as traced /*traceparent='00-${trace}-00f067aa0ba902b7-00'*/`);
  const root = await rootWith(collector, 'select ? as traced');
  assert.equal(root.traceId, trace);
  assert.equal(root.parentId, '00f067aa0ba902b7');
});

test('otlp_query_text = none leaves texts out', async () => {
  const { bouncer, collector } = shared;
  const before = collector.spans.length;
  await bouncer.admin("SET otlp_query_text = 'none'");
  await bouncer.sql("select 'confidential'");
  const root = await until('a span', () =>
    collector.spans.slice(before).find(({ name }) => name === 'query db'),
  );
  assert.equal(root.attributes['db.query.text'], undefined);
  await bouncer.admin("SET otlp_query_text = 'masked'");
  for (const { attributes } of collector.spans)
    assert.ok(!JSON.stringify(attributes).includes('confidential'));
});

test('all metrics arrive under the names of OpenMetrics, with the name of the service', async (t) => {
  const { bouncer, collector } = await start(t, {
    env: { OTEL_SERVICE_NAME: 'pooler', OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test' },
  });
  await bouncer.sql('select 1');
  const find = (name: string, database?: string): (typeof collector.points)[0] | undefined =>
    collector.points.findLast(
      (point) => point.name === name && (database === undefined || point.attributes['database'] === database),
    );
  const queries = await until('the number of queries', () => {
    const found = find('pgswitchyard_stats_queries_pooled', 'db');
    return found?.value === 1 ? found : null;
  });
  assert.equal(queries.type, 'sum');
  assert.equal(queries.resource['service.name'], 'pooler');
  assert.equal(queries.resource['deployment.environment.name'], 'test');
  assert.equal(find('pgswitchyard_databases')!.type, 'gauge');
  const durations = find('pgswitchyard_query_duration_seconds', 'db')!;
  assert.deepEqual([durations.type, durations.value, durations.unit], ['histogram', 1, 's']);
});

test('headers come from a file, which may change at any time', async (t) => {
  const file = join((await Bouncer.prepare(t, {})).folder, 'headers');
  writeFileSync(file, '# the token\nAuthorization: Bearer one\nx-other=2\nnonsense\n');
  const { bouncer, collector } = await start(t, { settings: { otlp_headers_file: file } });
  await until('a request', () => collector.headers.length > 0);
  assert.equal(collector.headers[0]!['authorization'], 'Bearer one');
  assert.equal(collector.headers[0]!['x-other'], '2');
  await bouncer.waitForLog(/otlp_headers_file: ".*headers", line 4: not "NAME: VALUE"/);
  writeFileSync(file, 'Authorization: Bearer second\n');
  await until('the new token', () =>
    collector.headers.some(({ authorization }) => authorization === 'Bearer second'),
  );
});

/** The counters of traces, as SHOW-like text: they are the same whoever asks. */
async function droppedBy(port: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const [, dropped] = /_traces_total\{outcome="dropped"\} (\d+)/.exec(text) ?? [];
  return Number(dropped);
}

for (const mode of ['hang', 'refuse'] as const)
  test(`queries go on, and traces are dropped and counted, while the collector answers with: ${mode}`, async (t) => {
    const port = await freePort();
    const { bouncer, collector } = await start(t, {
      settings: { otlp_traces_per_second: 10_000, http_listen_port: port },
    });
    collector.mode = mode;
    const client = await bouncer.connect();
    await until('lost traces', async () => {
      for (let i = 0; i < 200; i++) await client.query('select 1');
      return (await droppedBy(port)) > 0;
    });
    if (mode === 'refuse') {
      await bouncer.waitForLog(/can't be exported to http:.*, and are dropped until they can/);
      collector.mode = 'ok';
      await bouncer.waitForLog(/are exported to http:.* again/);
    }
  });

test('SET and RELOAD turn it on and off', async (t) => {
  const { bouncer, collector } = await start(t, {
    settings: { otlp_endpoint: '', otlp_metrics_interval: 0 },
  });
  await bouncer.sql('select 1');
  const admin = await bouncer.connect({ database: 'pgbouncer', user: 'pgbouncer' });
  await admin.query(`SET otlp_endpoint = '${collector.url}'`);
  await bouncer.waitForLog(/exporting over OTLP to/);
  await bouncer.sql('select 2 + 2');
  await rootWith(collector, 'select ? + ?');
  await admin.query("SET otlp_endpoint = ''");
  const before = collector.requests;
  await bouncer.sql('select 3 + 3 + 3');
  assert.equal(collector.requests, before);
  await assert.rejects(admin.query("SET otlp_endpoint = 'ftp://x'"));
});

test('the end of the process exports what is left', async (t) => {
  const { bouncer, collector } = await start(t, { settings: { otlp_metrics_interval: 600 } });
  await bouncer.sql('select 9 + 9');
  await bouncer.stop();
  await rootWith(collector, 'select ? + ?');
  assert.ok(collector.points.length > 0);
});
