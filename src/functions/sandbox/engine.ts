/** The isolates of one process: in the proxy (inline) and in a sandbox process alike. */
import { CHANGED } from '../../../sandbox/crossing.ts';
import { ENGINE, PLACEMENT, TEXT } from '../limits.ts';
import { batchLimitMs, failedBy, isToBlame, wasStarved, type Cut } from './cut.ts';
import { cutOff, type HostAnswer, type HostCall, type Part } from './call.ts';
import type { VersionCode } from './host.ts';
import { Isolate, type Halfway } from './isolate.ts';
import { refused, type LoadRefusal, type LoadResult } from './load-result.ts';
import { CallPacker, packAnswers, unpackAnswers, unpackCalls } from './packing.ts';
import { ProcessorClock } from './processor-clock.ts';

const NO_ANSWERS = packAnswers([], '');

/** Called each time that a call is begun again, with the time that it may take, in ms. */
type OnCut = (nextMs: number) => void;

/** How a batch in a shared process ended (protocol.ts). */
type SliceEnd = 'answers' | 'cut' | 'starved' | 'unloaded';

/** The outcome of one call that ran by itself. */
interface Alone {
  /** null: its isolate could not be rebuilt */
  readonly answer: HostAnswer | null;
  readonly consoleText: string;
}

/** Loads versions, and runs batches in one crossing each. */
export class Engine {
  readonly #prelude: string;
  readonly #clock = new ProcessorClock();
  readonly #packer = new CallPacker();
  /** by version */
  readonly #isolates = new Map<number, Isolate>();
  /** versions whose isolate could not be rebuilt after a fault */
  readonly #broken = new Map<number, VersionCode>();
  /** why versions that were found pure are not, by what a call did in a slice */
  readonly #changed = new Map<number, string>();

  /** @param prelude the script that each isolate begins with (programs.ts) */
  constructor(prelude: string) {
    this.#prelude = prelude;
  }

  load(version: VersionCode): LoadResult {
    try {
      const changed = this.#changed.get(version.id);
      const built = this.#build(changed === undefined ? version : unfrozen(version, changed));
      if (!(built instanceof Isolate)) return built;
      this.#forget(version.id);
      this.#isolates.set(version.id, built);
      return { kind: 'loaded', manifest: built.manifest };
    } catch (error) {
      return refused('mistake', (error as Error).message.slice(0, TEXT.maxMessage));
    }
  }

  dispose(id: number): void {
    this.#changed.delete(id);
    this.#forget(id);
  }

  #forget(id: number): void {
    this.#isolates.get(id)?.dispose();
    this.#isolates.delete(id);
    this.#broken.delete(id);
  }

  /** Bytes that a version's isolate holds, its buffers included; 0: no isolate. */
  heapBytes(id: number): number {
    return this.#isolates.get(id)?.heapBytes() ?? 0;
  }

  /**
   * Runs a packed batch. It ends early after a call that was cut off, or if the isolate can't be rebuilt; the prelude ends it
   * when its time is used up or it has enough answers.
   * @returns packed answers of the first calls, possibly of none, and the printed lines
   */
  run(id: number, packed: string, onCut: OnCut = () => {}): string {
    const broken = this.#broken.get(id);
    if (broken !== undefined) this.#rebuild(broken, onCut);
    const isolate = this.#isolates.get(id);
    if (isolate === undefined) return NO_ANSWERS;
    const ended = isolate.cross(packed, batchLimitMs(isolate.version));
    if (typeof ended !== 'string') return this.#afterCut(isolate, unpackCalls(packed), ended, onCut);
    if (ended[0] !== CHANGED) return ended;
    this.#unfreeze(isolate.version, ended, onCut);
    return this.run(id, packed, onCut);
  }

  /**
   * A call tried to change something that outlives it. That was frozen, so nothing has happened: the caller runs the batch again
   * where nothing is frozen. Each answer brings the reason from now on.
   * @param changed CHANGED and the reason
   */
  #unfreeze(version: VersionCode, changed: string, onCut: OnCut): void {
    this.#rebuild(unfrozen(version, changed.slice(CHANGED.length)), onCut);
  }

  /**
   * Runs a packed batch in a shared process, for as long as a slice. The call that does not end within it is not to blame: it
   * is run again elsewhere, or here in a longer slice. Its isolate is built again when it is needed. One without
   * freezing is not built here: the version must be loaded again for that, which is a job of its own.
   * @returns packed answers of the first calls, and what happened to the next one
   */
  runSlice(
    id: number,
    packed: string,
    sliceMs: number,
  ): { readonly answers: string; readonly kind: SliceEnd } {
    const broken = this.#broken.get(id);
    if (broken !== undefined) this.#rebuild(broken, () => {});
    const isolate = this.#isolates.get(id);
    if (isolate === undefined) return { answers: NO_ANSWERS, kind: 'answers' };
    const { version } = isolate;
    const limitMs = Math.min(sliceMs, version.timeoutMs);
    const ended = isolate.cross(packed, limitMs, PLACEMENT.sliceLatePart);
    if (typeof ended === 'string' && ended[0] === CHANGED) {
      // the batch is run again, where nothing is frozen
      const changed = ended.slice(CHANGED.length);
      this.#forget(id);
      this.#changed.set(id, changed);
      return { answers: NO_ANSWERS, kind: 'unloaded' };
    }
    if (typeof ended === 'string') return { answers: ended, kind: 'answers' };
    // answers given before stand
    const halfway = isolate.halfway();
    const answers = (halfway?.answers ?? []).slice(0, unpackCalls(packed).length - 1);
    this.#break(version);
    return {
      answers: packAnswers(answers, halfway?.consoleText ?? ''),
      kind: wasStarved(ended, limitMs) ? 'starved' : 'cut',
    };
  }

  /**
   * The crossing of a batch was cut off. Answers given before stand. The running call is to blame only if it had its full
   * time, on a processor: otherwise it is run again, alone.
   */
  #afterCut(isolate: Isolate, calls: readonly HostCall[], cut: Cut, onCut: OnCut): string {
    const { version } = isolate;
    const halfway = isolate.halfway();
    if (halfway === null && calls.length > 1) {
      // It is unknown which call it was: the batcher sends the calls again one by one.
      this.#rebuild(version, onCut);
      return NO_ANSWERS;
    }
    // If the cut came after the last answer, in endless microtasks, the last call counts as the running one.
    const answers = (halfway?.answers ?? []).slice(0, calls.length - 1);
    const call = calls[answers.length]!;
    const printed = halfway?.consoleText ?? '';
    if (isToBlame(cut, calls.length, halfway?.ranMs ?? 0, version))
      return packAnswers([...answers, this.#afterBlame(version, call, cut, halfway, onCut)], printed);
    // leftovers of the call, such as microtasks, must not reach the next one
    this.#rebuild(version, onCut);
    const starved = wasStarved(cut, batchLimitMs(version)) ? 1 : 0;
    const { answer, consoleText } = this.#runAlone(version, call, starved, onCut);
    const lines = [printed, consoleText].filter((each) => each !== '').join('\n');
    return packAnswers(answer === null ? answers : [...answers, answer], lines);
  }

  /**
   * Runs one call by itself, with the full time of a call, and again with twice the time if it did not have a processor.
   * @param starved how often that has happened before
   */
  #runAlone(version: VersionCode, call: HostCall, starved: number, onCut: OnCut): Alone {
    const packed = this.#packer.pack([call]);
    for (let times = starved; times <= ENGINE.maxStarved; times++) {
      const isolate = this.#isolates.get(version.id);
      if (isolate === undefined) return { answer: null, consoleText: '' };
      const limitMs = version.timeoutMs * 2 ** times;
      onCut(limitMs);
      let ended = isolate.cross(packed, limitMs);
      if (typeof ended === 'string') {
        if (ended[0] === CHANGED) {
          this.#unfreeze(version, ended, onCut);
          ended = this.run(version.id, packed, onCut);
        }
        const { answers, consoleText } = unpackAnswers(ended);
        return { answer: answers[0] ?? null, consoleText };
      }
      const halfway = isolate.halfway();
      if (!wasStarved(ended, version.timeoutMs))
        return { answer: this.#afterBlame(version, call, ended, halfway, onCut), consoleText: '' };
      this.#rebuild(version, onCut);
    }
    return { answer: cutOff('starved', 'the machine had no time for it'), consoleText: '' };
  }

  /**
   * The answer of a call that was cut off through its own fault. If the fault was in its rewriting, its routing is asked
   * nevertheless; if it was in its routing, the rewriting stands.
   * @param halfway null: the place of the fault is unknown
   */
  #afterBlame(
    version: VersionCode,
    call: HostCall,
    cut: Cut,
    halfway: Halfway | null,
    onCut: OnCut,
  ): HostAnswer {
    this.#rebuild(version, onCut);
    const failed = failedBy(cut);
    if (halfway === null || call.routeOnly) return failed;
    if (halfway.rewrite !== undefined) return { rewrite: halfway.rewrite, route: failed.route };
    const { answer } = this.#runAlone(version, { ...call, routeOnly: true }, 0, onCut);
    return { rewrite: failed.rewrite, route: answer === null ? notAsked() : answer.route };
  }

  #rebuild(version: VersionCode, onCut: OnCut): void {
    onCut(ENGINE.loadMs);
    this.#forget(version.id);
    const built = this.#build(version);
    if (built instanceof Isolate) this.#isolates.set(version.id, built);
    else this.#broken.set(version.id, version);
  }

  /** Its isolate can't be used any more, and is not built again yet. */
  #break(version: VersionCode): void {
    this.#forget(version.id);
    this.#broken.set(version.id, version);
  }

  #build(version: VersionCode): Isolate | LoadRefusal {
    return Isolate.build(this.#prelude, version, this.#clock);
  }
}

/** The version without freezing: each of its answers brings the reason. */
function unfrozen(version: VersionCode, changed: string): VersionCode {
  return { ...version, isPure: false, changed };
}

/** Null would be an answer, and routing has not answered. */
function notAsked(): Part {
  return cutOff('overloaded', 'its isolate could not be built again').route;
}
