/**
 * The live tail of decisions: samples of what functions decide, for administrators who watch. Nothing is made while nobody
 * does.
 */
import { masked } from '../../sql/fingerprint.ts';
import type { Decision } from '../decide/policy.ts';
import { inWords } from '../decide/recheck.ts';
import type { DecisionSample } from '../../telemetry/snapshots/decisions.ts';
import { TAP } from '../limits.ts';

interface Watcher {
  readonly sees: (tenant: string) => boolean;
  readonly take: (sample: DecisionSample) => void;
  /** of performance.now() */
  nextAt: number;
  leftOut: number;
}

/** The parts of a question that are shown. */
export interface Asked {
  readonly username: string;
  readonly query: string;
  readonly entry?: string;
}

export class DecisionTap {
  readonly #watchers = new Set<Watcher>();
  readonly #now: () => number;

  /** @param now ms of any steady clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Whether anybody watches: otherwise a decision need not be noted. */
  get isWatched(): boolean {
    return this.#watchers.size > 0;
  }

  /** Now, on the clock of `note`. */
  get now(): number {
    return this.#now();
  }

  /**
   * @param sees whether a tenant's decisions are shown, by its name, as of now
   * @returns ends it; null: too many others watch
   */
  watch(sees: Watcher['sees'], take: Watcher['take']): (() => void) | null {
    if (this.#watchers.size >= TAP.watchers) return null;
    const watcher: Watcher = { sees, take, nextAt: 0, leftOut: 0 };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** @param askedAt when the functions were asked, on this clock; null: the decision was remembered */
  note(tenant: string, asked: Asked, decision: Decision, askedAt: number | null): void {
    const now = this.#now();
    for (const watcher of this.#watchers) {
      if (!watcher.sees(tenant)) continue;
      if (now < watcher.nextAt) {
        watcher.leftOut++;
        continue;
      }
      watcher.nextAt = now + TAP.everyMs;
      const { leftOut } = watcher;
      watcher.leftOut = 0;
      watcher.take({
        atMs: Date.now(),
        tenant,
        database: asked.entry ?? '',
        user: asked.username,
        query: masked(asked.query),
        decision: inWords(decision),
        from: askedAt === null ? 'memory' : 'call',
        tookMs: askedAt === null ? 0 : now - askedAt,
        leftOut,
      });
    }
  }
}
