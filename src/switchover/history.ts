/** The last switchovers, for SHOW SWITCHOVERS. */
import type { Node } from './node.ts';

/** One switchover, or false alarm, for SHOW SWITCHOVERS. Durations are ms since its detection. */
export interface Switchover {
  readonly database: string;
  readonly at: Date;
  readonly from: string;
  /** the same node: a false alarm or a restart; '': not over yet */
  to: string;
  readonly detectedBy: string;
  /** ms from the last sign of life of the old writer to the detection */
  readonly detectionMs: number;
  writerFoundMs: number | null;
  /** ms until the first statement was on its way to the new writer */
  resumedMs: number | null;
  clientsHeld: number;
  transactionsBroken: number;
  readonly startedAt: number;
}

/** The entry of a switchover that begins now. @param writer the old one; null: none is known */
export function newEntry(database: string, writer: Node | null, detectedBy: string): Switchover {
  const now = performance.now();
  return {
    database,
    at: new Date(),
    from: writer?.key ?? '',
    to: '',
    detectedBy,
    detectionMs: writer === null || writer.lastProbe === 0 ? 0 : now - writer.lastProbe,
    writerFoundMs: null,
    resumedMs: null,
    clientsHeld: 0,
    transactionsBroken: 0,
    startedAt: now,
  };
}

/**
 * The writer is found.
 * @param how `moved`: another node; `returned`: it was gone and is back; `given up`: a SWITCHOVER; `false alarm`
 * @returns the line for the log
 */
export function noteFound(
  entry: Switchover,
  writer: Node | null,
  how: 'moved' | 'returned' | 'given up' | 'false alarm',
  held: number,
): string {
  const foundMs = performance.now() - entry.startedAt;
  entry.writerFoundMs = foundMs;
  entry.to = writer?.key ?? '';
  entry.clientsHeld = Math.max(entry.clientsHeld, held);
  const what = {
    moved: `the writer is ${writer?.key} (was ${entry.from || 'unknown'})`,
    returned: `${writer?.key} is the writer again`,
    'given up': `the writer is still ${writer?.key}`,
    'false alarm': 'false alarm',
  }[how];
  return `${what}, after ${foundMs.toFixed(1)} ms, ${entry.clientsHeld} clients held, detected by: ${entry.detectedBy}`;
}

const KEPT = 100;

/** The last switchovers of all databases, the oldest first. */
export class SwitchoverHistory {
  readonly entries: Switchover[] = [];

  begin(entry: Switchover): Switchover {
    this.entries.push(entry);
    if (this.entries.length > KEPT) this.entries.shift();
    return entry;
  }
}
