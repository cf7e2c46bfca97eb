/**
 * Main of a sandbox process: isolates and nothing else. It has an empty environment and no descriptors but its pipes, and ends
 * when its parent's end of them closes. It works on its jobs strictly in order: the first one without an answer is the running
 * one.
 */
import { readSync, writeSync } from 'node:fs';
import { MESSAGE } from '../limits.ts';
import { Engine } from './engine.ts';
import { encodeMessage, OrderReader, type Order, type Report } from './protocol.ts';
import { processCpuMs } from './processor-clock.ts';

function send(report: Report): void {
  const bytes = encodeMessage(report);
  for (let at = 0; at < bytes.length;) at += writeSync(1, bytes, at);
}

function handle(engine: Engine, order: Order): void {
  switch (order.kind) {
    case 'hello':
      throw new Error('a second hello');
    case 'load': {
      const from = processCpuMs();
      const result = engine.load(order.version);
      return send({ kind: 'loaded', versionId: order.version.id, cpuUs: usSince(from), result });
    }
    case 'dispose':
      return engine.dispose(order.versionId);
    case 'batch':
      return run(engine, order);
  }
}

function run(
  engine: Engine,
  { batchId, versionId, sliceMs, calls }: Extract<Order, { kind: 'batch' }>,
): void {
  const from = processCpuMs();
  const onCut = (nextMs: number): void => send({ kind: 'alive', batchId, nextMs });
  const { kind, answers } =
    sliceMs > 0
      ? engine.runSlice(versionId, calls, sliceMs)
      : ({ kind: 'answers', answers: engine.run(versionId, calls, onCut) } as const);
  const heapBytes = engine.heapBytes(versionId);
  send({ kind, batchId, cpuUs: usSince(from), heapBytes, answers });
}

/** Processor time of this process since then, in whole µs. @param fromMs an earlier `processCpuMs` */
function usSince(fromMs: number): number {
  return Math.round((processCpuMs() - fromMs) * 1e3);
}

/** Reads orders until the pipe closes. Reading may block, since nothing else happens here: an event loop costs more. */
function serve(): void {
  const reader = new OrderReader();
  const chunk = Buffer.allocUnsafe(MESSAGE.readBytes);
  let engine: Engine | null = null;
  for (let size = readSync(0, chunk); size > 0; size = readSync(0, chunk)) {
    for (const order of reader.push(Buffer.from(chunk.subarray(0, size)))) {
      if (engine !== null) handle(engine, order);
      else engine = begin(order);
    }
  }
}

function begin(order: Order): Engine {
  if (order.kind !== 'hello') throw new Error(`${order.kind} before hello`);
  const engine = new Engine(order.prelude);
  send({ kind: 'ready' });
  return engine;
}

// The parent decides when a child ends: a terminal's Ctrl-C goes to the whole group.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
serve();
