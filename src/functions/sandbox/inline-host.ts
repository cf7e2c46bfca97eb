/** Isolates in the proxy's own process: fast, and only as safe as isolated-vm's limits (docs/sandbox.md). */
import { Engine } from './engine.ts';
import { cutOff, type HostCall } from './call.ts';
import type { OnAnswers, OnUsed, SandboxHost, VersionCode } from './host.ts';
import type { LoadResult } from './load-result.ts';
import { CallPacker, unpackAnswers } from './packing.ts';
import { threadCpuMs } from './processor-clock.ts';

export class InlineHost implements SandboxHost {
  readonly isInline = true;
  readonly #engine: Engine;
  readonly #packer = new CallPacker();
  readonly #onUsed: OnUsed;

  constructor(prelude: string, onUsed: OnUsed) {
    this.#engine = new Engine(prelude);
    this.#onUsed = onUsed;
  }

  load(version: VersionCode): Promise<LoadResult> {
    const from = threadCpuMs();
    const result = this.#engine.load(version);
    this.#onUsed(version.id, threadCpuMs() - from);
    return Promise.resolve(result);
  }

  evaluate(versionId: number, calls: readonly HostCall[], done: OnAnswers): void {
    const from = threadCpuMs();
    const packed = this.#engine.run(versionId, this.#packer.pack(calls));
    const cpuMs = threadCpuMs() - from;
    this.#onUsed(versionId, cpuMs);
    const { answers, consoleText } = unpackAnswers(packed);
    if (answers.length === 0 && calls.length === 1)
      answers.push(cutOff('overloaded', 'its isolate could not be built again'));
    done(answers, consoleText, { cpuMs, heapBytes: this.#engine.heapBytes(versionId) });
  }

  dispose(versionId: number): void {
    this.#engine.dispose(versionId);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}
