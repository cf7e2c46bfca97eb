/**
 * The remembered decisions of one line of versions: which questions they answer, which are kept, and the check of a share of
 * them. docs/user-functions.md has the rules.
 */
import type { Clock } from '../../platform/clock.ts';
import type { RecallSnapshot } from '../../telemetry/snapshots/functions.ts';
import { printable } from '../build/places.ts';
import { Memory, type MemoryRoom } from '../decide/memory.ts';
import type { Decision } from '../decide/policy.ts';
import type { Question } from '../decide/question.ts';
import { differenceOf, inWords } from '../decide/recheck.ts';
import { asSeen, decisionWith, shapeFor } from '../decide/shaped.ts';
import { MEMORY } from '../limits.ts';
import type { HostAnswer, HostCall, Part } from '../sandbox/call.ts';
import type { Version } from './version.ts';

const DIFFERED = 'it gave two answers to one question';

export interface RecallOptions {
  readonly room: MemoryRoom;
  /** bytes that the memory may take */
  readonly limit: () => number;
  readonly clock: Pick<Clock, 'after'>;
  /** a number from 0 to 1 */
  readonly random: () => number;
  /** the version that answers; null: none does, or all calls fail */
  readonly version: () => Version | null;
  /** Whether a routing function, asked for an entry's clients, may name a database. */
  readonly mayName: (entry: string, name: string) => boolean;
  /** Asks the functions beside the clients' queries. `done` is not called if they can't be asked. */
  readonly ask: (call: HostCall, done: (answer: HostAnswer) => void) => void;
  /** The functions gave two answers to one question: what they decide can't be remembered. */
  readonly onDiffered: (remembered: string, evaluated: string) => void;
  /** A call tried to change something that outlives it: what the functions decide can't be remembered. */
  readonly onChanged: (why: string) => void;
}

export class Recall {
  readonly #options: RecallOptions;
  readonly #memory: Memory;
  /** by the hash of a version, why its decisions are not remembered any more */
  readonly #forbidden = new Map<string, string>();
  #epoch = 0;
  #hits = 0;
  #misses = 0;
  /** hits until the next one that is checked */
  #untilCheck = 0;
  /** the next hit is checked: the first one, and the first one each second */
  #isDue = true;

  constructor(options: RecallOptions) {
    this.#options = options;
    this.#memory = new Memory(options.room, options.limit);
  }

  /** Changes when everything is forgotten: an answer to a question of an earlier epoch is not kept. */
  get epoch(): number {
    return this.#epoch;
  }

  /** @param version the one that serves, whether calls fail or not; null: none */
  observe(version: Version | null): RecallSnapshot {
    const { entries, bytes } = this.#memory;
    return { remembered: this.#inWords(version), hits: this.#hits, misses: this.#misses, entries, bytes };
  }

  #inWords(version: Version | null): string {
    if (version === null) return '';
    if (this.#options.room.maxBytes === 0) return 'no: user_function_cache is 0';
    if (this.#options.limit() === 0) return 'no: cache is 0';
    const { remembered } = version;
    return remembered.yes ? 'yes' : `no: ${remembered.why}`;
  }

  /** @returns null: the functions must be asked */
  find(question: Question): Decision | null {
    const { version, room, limit, mayName } = this.#options;
    if (room.maxBytes === 0 || limit() === 0) return null;
    const serving = version();
    if (serving === null || !serving.isRemembered) return null;
    const decision = this.#lookUp(serving, question);
    // a database may have gone since
    const isGone =
      decision?.kind === 'go' && decision.dbkey !== null && !mayName(question.entry, decision.dbkey);
    if (decision === null || isGone) {
      this.#misses++;
      return null;
    }
    this.#hits++;
    if (--this.#untilCheck <= 0 || this.#isDue) this.#check(serving, question.call(), decision);
    return decision;
  }

  #lookUp(version: Version, question: Question): Decision | null {
    if (this.#memory.entries === 0) return null;
    const shape = shapeFor(version, question);
    if (shape === null) return this.#memory.find(question);
    const decision = this.#memory.find(question, shape.text);
    return decision === null ? null : decisionWith(decision, shape, question.query, version.code.maxResult);
  }

  /** The functions have decided. Failures are not kept: a basis is the mark of an answer. */
  keep(call: HostCall, answer: HostAnswer, decision: Decision): void {
    const { version, room } = this.#options;
    const { rewrite, route, basis, changed } = answer;
    if (changed !== undefined && call.epoch === this.#epoch) return this.#noteChanged(version(), changed);
    if (basis === undefined || call.epoch !== this.#epoch || room.maxBytes === 0) return;
    if (isFailure(rewrite) || isFailure(route)) return;
    if (version()?.isRemembered !== true) return;
    const [seen, given] = asSeen(call, answer, decision);
    this.#memory.keep(seen, basis, given);
  }

  /** Another version answers, or the same with other settings or elsewhere. */
  noteInstalled(version: Version): void {
    const why = this.#forbidden.get(version.hash);
    if (why !== undefined) version.forbidRemembering(why);
  }

  /** Nothing that was decided counts any more. */
  forget(): void {
    this.#epoch++;
    this.#isDue = true;
    this.#memory.clear();
  }

  #check(version: Version, call: HostCall, decision: Decision): void {
    this.#planCheck();
    const epoch = this.#epoch;
    this.#options.ask(call, (answer) => {
      if (epoch !== this.#epoch) return;
      if (answer.changed !== undefined) return this.#noteChanged(version, answer.changed);
      const evaluated = differenceOf(call, decision, answer);
      if (evaluated === null) return;
      this.#forbid(version, DIFFERED);
      this.#options.onDiffered(inWords(decision), evaluated);
    });
  }

  #noteChanged(version: Version | null, why: string): void {
    if (version?.isRemembered !== true) return;
    this.#forbid(version, printable(why));
    this.#options.onChanged(printable(why));
  }

  #forbid(version: Version, why: string): void {
    this.#forbidden.set(version.hash, why);
    version.forbidRemembering(why);
    this.forget();
  }

  /** Checks come at random: a regular interval could miss every query of a kind. */
  #planCheck(): void {
    this.#untilCheck = 1 + Math.floor(this.#options.random() * 2 * MEMORY.checkEvery);
    this.#isDue = false;
    this.#options.clock.after(MEMORY.checkMs, () => {
      this.#isDue = true;
    });
  }
}

function isFailure(part: Part): boolean {
  return part !== null && 'failure' in part;
}
