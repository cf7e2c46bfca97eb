/** Metrics about the process: its state, errors, event loop, memory, descriptors and children. */
import type { Observe } from '../admin/observe.ts';
import type { DescriptorCount } from '../platform/descriptor-count.ts';
import { observeMemory } from '../telemetry/memory.ts';
import type { TenantSnapshot } from '../telemetry/snapshots/functions.ts';
import { errorCounts } from '../wire/error-counts.ts';
import { counter, familiesOf, fixed, type Family } from './family.ts';
import type { EventLoop } from './event-loop.ts';

export interface ProcessParts {
  /** whose delay since the last time is shown */
  readonly loop: EventLoop;
  readonly tenants: readonly TenantSnapshot[];
  readonly descriptors: DescriptorCount;
  readonly most: number;
}

type ErrorCount = readonly [sqlClass: string, count: number];

const ERRORS = [
  counter<ErrorCount>(
    'errors_sent_total',
    'Errors that the proxy itself has sent, by class of SQLSTATE',
    ([, count]) => count,
  ),
];

/** @param most series of one family: a rule may choose any SQLSTATE for its rejections */
export function* processFamilies(
  observe: Observe,
  { loop, tenants, descriptors, most }: ProcessParts,
): Generator<Family> {
  yield* familiesOf<ErrorCount>([...errorCounts()], ([sqlClass]) => ({ class: sqlClass }), ERRORS, most);
  yield* fixedFamilies(observe, { loop, tenants, descriptors, most });
}

function fixedFamilies(observe: Observe, { loop, tenants, descriptors }: ProcessParts): Family[] {
  const { heapUsedBytes, heapTotalBytes, externalBytes, residentBytes } = observeMemory();
  const { user, system } = process.cpuUsage();
  const { state } = observe.lifecycle;
  const traces = observe.traces();
  const children = new Set(tenants.map(({ pid }) => pid));
  children.delete(process.pid);
  children.delete(null);
  const { meanSeconds, p99Seconds, maxSeconds } = loop.observe();
  return [
    fixed('counter', 'traces_total', 'Queries chosen for a trace, and what became of their traces', [
      [{ outcome: 'chosen' }, traces.chosen],
      [{ outcome: 'over_limit' }, traces.overLimit],
      [{ outcome: 'exported' }, traces.exported],
      [{ outcome: 'dropped' }, traces.dropped],
    ]),
    fixed('gauge', 'state', 'The state of the proxy', [[{ state }, 1]]),
    fixed('gauge', 'sandbox_processes', 'Sandbox processes that versions run in', children.size),
    fixed('gauge', 'event_loop_delay_seconds', 'Delay of the event loop since the last scrape', [
      [{ quantile: 'mean' }, meanSeconds],
      [{ quantile: '0.99' }, p99Seconds],
      [{ quantile: 'max' }, maxSeconds],
    ]),
    fixed('gauge', 'heap_used_bytes', 'JavaScript heap in use', heapUsedBytes),
    fixed('gauge', 'heap_total_bytes', 'JavaScript heap', heapTotalBytes),
    fixed('gauge', 'external_memory_bytes', 'Buffers outside of the heap', externalBytes),
    fixed(
      'gauge',
      'resident_memory_bytes',
      'Resident memory of the proxy, without sandbox processes',
      residentBytes,
    ),
    fixed('gauge', 'open_descriptors', 'Open descriptors of the proxy', descriptors.open),
    fixed('gauge', 'max_descriptors', 'The limit for its descriptors', descriptors.limit),
    fixed('counter', 'cpu_seconds_total', 'Processor time of the proxy', [
      [{ mode: 'user' }, user / 1e6],
      [{ mode: 'system' }, system / 1e6],
    ]),
  ];
}
