/** The memory that the process uses. */
import type { MemorySnapshot } from './snapshots/statistics.ts';

export function observeMemory(): MemorySnapshot {
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  return { heapUsedBytes: heapUsed, heapTotalBytes: heapTotal, externalBytes: external, residentBytes: rss };
}
