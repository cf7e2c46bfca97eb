/** The delay of the event loop: how much later than asked for a timer fires. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 20;

export interface EventLoopDelay {
  readonly meanSeconds: number;
  readonly p99Seconds: number;
  readonly maxSeconds: number;
}

export class EventLoop {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#histogram.enable();
  }

  /** Since the last call. */
  observe(): EventLoopDelay {
    const { mean, max, count } = this.#histogram;
    const p99 = this.#histogram.percentile(99);
    this.#histogram.reset();
    if (count === 0) return { meanSeconds: 0, p99Seconds: 0, maxSeconds: 0 };
    return { meanSeconds: seconds(mean), p99Seconds: seconds(p99), maxSeconds: seconds(max) };
  }

  stop(): void {
    this.#histogram.disable();
  }
}

/** The monitor counts a timer's own interval as well. */
function seconds(nanoseconds: number): number {
  return Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1000);
}
