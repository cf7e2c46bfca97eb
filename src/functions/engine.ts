import ivm from 'isolated-vm';
import {
  cutOff,
  type FailureOutcome,
  type HostAnswer,
  type HostCall,
  type LoadResult,
  type Part,
  type VersionCode,
} from './host.ts';
import { packAnswers, packCalls, unpackAnswers, unpackCalls, unpackPart } from './packing.ts';

/** How long the few lines of ours that follow a deadline may take. */
const PROGRESS_MS = 50;
/** Loading compiles and runs a bundle's top level: longer than a call, but not for ever. */
const LOAD_MS = 2_000;

/**
 * For a batch together. Every crossing leaves a timer behind in isolated-vm, and long ones pile up until popping them
 * overflows its stack; what takes longer is run again alone, with all the time that a call has.
 */
const MAX_BATCH_MS = 100;
/**
 * A deadline may be late by a quarter, and so many ms at most. isolated-vm's timer thread wakes for each timer, also those
 * of crossings that came back long ago, unless they are due at about the same time: then once for all of them.
 */
const MAX_LATE_MS = 25;
/**
 * Whoever was cut off without having had the processor for half of its time is run again alone, with twice the time,
 * this often: 16 deadlines by the clock. What hangs uses its share long before that, on whatever busy machine.
 */
const MAX_STARVED = 4;

/** A batch is given up after this many calls that had to be cut off: others are waiting. */
const MAX_CUTS = 4;

/** What an error may say, in characters. */
const MAX_TEXT = 500;
const MAX_STACK = 2_000;

interface Loaded {
  readonly version: VersionCode;
  readonly verdict: LoadResult;
  readonly isolate: ivm.Isolate;
  readonly evaluate: ivm.Reference<(packed: string) => string>;
  readonly progress: ivm.Reference<() => string>;
}

/** isolated-vm's limits say only by their text which one it was. */
function outcomeOf(error: Error, isolate: ivm.Isolate): FailureOutcome {
  if (/timed out/i.test(error.message)) return 'deadline';
  if (isolate.isDisposed || /memory|allocation/i.test(error.message)) return 'memory';
  return 'threw';
}

/** Whether the call at which a crossing of so many was cut off is to blame: the deadline is for each call by itself. */
function hadItsTime(
  outcome: FailureOutcome,
  calls: number,
  limitMs: number,
  timeoutMs: number,
  ranMs: number,
): boolean {
  if (outcome !== 'deadline') return calls === 1;
  return limitMs >= timeoutMs && (calls === 1 || ranMs >= timeoutMs * 0.95);
}

/** The limit in whole ms, so that the deadlines of many crossings meet. */
function alignedMs(limitMs: number): number {
  const grid = Math.min(MAX_LATE_MS, Math.max(1, Math.floor(limitMs / 4)));
  const now = performance.now();
  return Math.ceil(Math.ceil((now + limitMs) / grid) * grid - now);
}

/** A crossing that did not come back by itself. */
interface Cut {
  readonly error: Error;
  /** CPU time that it has had, in ms */
  readonly usedMs: number;
}

/** CPU time of this process, in ms. An isolate's own `cpuTime` goes on while it waits for a processor. */
function processorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e3;
}

/** By the clock, and by the processor: asking the kernel is too dear to be done for each crossing. */
let markedAt = -Infinity;
let markedMs = 0;

/** One crossing. */
function attempt({ evaluate }: Loaded, packed: string, limitMs: number): string | Cut {
  const now = performance.now();
  if (now - markedAt > limitMs / 20) {
    markedAt = now;
    markedMs = processorMs();
  }
  try {
    return evaluate.applySync(undefined, [packed], { timeout: alignedMs(limitMs) }) as string;
  } catch (error) {
    return { error: error as Error, usedMs: processorMs() - markedMs };
  }
}

/**
 * The isolates of one process: loads versions, and runs batches in one crossing each. It is used in the proxy (inline)
 * and in a sandbox host process alike.
 */
export class Engine {
  readonly #prelude: string;
  readonly #loaded = new Map<number, Loaded>();
  /** versions that could not be built again after a fault */
  readonly #broken = new Map<number, VersionCode>();

  /** @param prelude sandbox/prelude.ts as JavaScript */
  constructor(prelude: string) {
    this.#prelude = prelude;
  }

  load(version: VersionCode): LoadResult {
    try {
      const loaded = this.#build(version);
      if (typeof loaded === 'string') return loaded;
      this.dispose(version.id);
      this.#loaded.set(version.id, loaded);
      return loaded.verdict;
    } catch (error) {
      return (error as Error).message;
    }
  }

  dispose(id: number): void {
    const loaded = this.#loaded.get(id);
    this.#loaded.delete(id);
    this.#broken.delete(id);
    if (loaded && !loaded.isolate.isDisposed) loaded.isolate.dispose();
  }

  /**
   * Runs a packed batch. Calls that were cut off are failures, and those behind them are run all the same, up to a limit.
   * @param onCut is told each time that the batch is taken up again, and how long, in ms, the next call may take
   * @returns packed answers, one for each call
   */
  run(id: number, packed: string, onCut: (nextMs: number) => void = () => {}): string {
    const broken = this.#broken.get(id);
    if (broken !== undefined) this.#rebuild(broken);
    const loaded = this.#loaded.get(id);
    const first = loaded && attempt(loaded, packed, Math.min(loaded.version.timeoutMs, MAX_BATCH_MS));
    return typeof first === 'string' ? first : this.#takeUp(id, unpackCalls(packed), first ?? null, onCut);
  }

  /** @param first how the attempt to run all of them at once ended */
  #takeUp(
    id: number,
    calls: readonly HostCall[],
    first: Cut | null,
    onCut: (nextMs: number) => void,
  ): string {
    const answers: HostAnswer[] = [];
    let cut = first;
    let consoleText = '';
    // the next call has a crossing of its own; or all that are left have
    let alone = false;
    let oneByOne = false;
    let starved = 0;
    let cuts = 0;
    // what became of the next call's rewriting, when that was cut off: its routing is asked all the same
    let cutRewrite: Part = null;
    while (answers.length < calls.length) {
      const loaded = this.#loaded.get(id);
      if (loaded === undefined) {
        while (answers.length < calls.length)
          answers.push(cutOff('no_version', 'no valid version is loaded'));
        break;
      }
      if (cuts >= MAX_CUTS && cutRewrite === null) {
        while (answers.length < calls.length)
          answers.push(cutOff('overloaded', 'too many calls of its batch were cut off'));
        break;
      }
      const { timeoutMs } = loaded.version;
      alone ||= oneByOne;
      const next = calls[answers.length]!;
      const rest =
        cutRewrite !== null ? [{ ...next, routeOnly: true }] : alone ? [next] : calls.slice(answers.length);
      const limitMs = alone ? timeoutMs * 2 ** starved : Math.min(timeoutMs, MAX_BATCH_MS);
      const ended = cut ?? attempt(loaded, packCalls(rest), limitMs);
      cut = null;
      if (typeof ended === 'string') {
        const result = unpackAnswers(ended);
        if (cutRewrite === null) answers.push(...result.answers);
        else answers.push({ rewrite: cutRewrite, route: result.answers[0]!.route });
        cutRewrite = null;
        consoleText += result.consoleText;
        alone = false;
        starved = 0;
        continue;
      }
      const { error, usedMs } = ended;
      const outcome = outcomeOf(error, loaded.isolate);
      const before = this.#progress(loaded);
      // Cut off behind the last answer: microtasks that never end. It is the last call then.
      if (before !== null) answers.push(...before.answers.slice(0, rest.length - 1));
      const wasStarved = outcome === 'deadline' && usedMs < Math.min(limitMs, timeoutMs) / 2;
      if (wasStarved && ++starved > MAX_STARVED) {
        answers.push(cutOff('starved', 'the machine had no time for it'));
        cutRewrite = null;
        starved = 0;
      } else if (!wasStarved && hadItsTime(outcome, rest.length, limitMs, timeoutMs, before?.ranMs ?? 0)) {
        cuts++;
        starved = 0;
        const failed = cutOff(outcome, error.message.slice(0, MAX_TEXT));
        const half = before?.half ?? null;
        if (half === '' && cutRewrite === null) {
          cutRewrite = failed.rewrite;
          alone = true;
        } else {
          const rewrite = cutRewrite ?? (half === null ? failed.rewrite : unpackPart(half));
          answers.push({ rewrite, route: failed.route });
          cutRewrite = null;
        }
      } else if (before === null) oneByOne = true;
      else alone = true;
      // whatever it left behind, microtasks above all, must not reach the next call
      this.#rebuild(loaded.version);
      if (answers.length < calls.length) onCut(loaded.version.timeoutMs * 2 ** starved);
    }
    return packAnswers(answers, consoleText);
  }

  /** `half`: what rewriting gave, when the call was cut off in its routing; '' when before that */
  #progress(loaded: Loaded): { ranMs: number; half: string; answers: HostAnswer[] } | null {
    if (loaded.isolate.isDisposed) return null;
    try {
      const text = loaded.progress.applySync(undefined, [], { timeout: PROGRESS_MS }) as string;
      const ran = text.indexOf('\0');
      const end = text.indexOf('\0', ran + 1);
      const rest = text.slice(end + 1);
      return {
        ranMs: Number(text.slice(0, ran)),
        half: text.slice(ran + 1, end),
        answers: rest === '' ? [] : unpackAnswers(`${rest}\0`).answers,
      };
    } catch {
      return null;
    }
  }

  #rebuild(version: VersionCode): void {
    this.dispose(version.id);
    const next = this.#build(version);
    if (typeof next === 'string') this.#broken.set(version.id, version);
    else this.#loaded.set(version.id, next);
  }

  #build(version: VersionCode): Loaded | string {
    const isolate = new ivm.Isolate({ memoryLimit: Math.max(8, version.memoryLimitMb) });
    try {
      const context = isolate.createContextSync();
      const install = context.evalSync(this.#prelude, {
        reference: true,
        filename: 'prelude.js',
      }) as ivm.Reference<(max: number) => object>;
      const calls = install.applySync(undefined, [version.maxResult], {
        result: { reference: true },
      }) as ivm.Reference;
      const activate = calls.getSync('activate', { reference: true }) as ivm.Reference<
        (names: string) => string
      >;
      const evaluate = calls.getSync('evaluate', { reference: true }) as Loaded['evaluate'];
      const progress = calls.getSync('progress', { reference: true }) as Loaded['progress'];
      // What the top level throws stays inside: it is described there, where a getter that never returns is cut off.
      const code = `"use strict";try{${version.code}\n}catch(e){var __pgswitchyard_failed=[e]}`;
      context.evalSync(code, { filename: 'bundle.js', timeout: version.loadMs ?? LOAD_MS });
      const verdict = activate.applySync(undefined, [version.databases.join('\0')], {
        timeout: version.loadMs ?? LOAD_MS,
      }) as string;
      if (!verdict.startsWith('ok')) {
        isolate.dispose();
        return verdict;
      }
      return { version, verdict, isolate, evaluate, progress };
    } catch (error) {
      if (!isolate.isDisposed) isolate.dispose();
      const { message, stack } = error as Error;
      return `${message.slice(0, MAX_TEXT)}\u0001${(stack ?? '').slice(-MAX_STACK)}`;
    }
  }
}
