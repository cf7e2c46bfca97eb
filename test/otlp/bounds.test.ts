/** How much may wait for a collector, and what is given up when it fails. No collector is needed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SpanKind } from '@opentelemetry/api';
import type { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace';
import { CollectorHealth } from '../../src/otlp/collector-health.ts';
import type { FamilyProducer } from '../../src/otlp/metric-data.ts';
import { BoundedMetricExporter } from '../../src/otlp/metric-exporter.ts';
import { BoundedSpanExporter } from '../../src/otlp/span-exporter.ts';
import type { Logger } from '../../src/telemetry/log.ts';
import { QuerySampler } from '../../src/telemetry/sampler.ts';

/** A collector that succeeds or fails at once, and its log. */
function prepare(): { readonly health: CollectorHealth; readonly lines: string[] } {
  const lines: string[] = [];
  const log = {
    info: (_: object, line: string) => lines.push(line),
    warn: (_: object, line: string) => lines.push(line),
  } as unknown as Logger;
  return { health: new CollectorHealth('traces', 'http://x', log), lines };
}

const OK = { code: 0 };
const FAILED = { code: 1, error: new Error('refused') };
const ROOT = { kind: SpanKind.SERVER } as ReadableSpan;
const PART = { kind: SpanKind.INTERNAL } as ReadableSpan;

test('a trace for whose spans there is no room is dropped as a whole, and counted', () => {
  const { health } = prepare();
  const sampler = new QuerySampler();
  const inner = { export: (_spans, done) => done(OK), shutdown: () => Promise.resolve() } as SpanExporter;
  const exporter = new BoundedSpanExporter({ inner, most: 5, sampler, health });
  assert.deepEqual([exporter.admit(3), exporter.admit(3), exporter.admit(2)], [true, false, true]);
  assert.equal(sampler.observe().dropped, 1);
  exporter.export([PART, PART, ROOT], () => {});
  assert.equal(exporter.admit(3), true);
  assert.equal(sampler.observe().exported, 1);
});

test('failures are logged once until an export succeeds', () => {
  const { health, lines } = prepare();
  const sampler = new QuerySampler();
  let result: typeof OK | typeof FAILED = FAILED;
  const inner = { export: (_spans, done) => done(result), shutdown: () => Promise.resolve() } as SpanExporter;
  const exporter = new BoundedSpanExporter({ inner, most: 100, sampler, health });
  for (const next of [FAILED, FAILED, OK, OK, FAILED]) {
    result = next;
    exporter.export([ROOT], () => {});
  }
  assert.deepEqual(
    lines.map((line) => line.replace(/ http:.*/, '')),
    ["traces can't be exported to", 'traces are exported to', "traces can't be exported to"],
  );
  assert.deepEqual([sampler.observe().exported, sampler.observe().dropped], [2, 3]);
});

test('after one part of a collection has failed the others are not tried, and the next collection is', () => {
  const { health } = prepare();
  const producer = { collection: 1 };
  let tried = 0;
  const inner = {
    export: (_metrics: unknown, done: (result: object) => void) => {
      tried++;
      done(FAILED);
    },
  } as unknown as OTLPMetricExporter;
  const exporter = new BoundedMetricExporter(inner, producer as FamilyProducer, health);
  for (let part = 0; part < 3; part++) exporter.export({} as never, () => {});
  assert.equal(tried, 1);
  producer.collection = 2;
  exporter.export({} as never, () => {});
  assert.equal(tried, 2);
});
