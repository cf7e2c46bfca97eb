/** The last switchovers, for SHOW SWITCHOVERS, and the number and gaps of all of them, for metrics. */
import { Histogram } from '../telemetry/histogram.ts';
import type { NodeFacts } from './facts.ts';

/** The way in which a writer was found: another node; the old one, which was gone; after a SWITCHOVER; nothing was wrong. */
export type Finding = 'moved' | 'returned' | 'given up' | 'false alarm';

/** One switchover, or false alarm. Durations are ms since its detection. */
export class Switchover {
  readonly database: string;
  readonly at = new Date();
  /** ms of performance.now() */
  readonly startedAt = performance.now();
  readonly from: string;
  readonly detectedBy: string;
  /** ms from the last sign of life of the old writer to the detection */
  readonly detectionMs: number;
  #to = '';
  #writerFoundMs: number | null = null;
  #resumedMs: number | null = null;
  #clientsHeld = 0;
  #transactionsBroken = 0;

  /** @param writer the old one; null: none is known */
  constructor(database: string, writer: NodeFacts | null, detectedBy: string) {
    this.database = database;
    this.from = writer?.key ?? '';
    this.detectedBy = detectedBy;
    const isKnown = writer !== null && writer.lastProbe > 0;
    this.detectionMs = isKnown ? this.startedAt - writer.lastProbe : 0;
  }

  /** The same node as `from`: a false alarm or a restart; '': not over yet. */
  get to(): string {
    return this.#to;
  }

  get writerFoundMs(): number | null {
    return this.#writerFoundMs;
  }

  /** ms until the first statement was on its way to the new writer. */
  get resumedMs(): number | null {
    return this.#resumedMs;
  }

  get clientsHeld(): number {
    return this.#clientsHeld;
  }

  get transactionsBroken(): number {
    return this.#transactionsBroken;
  }

  /** So many clients wait at the moment; the highest number counts. */
  noteHeld(count: number): void {
    this.#clientsHeld = Math.max(this.#clientsHeld, count);
  }

  noteBroken(): void {
    this.#transactionsBroken++;
  }

  /** The writer is found. @returns the line for the log */
  found(writer: NodeFacts | null, how: Finding): string {
    const foundMs = performance.now() - this.startedAt;
    this.#writerFoundMs = foundMs;
    this.#to = writer?.key ?? '';
    const finding = {
      moved: `the writer is ${writer?.key} (was ${this.from || 'unknown'})`,
      returned: `${writer?.key} is the writer again`,
      'given up': `the writer is still ${writer?.key}`,
      'false alarm': 'false alarm',
    }[how];
    return `${finding}, after ${foundMs.toFixed(1)} ms, ${this.#clientsHeld} clients held, detected by: ${this.detectedBy}`;
  }

  /** Clients continue. */
  resumed(): void {
    this.#resumedMs = performance.now() - this.startedAt;
  }
}

/** Entries that are kept. */
const KEPT = 100;
/** Databases with a tally of their own. A name that only the entry `*` knows is a database, too. */
const MOST_TALLIED = 1000;
const OTHER = 'other';

/** All switchovers of a database that ended in one way. */
export interface Tally {
  readonly database: string;
  readonly how: Finding;
  /** from the detection until clients went on */
  readonly gaps: Histogram;
}

/** The last switchovers of all databases, the oldest first, and the tallies of all. */
export class SwitchoverHistory {
  readonly #entries: Switchover[] = [];
  readonly #tallies = new Map<string, Map<Finding, Tally>>();

  get entries(): readonly Switchover[] {
    return this.#entries;
  }

  add(entry: Switchover): void {
    this.#entries.push(entry);
    if (this.#entries.length > KEPT) this.#entries.shift();
  }

  get tallies(): Tally[] {
    return [...this.#tallies.values()].flatMap((ofDatabase) => [...ofDatabase.values()]);
  }

  /** Clients go on after a switchover or a false alarm. */
  count({ database: name, resumedMs }: Switchover, how: Finding): void {
    const isNew = !this.#tallies.has(name);
    const database = isNew && this.#tallies.size >= MOST_TALLIED ? OTHER : name;
    let ofDatabase = this.#tallies.get(database);
    if (ofDatabase === undefined) this.#tallies.set(database, (ofDatabase = new Map()));
    let tally = ofDatabase.get(how);
    if (tally === undefined) ofDatabase.set(how, (tally = { database, how, gaps: new Histogram() }));
    tally.gaps.note((resumedMs ?? 0) * 1000);
  }
}
