/** A batcher, with hosts that answer on the test's command. */
import { DEFAULT_OPTIONS } from '../../sandbox/crossing.ts';
import { Batcher } from '../../src/functions/decide/batcher.ts';
import { Budget } from '../../src/functions/decide/budget.ts';
import type { Serving } from '../../src/functions/decide/pending.ts';
import { failureOf } from '../../src/functions/decide/policy.ts';
import type { FailureOutcome, HostAnswer, HostCall } from '../../src/functions/sandbox/call.ts';
import type { OnAnswers, SandboxHost } from '../../src/functions/sandbox/host.ts';
import type { LoadResult, Manifest } from '../../src/functions/sandbox/load-result.ts';
import { TestClock } from './tenant.ts';

interface Sent {
  readonly queries: readonly string[];
  readonly done: OnAnswers;
}

export class Host implements SandboxHost {
  readonly isInline = false;
  readonly sent: Sent[] = [];
  readonly loaded: number[] = [];

  load(version: { readonly id: number }): Promise<LoadResult> {
    this.loaded.push(version.id);
    return Promise.resolve({
      kind: 'loaded',
      manifest: { routes: false, rewrites: false, options: DEFAULT_OPTIONS },
    });
  }

  evaluate(_id: number, calls: readonly HostCall[], done: Sent['done']): void {
    this.sent.push({ queries: calls.map(({ query }) => query), done });
  }

  dispose(): void {}

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

export const REWRITES: Manifest = { routes: false, rewrites: true, options: DEFAULT_OPTIONS };

export const NOTHING: HostAnswer = { rewrite: null, route: null };

export class Setup {
  readonly host = new Host();
  readonly apart = new Host();
  /** outcomes, or `ok`, by query, in order of arrival */
  readonly answered: string[] = [];
  readonly manifests: (Manifest | null)[] = [];
  version: Serving | null;
  /** what calls do while the budget is used up */
  waits = false;
  /** how calls fail without a version */
  whyNone: FailureOutcome = 'no_version';
  readonly clock = new TestClock();
  readonly budget = new Budget(this.clock, { onBegun: () => {}, onEnded: () => {} });
  readonly batcher: Batcher;

  constructor(isOpen = true) {
    const code = { id: 1, code: '', databases: [], memoryLimitMb: 8, maxResult: 1, timeoutMs: 1 };
    this.version = { id: 1, code, host: this.host, manifest: REWRITES };
    this.batcher = new Batcher({
      serving: () => this.version,
      noVersion: () => [this.whyNone, ''],
      decide: (call, answer, _opened, manifest) => {
        this.answered.push(`${call.query} ${failureOf(answer.rewrite)?.outcome ?? 'ok'}`);
        this.manifests.push(manifest);
        return { kind: 'go', query: null, dbkey: null };
      },
      onPrinted: () => {},
      onOpened: () => {},
      apart: () => this.apart,
      budget: this.budget,
      waitsForBudget: () => this.waits,
    });
    if (isOpen) this.batcher.open();
  }

  ask(query: string, clientId = 1, more: Partial<HostCall> = {}): void {
    const call = {
      username: 'u',
      query,
      inTransaction: false,
      context: { database: 'a' },
      clientId,
      ...more,
    };
    this.batcher.evaluate(call, () => {});
  }
}

export function bound(setup: Setup): Setup & { ask: Setup['ask'] } {
  return Object.assign(setup, { ask: setup.ask.bind(setup) });
}
