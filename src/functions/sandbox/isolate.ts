/** One isolate with the prelude and a version's functions in it. */
import ivm from 'isolated-vm';
import { BLANK_CONTEXT, type RoutingContext } from '../../../sandbox/context.ts';
import type { Activation, Prelude, Progress } from '../../../sandbox/crossing.ts';
import type { PreludeLimits } from '../../../sandbox/prelude/limits.ts';
import { ENGINE, ISOLATE, TEXT } from '../limits.ts';
import { cutBy, type Cut } from './cut.ts';
import type { HostAnswer, Part } from './call.ts';
import type { VersionCode } from './host.ts';
import { refused, type LoadRefusal, type Manifest } from './load-result.ts';
import { unpackAnswers, unpackPart } from './packing.ts';
import type { ProcessorClock } from './processor-clock.ts';

/** The prelude's functions, fetched before the bundle runs. */
type References = { readonly [Name in keyof Prelude]: ivm.Reference<Prelude[Name]> };

/** The progress of a batch that was cut off. */
export interface Halfway {
  /** how long the call that was cut off had run, in ms */
  readonly ranMs: number;
  /** the result of its rewriting; undefined: it was cut off before that */
  readonly rewrite: Part | undefined;
  /** of the calls before it */
  readonly answers: readonly HostAnswer[];
  /** the lines that those calls have printed */
  readonly consoleText: string;
}

export class Isolate {
  readonly version: VersionCode;
  readonly manifest: Manifest;
  readonly #isolate: ivm.Isolate;
  readonly #calls: References;
  readonly #clock: ProcessorClock;
  #heapBytes = 0;
  /** when that was measured, by performance.now() */
  #measuredAt = -Infinity;

  private constructor(
    version: VersionCode,
    manifest: Manifest,
    isolate: ivm.Isolate,
    calls: References,
    clock: ProcessorClock,
  ) {
    this.version = version;
    this.manifest = manifest;
    this.#isolate = isolate;
    this.#calls = calls;
    this.#clock = clock;
  }

  /** Runs the prelude, then the version's top level. Both its error and its functions stay inside. */
  static build(prelude: string, version: VersionCode, clock: ProcessorClock): Isolate | LoadRefusal {
    const isolate = new ivm.Isolate({ memoryLimit: Math.max(ENGINE.minHeapMb, version.memoryLimitMb) });
    try {
      const timeout = version.loadMs ?? ENGINE.loadMs;
      const context = isolate.createContextSync();
      const calls = installPrelude(context, prelude, version);
      context.evalSync(guardedTopLevel(version.code), { filename: 'bundle.js', timeout });
      const activation = JSON.parse(
        calls.activate.applySync(undefined, [contextOf(version)], { timeout }),
      ) as Activation;
      if (activation.kind === 'loaded')
        return new Isolate(version, activation.manifest, isolate, calls, clock);
      isolate.dispose();
      return refused('mistake', activation.message, activation.stack);
    } catch (error) {
      if (!isolate.isDisposed) isolate.dispose();
      return refusalBy(error as Error);
    }
  }

  /**
   * One crossing: packed calls in, packed answers out.
   * @param latePart the part of the limit by which its end may be late
   */
  cross(packed: string, limitMs: number, latePart: number = ENGINE.latePart): string | Cut {
    this.#clock.mark(limitMs * ENGINE.markPart);
    try {
      return this.#calls.evaluate.applySync(undefined, [packed], { timeout: alignedMs(limitMs, latePart) });
    } catch (error) {
      return cutBy(error as Error, this.#isolate.isDisposed, this.#clock.sinceMark(), this.version);
    }
  }

  /** The progress of a crossing that was cut off. Null: unknown. */
  halfway(): Halfway | null {
    if (this.#isolate.isDisposed) return null;
    try {
      const text = this.#calls.progress.applySync(undefined, [], { timeout: ENGINE.progressMs });
      if (text === '') return null;
      const { ranMs, rewritten, answers, printed } = JSON.parse(text) as Progress;
      return {
        ranMs,
        rewrite: rewritten === '' ? undefined : unpackPart(rewritten),
        answers: answers === '' ? [] : unpackAnswers(`${answers}\0`).answers,
        consoleText: printed,
      };
    } catch {
      return null;
    }
  }

  /** Bytes that it holds, its buffers included. */
  heapBytes(): number {
    if (this.#isolate.isDisposed) return 0;
    const now = performance.now();
    if (now - this.#measuredAt > ENGINE.measureMs) {
      const heap = this.#isolate.getHeapStatisticsSync();
      this.#heapBytes = heap.total_heap_size + heap.malloced_memory + heap.externally_allocated_size;
      this.#measuredAt = now;
    }
    return this.#heapBytes;
  }

  dispose(): void {
    if (!this.#isolate.isDisposed) this.#isolate.dispose();
  }
}

function installPrelude(
  context: ivm.Context,
  prelude: string,
  { maxResult, isPure = false, changed = '' }: VersionCode,
): References {
  const install = context.evalSync(prelude, {
    reference: true,
    filename: 'prelude.js',
  }) as ivm.Reference<(limits: string) => Prelude>;
  const limits: PreludeLimits = { ...ISOLATE, maxResult, isPure, changed };
  const calls = install.applySync(undefined, [JSON.stringify(limits)], { result: { reference: true } });
  const fetch = (name: keyof Prelude): unknown => calls.getSync(name, { reference: true });
  return {
    activate: fetch('activate'),
    evaluate: fetch('evaluate'),
    progress: fetch('progress'),
  } as References;
}

/**
 * A bundle has all modules that it names as such. Without a `require`, esbuild's code would make a Proxy for modules with
 * names that are computed.
 */
const REQUIRE =
  'const require=(name)=>{throw new TypeError(`require(${JSON.stringify(name)}) is not available: a user function imports files by names that are written out`)};';

/**
 * Keeps an error of the top level inside the isolate: the prelude describes it there, where a getter that never returns is cut
 * off. The prelude created the name before, as a plain property that can't be turned into an accessor.
 */
function guardedTopLevel(code: string): string {
  return `"use strict";${REQUIRE}try{${code}\n}catch(e){__pgswitchyard_failed=[e]}void 0`;
}

/** ctx of calls that bring none, and the values of fields that calls leave out. */
function contextOf({ databases }: VersionCode): string {
  const [database = ''] = databases;
  return JSON.stringify({
    ...BLANK_CONTEXT,
    database,
    login_database: database,
    databases,
  } satisfies RoutingContext);
}

function refusalBy({ message, stack = '' }: Error): LoadRefusal {
  const isOffence = /^(?:Script execution timed out|Isolate was disposed)/.test(message);
  return refused(
    isOffence ? 'offence' : 'mistake',
    message.slice(0, TEXT.maxMessage),
    stack.slice(-TEXT.maxStack),
  );
}

/** A limit in whole ms that ends together with those of other crossings (ENGINE.maxLateMs). */
function alignedMs(limitMs: number, latePart: number): number {
  const grid = Math.min(ENGINE.maxLateMs, Math.max(1, Math.floor(limitMs * latePart)));
  const now = performance.now();
  return Math.ceil(Math.ceil((now + limitMs) / grid) * grid - now);
}
