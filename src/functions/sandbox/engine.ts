import ivm from 'isolated-vm';
import {
  cutOff,
  type FailureOutcome,
  type HostAnswer,
  type HostCall,
  type Part,
  type VersionCode,
} from './host.ts';
import { packAnswers, packCalls, unpackAnswers, unpackCalls, unpackPart } from './packing.ts';
import { ENGINE, TEXT } from '../limits.ts';

interface Loaded {
  readonly version: VersionCode;
  /** as the prelude gave it (load-result.ts) */
  readonly verdict: string;
  readonly isolate: ivm.Isolate;
  readonly evaluate: ivm.Reference<(packed: string) => string>;
  readonly progress: ivm.Reference<() => string>;
  /** what it holds, as it was measured last, and when that was (performance.now()) */
  heapBytes: number;
  measuredAt: number;
}

/** isolated-vm's limits say only by their text which one it was. */
function outcomeOf(error: Error, isolate: ivm.Isolate): FailureOutcome {
  if (/timed out/i.test(error.message)) return 'deadline';
  if (isolate.isDisposed || /memory|allocation/i.test(error.message)) return 'memory';
  return 'threw';
}

/** In the words of the options that set the limits. */
function complaintOf(
  outcome: FailureOutcome,
  error: Error,
  { timeoutMs, memoryLimitMb }: VersionCode,
): string {
  if (outcome === 'deadline') return `took longer than user_function_timeout (${timeoutMs} ms)`;
  if (outcome === 'memory') return `needed more memory than user_function_memory_limit (${memoryLimitMb} MB)`;
  return error.message.slice(0, TEXT.maxMessage);
}

/** Whether the call at which a crossing of so many was cut off is to blame: the deadline is for each call by itself. */
function hadItsTime(
  outcome: FailureOutcome,
  calls: number,
  limitMs: number,
  timeoutMs: number,
  ranMs: number,
): boolean {
  // What an isolate holds may be left from earlier calls: in the next one this call is alone.
  if (outcome !== 'deadline') return false;
  return limitMs >= timeoutMs && (calls === 1 || ranMs >= timeoutMs * 0.95);
}

/** Whether a call was cut off without having had the processor for half of its time. */
function isStarved(outcome: FailureOutcome, usedMs: number, limitMs: number): boolean {
  return outcome === 'deadline' && usedMs < limitMs / 2;
}

/** Routing that was to be asked after rewriting was cut off. Null is an answer only where there is one. */
function notAsked(answer: HostAnswer | null): Part {
  return answer === null ? cutOff('overloaded', 'its isolate could not be built again').route : null;
}

/** The limit in whole ms, so that the deadlines of many crossings meet. */
function alignedMs(limitMs: number): number {
  const grid = Math.min(ENGINE.maxLateMs, Math.max(1, Math.floor(limitMs / 4)));
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

  /** @returns a text for readLoadResult (load-result.ts) */
  load(version: VersionCode): string {
    try {
      const loaded = this.#build(version);
      if (typeof loaded === 'string') return loaded;
      this.dispose(version.id);
      this.#loaded.set(version.id, loaded);
      return loaded.verdict;
    } catch (error) {
      return (error as Error).message.slice(0, TEXT.maxMessage);
    }
  }

  dispose(id: number): void {
    const loaded = this.#loaded.get(id);
    this.#loaded.delete(id);
    this.#broken.delete(id);
    if (loaded && !loaded.isolate.isDisposed) loaded.isolate.dispose();
  }

  /**
   * Runs a packed batch. It ends early after a call that was cut off, and when the isolate cannot be built again; the
   * isolate itself ends it when it has taken its time or has answers enough (sandbox/prelude.ts).
   * @param onCut is told each time that a call is begun again, and how long, in ms, it may take
   * @returns packed answers of the first calls, and what they printed; possibly of none
   */
  run(id: number, packed: string, onCut: (nextMs: number) => void = () => {}): string {
    const broken = this.#broken.get(id);
    if (broken !== undefined) this.#rebuild(broken, onCut);
    const loaded = this.#loaded.get(id);
    if (loaded === undefined) return packAnswers([], '');
    const first = attempt(loaded, packed, Math.min(loaded.version.timeoutMs, ENGINE.maxBatchMs));
    return typeof first === 'string' ? first : this.#afterCut(loaded, packed, first, onCut);
  }

  /** Bytes that a version's isolate holds, its buffers included; 0: there is no isolate. */
  heapBytes(id: number): number {
    const loaded = this.#loaded.get(id);
    if (loaded === undefined || loaded.isolate.isDisposed) return 0;
    const now = performance.now();
    if (now - loaded.measuredAt > ENGINE.measureMs) {
      const heap = loaded.isolate.getHeapStatisticsSync();
      loaded.heapBytes = heap.total_heap_size + heap.malloced_memory + heap.externally_allocated_size;
      loaded.measuredAt = now;
    }
    return loaded.heapBytes;
  }

  /**
   * A crossing of all calls was cut off. What was answered before stands. The call that was running is to blame only if it
   * had all of its own time, and had the processor in it: otherwise it is run again, alone.
   */
  #afterCut(from: Loaded, packed: string, first: Cut, onCut: (nextMs: number) => void): string {
    const { version } = from;
    const calls = unpackCalls(packed);
    const before = this.#progress(from);
    // Cut off after the last answer: microtasks that never end. It is the last call then.
    const answers = [...(before?.answers ?? [])].slice(0, calls.length - 1);
    const outcome = outcomeOf(first.error, from.isolate);
    const limitMs = Math.min(version.timeoutMs, ENGINE.maxBatchMs);
    const isKnown = before !== null || calls.length === 1;
    const wasStarved = isStarved(outcome, first.usedMs, limitMs);
    if (
      isKnown &&
      !wasStarved &&
      hadItsTime(outcome, calls.length, limitMs, version.timeoutMs, before?.ranMs ?? 0)
    ) {
      const failed = cutOff(outcome, complaintOf(outcome, first.error, version));
      answers.push(this.#afterBlame(version, calls[answers.length]!, failed, before?.half ?? null, onCut));
      return packAnswers(answers, '');
    }
    // whatever it left behind, microtasks above all, must not reach the next call
    this.#rebuild(version, onCut);
    // nobody knows which one it was: whoever waits for the answers sends them again one by one
    if (!isKnown) return packAnswers([], '');
    const { answer, consoleText } = this.#runAlone(
      version,
      calls[answers.length]!,
      wasStarved ? 1 : 0,
      onCut,
    );
    if (answer !== null) answers.push(answer);
    return packAnswers(answers, consoleText);
  }

  /**
   * One call by itself, with all the time that a call has, and with more where it did not have the processor.
   * @returns null: its isolate could not be built again
   */
  #runAlone(
    version: VersionCode,
    call: HostCall,
    starvedBefore: number,
    onCut: (nextMs: number) => void,
  ): { answer: HostAnswer | null; consoleText: string } {
    const packed = packCalls([call]);
    for (let starved = starvedBefore; starved <= ENGINE.maxStarved; starved++) {
      const loaded = this.#loaded.get(version.id);
      if (loaded === undefined) return { answer: null, consoleText: '' };
      const limitMs = version.timeoutMs * 2 ** starved;
      onCut(limitMs);
      const ended = attempt(loaded, packed, limitMs);
      if (typeof ended === 'string') {
        const { answers, consoleText } = unpackAnswers(ended);
        return { answer: answers[0] ?? null, consoleText };
      }
      const outcome = outcomeOf(ended.error, loaded.isolate);
      const half = this.#progress(loaded)?.half ?? null;
      if (!isStarved(outcome, ended.usedMs, version.timeoutMs)) {
        const failed = cutOff(outcome, complaintOf(outcome, ended.error, version));
        return { answer: this.#afterBlame(version, call, failed, half, onCut), consoleText: '' };
      }
      this.#rebuild(version, onCut);
    }
    return { answer: cutOff('starved', 'the machine had no time for it'), consoleText: '' };
  }

  /**
   * The answer of a call that was cut off through its own fault. Where that was in its rewriting, its routing is asked all
   * the same; where it was in its routing, what rewriting gave stands.
   * @param half null: nobody knows where it was
   */
  #afterBlame(
    version: VersionCode,
    call: HostCall,
    failed: HostAnswer,
    half: string | null,
    onCut: (nextMs: number) => void,
  ): HostAnswer {
    this.#rebuild(version, onCut);
    if (half === null || call.routeOnly) return failed;
    if (half !== '') return { rewrite: unpackPart(half), route: failed.route };
    const { answer } = this.#runAlone(version, { ...call, routeOnly: true }, 0, onCut);
    return { rewrite: failed.rewrite, route: answer?.route ?? notAsked(answer) };
  }

  /** `half`: what rewriting gave, when the call was cut off in its routing; '' when before that */
  #progress(loaded: Loaded): { ranMs: number; half: string; answers: HostAnswer[] } | null {
    if (loaded.isolate.isDisposed) return null;
    try {
      const text = loaded.progress.applySync(undefined, [], { timeout: ENGINE.progressMs }) as string;
      const ran = text.indexOf('\0');
      if (ran < 0) return null;
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

  /** @param onCut hears that this takes as long as loading may */
  #rebuild(version: VersionCode, onCut: (nextMs: number) => void): void {
    onCut(ENGINE.loadMs);
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
      // The prelude has made both names before, as plain properties that nothing can turn into accessors.
      const code = `"use strict";try{${version.code}\n}catch(e){__pgswitchyard_failed=[e]}void 0`;
      context.evalSync(code, { filename: 'bundle.js', timeout: version.loadMs ?? ENGINE.loadMs });
      const verdict = activate.applySync(undefined, [version.databases.join('\0')], {
        timeout: version.loadMs ?? ENGINE.loadMs,
      }) as string;
      if (!verdict.startsWith('ok')) {
        isolate.dispose();
        return verdict;
      }
      return { version, verdict, isolate, evaluate, progress, heapBytes: 0, measuredAt: -Infinity };
    } catch (error) {
      if (!isolate.isDisposed) isolate.dispose();
      const { message, stack } = error as Error;
      return `${message.slice(0, TEXT.maxMessage)}\u0001${(stack ?? '').slice(-TEXT.maxStack)}`;
    }
  }
}
