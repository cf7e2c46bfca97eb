/** A child that is started before it is needed: a cold start takes long enough to be noticed. */
import { PLACEMENT } from '../limits.ts';
import { SandboxChild } from './child.ts';

export class WarmChild {
  readonly #memoryMb: number;
  #child: SandboxChild | null = null;
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(memoryMb: number) {
    this.#memoryMb = memoryMb;
  }

  /** Starts one now. */
  prepare(): void {
    if (!this.#isStopped) this.#child ??= new SandboxChild(this.#memoryMb);
  }

  /** Returns the ready child, or starts one. A moment later the next one is started. */
  take(): SandboxChild {
    const warm = this.#child;
    this.#child = null;
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.prepare();
    }, PLACEMENT.warmDelayMs).unref();
    return warm !== null && !warm.isGone ? warm : new SandboxChild(this.#memoryMb);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    await this.#child?.close();
  }
}
