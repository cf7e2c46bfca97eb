/** Isolates in the proxy's own process: fast, and only as safe as isolated-vm's limits (docs/sandbox.md). */
import { Engine } from './engine.ts';
import { cutOff, type HostAnswer, type HostCall } from './call.ts';
import type { SandboxHost, VersionCode } from './host.ts';
import type { LoadResult } from './load-result.ts';
import { CallPacker, unpackAnswers } from './packing.ts';

export class InlineHost implements SandboxHost {
  readonly isInline = true;
  readonly #engine: Engine;
  readonly #packer = new CallPacker();

  constructor(prelude: string) {
    this.#engine = new Engine(prelude);
  }

  load(version: VersionCode): Promise<LoadResult> {
    return Promise.resolve(this.#engine.load(version));
  }

  evaluate(
    versionId: number,
    calls: readonly HostCall[],
    done: (answers: readonly HostAnswer[], consoleText: string) => void,
  ): void {
    const { answers, consoleText } = unpackAnswers(this.#engine.run(versionId, this.#packer.pack(calls)));
    if (answers.length === 0 && calls.length === 1)
      answers.push(cutOff('overloaded', 'its isolate could not be built again'));
    done(answers, consoleText);
  }

  dispose(versionId: number): void {
    this.#engine.dispose(versionId);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}
