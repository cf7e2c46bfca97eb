/** SWITCHOVER db TO node: makes a standby the writer without losing an acknowledged write. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Settings } from '../../config/options.ts';
import { ControlError } from '../../pool/control.ts';
import { isSameServer } from '../facts.ts';
import type { Node } from '../node.ts';
import { ANSWER_MS, askTarget, lowerOldFence, refusalOf, writerProblems } from './checks.ts';
import type { Phase, PlannedHold, RunningSwitchover, SwitchableCluster } from './cluster.ts';
import { Distance, POLL_MS } from './distance.ts';
import { endHungCommits, lowerFence, raiseFence, type Fence } from './fence.ts';
import { concernedBy, isAnyBusy, ownPids } from './held.ts';
import type { OwnSession } from './own-session.ts';
import { leftToDo } from './report.ts';

/** The time for each phase where switchover_timeout is 0, in ms. */
const DEFAULT_MS = 30_000;
/** SQLSTATEs with which pg_promote() has not been executed: no right, no such function, not offered. */
const NOT_ASKED = /^(?:42|0A)/;

export interface PlannedOptions {
  readonly cluster: SwitchableCluster;
  /** name of the node, as the console knows it */
  readonly name: string;
  /** all clusters of this proxy: nothing may be written to the old writer through any of them */
  readonly all: Iterable<SwitchableCluster>;
  readonly settings: Settings;
  /** ms to wait for the standby to come near before a client is held */
  readonly waitMs: number;
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void;
}

/** The sessions at both nodes. */
interface Sessions {
  readonly onWriter: OwnSession;
  readonly onTarget: OwnSession;
}

export class PlannedSwitchover implements RunningSwitchover {
  readonly target: Node;
  readonly over: Promise<void>;
  readonly #options: PlannedOptions;
  readonly #writer: Node;
  readonly #concerned: readonly SwitchableCluster[];
  readonly #cancelled = new AbortController();
  #phase: Phase = 'checking';
  #onWriter: OwnSession | null = null;
  #onTarget: OwnSession | null = null;
  #holds: PlannedHold[] = [];
  /** the end of the time in which clients may be held before the promotion; ms of performance.now() */
  #deadline = 0;
  #fence: Fence | null = null;
  /** start time of the target's postmaster that was asked to promote it */
  #instance: string | null = null;
  #isTakenBack = false;
  #end: () => void = () => {};

  /** @throws Error with the reason, if it is known already that the switchover is impossible */
  constructor(options: PlannedOptions) {
    const { cluster, name, settings, all } = options;
    this.#options = options;
    this.over = new Promise((resolve) => (this.#end = resolve));
    const { writer } = cluster;
    this.target = cluster.nodes.named(name);
    if (settings.switchover_dry_run) throw new Error('switchover_dry_run is on');
    const running = cluster.planned;
    if (running !== null)
      throw new Error(
        `SWITCHOVER TO ${running.target.key} is under way (${running.phase})` +
          (running.phase === 'promoting' ? `: ${running.howToTakeBack()}` : ''),
      );
    if (writer === null || cluster.state === 'holding') throw new Error('the writer is not known now');
    this.#writer = writer;
    const problem = refusalOf(this.target, writer);
    if (problem !== null) throw new Error(problem);
    this.#concerned = concernedBy(cluster, { writer, target: this.target, all });
    for (const each of this.#concerned) each.plan(this);
  }

  get phase(): Phase {
    return this.#phase;
  }

  leaves(node: Node): boolean {
    return isSameServer(node, this.#writer);
  }

  cancel(reason: string): boolean {
    if (this.#phase === 'promoting' || this.#phase === 'over') return false;
    this.#cancelled.abort(new Error(reason));
    return true;
  }

  takeBack(): void {
    if (this.#phase !== 'promoting') throw new Error(`SWITCHOVER TO ${this.target.key} is ${this.#phase}`);
    if (this.target.failure === '')
      throw new Error(
        `${this.target.key} was asked to promote itself and still answers: stop it before ${this.#writer.key} is used again`,
      );
    this.#isTakenBack = true;
  }

  howToTakeBack(): string {
    const { cluster } = this.#options;
    return (
      `to take it back, stop ${this.target.key} for good, then ` +
      `SWITCHOVER ${cluster.database.name} TO ${this.#writer.key}`
    );
  }

  /**
   * Carries it out.
   * @returns the work that is left to be done by hand, as sentences
   * @throws Error with the reason why not; then everything is as before, unless it says that the promotion is awaited
   */
  async run(): Promise<string[]> {
    let isPending = false;
    try {
      const sessions = await this.#openSessions();
      const { onWriter, onTarget } = sessions;
      const distance = this.#distance(onWriter, onTarget);
      await this.#check(sessions, distance);
      await this.#untilNear(distance);
      this.#hold();
      await this.#drain();
      await this.#raise(onWriter);
      this.#phase = 'catching up';
      const transactions = await distance.closes(this.#deadline);
      await this.#promote(onTarget);
      const finished = this.#untilWriter().then(() => this.#report(onWriter, distance, transactions));
      const limitMs = this.#limitMs;
      const late = new AbortController();
      const isLate = await Promise.race([
        finished.then(() => false),
        sleep(limitMs, true, { signal: late.signal }),
      ]).finally(() => late.abort());
      if (!isLate) return await finished;
      isPending = true;
      void this.#goOnAlone(finished);
      throw new Error(
        `${this.target.key} was asked to promote itself and has not done so within ${limitMs / 1000} s. It may still ` +
          `do so, so that ${this.#writer.key} stays fenced; as soon as ${this.target.key} is the writer, clients go ` +
          `on there; ${this.howToTakeBack()}`,
      );
    } catch (error) {
      if (!isPending) await this.#undo(error as Error);
      throw error;
    } finally {
      if (!isPending) this.#close();
    }
  }

  get #limitMs(): number {
    return this.#options.settings.switchover_timeout || DEFAULT_MS;
  }

  /** The promotion is late: the command has been answered, and the switchover continues without it. */
  async #goOnAlone(finished: Promise<string[]>): Promise<void> {
    try {
      await finished;
    } catch (error) {
      await this.#undo(error as Error);
    } finally {
      this.#close();
    }
  }

  // Phases in which no client is held.

  async #openSessions(): Promise<Sessions> {
    const opening = [this.#open(this.#writer), this.#open(this.target)] as const;
    try {
      [this.#onWriter, this.#onTarget] = await Promise.all(opening);
    } catch (error) {
      // the other node may still answer
      for (const session of opening) void session.then((late) => late.close()).catch(() => {});
      throw error;
    }
    const onWriter = this.#onWriter;
    this.#proceed();
    const onTarget = await lowerOldFence(this.#onTarget, () => this.#open(this.target));
    this.#onTarget = onTarget;
    return { onWriter, onTarget };
  }

  #open(node: Node): Promise<OwnSession> {
    return this.#options.cluster.nodes.openSession(node);
  }

  #distance(onWriter: OwnSession, onTarget: OwnSession): Distance {
    return new Distance({
      writer: this.#writer,
      target: this.target,
      onWriter,
      onTarget,
      lag: this.#options.cluster.lag,
      check: () => this.#proceed(),
    });
  }

  async #check({ onWriter, onTarget }: Sessions, distance: Distance): Promise<void> {
    const { instance, isPaused, problems } = await askTarget(onTarget, this.target, this.#writer);
    this.#instance = instance;
    if (isPaused)
      problems.push(
        `replay is paused at ${this.target.key}, so that it lags behind (${await distance.describe()}): ` +
          'SELECT pg_wal_replay_resume()',
      );
    problems.push(...(await writerProblems(onWriter, this.#writer, ownPids(this.#concerned))));
    if (problems.length > 0) throw new Error(problems.join('; '));
  }

  async #untilNear(distance: Distance): Promise<void> {
    this.#phase = 'waiting';
    const { waitMs, settings, cluster } = this.#options;
    if (await distance.becomesNear(waitMs, settings.switchover_timeout)) return;
    throw new Error(
      `${this.target.key} lags behind: ${await distance.describe()}` +
        (waitMs === 0
          ? `; SWITCHOVER ${cluster.database.name} TO ${this.target.key} WAIT seconds waits for it`
          : ` after ${waitMs / 1000} s`),
    );
  }

  /** @throws Error if the switchover was cancelled, or the cluster has changed */
  #proceed(): void {
    this.#cancelled.signal.throwIfAborted();
    if (this.#holds.some((hold) => hold.isOver)) {
      const now = this.#options.cluster.writer;
      throw new Error(`the cluster has changed meanwhile: the writer is ${now?.key ?? 'not known'}`);
    }
    if (this.#holds.length === 0 && this.#concerned.some((each) => each.state === 'holding'))
      throw new Error('the writer is not known any more');
  }

  // Phases in which all clients are held.

  #hold(): void {
    this.#proceed();
    this.#phase = 'draining';
    this.#deadline = performance.now() + this.#limitMs;
    for (const each of this.#concerned) {
      const hold = each.holdForSwitchover(this.target);
      if (hold === null) throw new Error(`${each.database.name} does not know its writer now`);
      this.#holds.push(hold);
    }
  }

  async #drain(): Promise<void> {
    while (isAnyBusy(this.#concerned)) {
      this.#proceed();
      if (performance.now() > this.#deadline) throw new Error('transactions are still open');
      await sleep(POLL_MS);
    }
  }

  async #raise(onWriter: OwnSession): Promise<void> {
    this.#proceed();
    this.#phase = 'fencing';
    // commits with synchronous_commit = off may not be on disk yet; this one flushes them, too
    await onWriter.query(
      "BEGIN READ WRITE; SELECT pg_logical_emit_message(true, 'pgswitchyard', ''); COMMIT",
      ANSWER_MS,
    );
    await raiseFence(
      onWriter,
      {
        timeline: this.#writer.evidence?.timeline ?? 0,
        keep: ownPids(this.#concerned),
        open: () => this.#open(this.#writer),
        limitMs: this.#limitMs,
        check: () => this.#proceed(),
      },
      (fence) => (this.#fence = fence),
    );
  }

  /** From here on the standby may be promoted at any time, even if the connection to it is lost. */
  async #promote(onTarget: OwnSession): Promise<void> {
    this.#proceed();
    if (onTarget.isClosed) throw new Error(`the connection to ${this.target.key} is lost`);
    this.#phase = 'promoting';
    for (const hold of this.#holds) hold.promoting();
    const { log } = this.#options;
    log('info', `${this.target.key} is asked to promote itself; there is no way back`);
    try {
      const [row] = await onTarget.query('SELECT pg_promote(false) AS done', ANSWER_MS);
      if (row?.['done'] !== 't') log('warn', `pg_promote() at ${this.target.key} was not done`);
    } catch (error) {
      if (error instanceof ControlError && NOT_ASKED.test(error.code)) throw error;
      const { message } = error as Error;
      log('warn', `${this.target.key} may have been asked to promote itself: ${message}; waiting for it`);
    }
  }

  /**
   * Waits until the target is the writer.
   * @throws Error if it is certain that it will not be promoted
   */
  async #untilWriter(): Promise<void> {
    const askedAt = performance.now();
    this.target.probe.kick();
    // Both nodes say that they are writers now. Only the new writer's answer ends the hold.
    const over = Promise.all(this.#holds.map((hold) => hold.over));
    while (this.#holds.some((hold) => !hold.isOver)) {
      if (this.#hasForgotten(askedAt))
        throw new Error(`${this.target.key} was restarted before it had promoted itself`);
      if (this.#isTakenBack) throw new Error(`${this.target.key} will not be promoted, as the operator says`);
      await Promise.race([over, sleep(POLL_MS * 10)]);
    }
  }

  /** A postmaster that starts forgets that it was asked to promote the node. */
  #hasForgotten(askedAt: number): boolean {
    const { evidence, failure } = this.target;
    return (
      evidence !== null &&
      evidence.askedAt > askedAt &&
      evidence.recovering &&
      failure === '' &&
      evidence.instance !== null &&
      this.#instance !== null &&
      evidence.instance !== this.#instance
    );
  }

  // The end.

  async #report(onWriter: OwnSession, distance: Distance, transactions: bigint): Promise<string[]> {
    const { cluster, log } = this.#options;
    const { writer } = cluster;
    this.#phase = 'over';
    if (writer === null || writer === this.#writer)
      return [
        `${cluster.database.name} is not watched any more: ${this.target.key} was asked to promote itself, and ` +
          `${this.#writer.key} stays fenced`,
      ];
    const later = await distance.transactions();
    await endHungCommits(onWriter).catch(() => {});
    const lateTransactions = (later ?? transactions) - transactions;
    const left = leftToDo(cluster.nodes, { writer, old: this.#writer, lateTransactions });
    for (const line of left) log('warn', line);
    return left;
  }

  /** Nothing has been promoted, and nothing will be. */
  async #undo(error: Error): Promise<void> {
    const wasHeld = this.#holds.length > 0;
    this.#phase = 'over';
    await this.#lower();
    for (const hold of this.#holds) hold.giveUp(error.message);
    if (!wasHeld) this.#options.log('info', `SWITCHOVER TO ${this.target.key} was refused: ${error.message}`);
  }

  /** Lowers the fence; if the writer cannot be reached, as soon as it can be. */
  async #lower(): Promise<void> {
    if (this.#fence === null) return;
    const fence = this.#fence;
    try {
      const session =
        this.#onWriter === null || this.#onWriter.isClosed ? await this.#open(this.#writer) : this.#onWriter;
      this.#onWriter = session;
      await lowerFence(session, fence, () => this.#open(this.#writer));
      this.#fence = null;
    } catch (error) {
      void this.#options.cluster.fences.lowerLater(this.#writer, fence, (error as Error).message);
    }
  }

  #close(): void {
    this.#phase = 'over';
    for (const each of this.#concerned) each.endPlan(this);
    this.#onWriter?.close();
    this.#onTarget?.close();
    this.#end();
  }
}
