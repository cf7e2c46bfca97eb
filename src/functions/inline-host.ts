import { Engine } from './engine.ts';
import type { HostAnswer, HostCall, LoadResult, SandboxHost, VersionCode } from './host.ts';
import { packCalls, unpackAnswers } from './packing.ts';

/** Isolates in the proxy's own process: fast, and only as safe as isolated-vm's limits (docs/sandbox.md). */
export class InlineHost implements SandboxHost {
  readonly #engine: Engine;

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
    const { answers, consoleText } = unpackAnswers(this.#engine.run(versionId, packCalls(calls)));
    done(answers, consoleText);
  }

  dispose(versionId: number): void {
    this.#engine.dispose(versionId);
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}
