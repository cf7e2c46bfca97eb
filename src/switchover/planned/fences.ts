/** Fences that outlive their SWITCHOVER. */
import { setTimeout as sleep } from 'node:timers/promises';
import { lowerFence, settingsBefore, type Fence } from './fence.ts';
import { markOf } from './fence-mark.ts';
import type { Node } from '../node.ts';
import { OwnSession } from './own-session.ts';

const RETRY_MS = 1000;
/** Answers that are under way when a fence is taken back still report it, for this long in ms. */
const SETTLED_MS = 1000;
/** The pause after a failure that only a changed setting or right can repair, in ms. */
const LATE_RETRY_MS = 30_000;

export interface FencesEvents {
  open(node: Node): Promise<OwnSession>;
  /** a SWITCHOVER runs, which takes care of its own fence */
  isRunning(): boolean;
  isWriter(node: Node): boolean;
  log(level: 'info' | 'warn' | 'error', event: string, message: string): void;
}

/** Fences that outlive their SWITCHOVER: lowers those that are not needed any more, and reports the others in the log. */
export class Fences {
  readonly #events: FencesEvents;
  /** writers that have been seen to be fenced, since when; ms of performance.now(), Infinity: the log has it */
  readonly #seen = new Map<Node, number>();
  readonly #lowering = new Set<Node>();
  #stopped = false;

  constructor(events: FencesEvents) {
    this.#events = events;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** A node has answered. A standby, or a node that was promoted since, does not need its fence any more. */
  answered(node: Node): void {
    const { evidence } = node;
    const mark = markOf(evidence?.fence ?? null);
    if (evidence === null || mark === null) return void this.#seen.delete(node);
    if (this.#stopped || this.#events.isRunning() || this.#lowering.has(node)) return;
    if (evidence.recovering || (evidence.timeline ?? 0) > mark.timeline) {
      void this.#lower(node, { mark, wasReadOnly: false });
    } else if (this.#events.isWriter(node) && this.#isLeft(node)) {
      this.#events.log('warn', 'fence_left', leftText(node));
    }
  }

  /** It is not just being taken back. */
  #isLeft(node: Node): boolean {
    const now = performance.now();
    const since = this.#seen.get(node);
    const isLeft = since !== undefined && now - since >= SETTLED_MS;
    if (since === undefined || isLeft) this.#seen.set(node, isLeft ? Infinity : now);
    return isLeft;
  }

  /** The problem of a writer that still has a fence, as a sentence; '': none. */
  problem(node: Node): string {
    return this.#seen.get(node) === Infinity ? leftText(node) : '';
  }

  /** The operator says that no other node will be promoted. @throws Error */
  async takeBack(node: Node): Promise<void> {
    const mark = markOf(node.evidence?.fence ?? null);
    if (mark === null) throw new Error(`${node.key} is the writer already`);
    await this.#once(node, { mark, wasReadOnly: false });
  }

  /** Lowers the fence of a writer that cannot be reached now: tries every second while it is the writer. */
  async lowerLater(node: Node, fence: Fence, why: string): Promise<void> {
    this.#lowering.add(node);
    this.#events.log(
      'error',
      'fence_left',
      `${node.key} stays fenced: ${why}; again every second. ${byHand(fence)}`,
    );
    while (!this.#stopped && this.#events.isWriter(node)) {
      await sleep(RETRY_MS, undefined, { ref: false });
      try {
        await this.#once(node, fence);
        break;
      } catch {
        // the node is still away
      }
    }
    this.#lowering.delete(node);
  }

  async #lower(node: Node, fence: Fence): Promise<void> {
    this.#lowering.add(node);
    try {
      await this.#once(node, fence);
    } catch (error) {
      const message = `the fence of ${node.key} could not be taken back: ${(error as Error).message}. ${byHand(fence)}`;
      this.#events.log('error', 'fence_left', message);
      await sleep(LATE_RETRY_MS, undefined, { ref: false });
    } finally {
      this.#lowering.delete(node);
    }
  }

  async #once(node: Node, fence: Fence): Promise<void> {
    const open = (): Promise<OwnSession> => this.#events.open(node);
    const session = await open();
    try {
      await lowerFence(session, fence, open);
    } finally {
      session.close();
    }
    this.#events.log(
      'info',
      'fence_lowered',
      `${node.key} is not fenced any more: its settings are as before`,
    );
  }
}

function byHand({ mark }: Fence): string {
  const settings = ['ALTER SYSTEM RESET default_transaction_read_only', ...settingsBefore(mark)];
  return `By hand: ${settings.join('; ')}; SELECT pg_reload_conf()`;
}

/** For the log and SHOW TOPOLOGY. */
function leftText({ key }: Node): string {
  return (
    `${key} is fenced by a SWITCHOVER and takes no writes. Where no other node is about to be promoted, ` +
    `SWITCHOVER to ${key} itself takes that back`
  );
}
