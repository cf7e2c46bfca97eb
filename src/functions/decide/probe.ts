/** The proxy's own query, which finds out whether a suspended tenant works again. No client can make it fail. */
import type { HostCall } from '../sandbox/call.ts';
import type { VersionCode } from '../sandbox/host.ts';
import type { Breaker } from './breaker.ts';
import { outcomesOf, wasAsked } from './costs.ts';
import type { Serving } from './pending.ts';
import { evaluate } from './shaped.ts';

export interface ProbeOptions {
  readonly breaker: Breaker;
  /** the version that serves now; null: none */
  readonly serving: () => Serving | null;
  /** The query has ended, and the breaker knows its result. */
  readonly onEnded: () => void;
}

export class Probe {
  readonly #options: ProbeOptions;
  #isRunning = false;

  constructor(options: ProbeOptions) {
    this.#options = options;
  }

  /** Calls wait in the meantime. */
  get isRunning(): boolean {
    return this.#isRunning;
  }

  run(version: Serving): void {
    const { breaker, serving, onEnded } = this.#options;
    this.#isRunning = true;
    evaluate(version, version.host, [ownCall(version.code)], ([answer]) => {
      this.#isRunning = false;
      const now = performance.now();
      // A missing answer tells as little as a call that could not be made.
      if (answer === undefined || !wasAsked(answer)) breaker.postpone(now);
      else if (serving()?.id === version.id) breaker.tried(outcomesOf(answer).length === 0, now);
      onEnded();
    });
  }
}

function ownCall({ databases: [database] }: VersionCode): HostCall {
  return { username: 'pgswitchyard', query: 'SELECT 1', inTransaction: false, context: { database } };
}
