import { setTimeout as sleep } from 'node:timers/promises';
import type { Settings } from '../../config/options.ts';
import { ControlError } from '../../pool/control.ts';
import type { Server } from '../../pool/server.ts';
import type { ClusterController, PlannedHold } from '../controller.ts';
import {
  endHungCommits,
  escapes,
  leftFence,
  lowerFence,
  missingForFence,
  raiseFence,
  type Fence,
} from './fence.ts';
import { markOf } from './fence-mark.ts';
import { remedy } from '../following.ts';
import { isSameServer, nodeKey, type Node } from '../node.ts';
import type { OwnSession } from './own-session.ts';
import { parseLsn } from '../question.ts';

/**
 * How far a SWITCHOVER is.
 *
 * `checking`: whether it can be done. `waiting`: for the standby to come near; nobody is held. `draining`: clients are
 * held, open transactions end. `fencing`: the old writer is made read-only. `catching up`: the standby replays the rest.
 * `promoting`: promotion was asked for, and there is no way back. `over`.
 */
export type Phase = 'checking' | 'waiting' | 'draining' | 'fencing' | 'catching up' | 'promoting' | 'over';

/** What may be slept between two questions. */
const POLL_MS = 5;
/** An answer may take as long as this. */
const ANSWER_MS = 5000;
/** How long it may take where switchover_timeout is 0. */
const DEFAULT_MS = 30_000;
/** A standby that is further behind is waited for only where the command says so (WAIT). */
const NEAR_BYTES = 16n * 1024n * 1024n;
/** A standby is near when it replays within this time what the writer had written at its beginning. */
const NEAR_MS = 1000;
/** pg_promote() with these has not been executed: no right, no such function, not offered. */
const NOT_ASKED = /^(?:42|0A)/;

/** The position of the next record is after the header of its page, that of the end of the last one before it. */
const PAGE_HEADER_BYTES = 40n;

/** How far the writer is. */
interface Progress {
  /** bytes of WAL on disk, which is what standbys are sent */
  readonly written: bigint;
  readonly isFenced: boolean;
  /** nothing is written that is not on disk */
  readonly isFlushed: boolean;
  /** the next transaction number */
  readonly transactions: bigint;
}

export interface PlannedOptions {
  readonly controller: ClusterController;
  /** of the node, as the console knows it */
  readonly name: string;
  /** all the clusters of this proxy: through none of them may anything be written to the old writer any more */
  readonly all: Iterable<ClusterController>;
  readonly settings: Settings;
  /** how long to wait for the standby to come near before anybody is held */
  readonly waitMs: number;
  /** what the log says of it */
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void;
}

/** SWITCHOVER db TO node. */
export class PlannedSwitchover {
  readonly target: Node;
  readonly #options: PlannedOptions;
  readonly #writer: Node;
  #concerned: ClusterController[] = [];
  #phase: Phase = 'checking';
  readonly #cancelled = new AbortController();
  #holds: PlannedHold[] = [];
  #fence: Fence | null = null;
  #onWriter: OwnSession | null = null;
  #onTarget: OwnSession | null = null;
  /** the postmaster of the target that was asked to promote it */
  #instance: string | null = null;
  #isTakenBack = false;
  /** resolves when nothing of it goes on any more */
  readonly over: Promise<void>;
  #end: () => void = () => {};

  /** @throws Error saying at once why it can't be done, as far as that is known */
  constructor(options: PlannedOptions) {
    const { controller, name, settings, all } = options;
    this.#options = options;
    this.over = new Promise((resolve) => (this.#end = resolve));
    const { writer } = controller;
    this.target = controller.nodes.named(name);
    if (settings.switchover_dry_run) throw new Error('switchover_dry_run is on');
    const running = controller.planned;
    if (running !== null)
      throw new Error(
        `SWITCHOVER TO ${running.target.key} is under way (${running.phase})` +
          (running.phase === 'promoting' ? `: ${running.howToTakeBack()}` : ''),
      );
    if (writer === null || controller.state === 'holding') throw new Error('the writer is not known now');
    this.#writer = writer;
    const problem = this.#refusal();
    if (problem !== null) throw new Error(problem);
    const same = [...all].filter(
      (each) =>
        each.writer !== null &&
        isSameServer(each.writer, writer) &&
        // one that does not know the node could not go there
        [...each.nodes].some((known) => known.role === 'reader' && isSameServer(known, this.target)),
    );
    this.#concerned = [...new Set([controller, ...same])];
    const other = this.#concerned.find((each) => each.planned !== null);
    if (other !== undefined)
      throw new Error(`SWITCHOVER of ${other.database.name}, which is on the same cluster, is under way`);
    if (this.#concerned.some((each) => each.state === 'holding'))
      throw new Error('another database of this cluster does not know its writer now');
    for (const each of this.#concerned) each.planned = this;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Whether it is to take the writer away from this node, under whichever of its names. */
  leaves(node: Node): boolean {
    return isSameServer(node, this.#writer);
  }

  /**
   * Ends it where promotion has not been asked for: everything goes on as it was.
   * @returns false: there is no way back any more, or it is over
   */
  cancel(reason: string): boolean {
    if (this.#phase === 'promoting' || this.#phase === 'over') return false;
    this.#cancelled.abort(new Error(reason));
    return true;
  }

  /**
   * The operator's word that the target will not be promoted any more.
   * @throws Error where the target is there and could be
   */
  takeBack(): void {
    if (this.#phase !== 'promoting') throw new Error(`SWITCHOVER TO ${this.target.key} is ${this.#phase}`);
    if (this.target.failure === '')
      throw new Error(
        `${this.target.key} was asked to promote itself and still answers: stop it before ${this.#writer.key} is used again`,
      );
    this.#isTakenBack = true;
  }

  howToTakeBack(): string {
    const { controller } = this.#options;
    return (
      `to take it back, stop ${this.target.key} for good, then ` +
      `SWITCHOVER ${controller.database.name} TO ${this.#writer.key}`
    );
  }

  /**
   * Does it.
   * @returns what is left to be done by hand, as sentences
   * @throws Error saying why not; everything is as it was then, unless it says that the promotion is still awaited
   */
  async run(): Promise<string[]> {
    let isPending = false;
    try {
      await this.#check();
      await this.#untilNear();
      this.#hold();
      await this.#drain();
      await this.#raise();
      const position = await this.#catchUp();
      await this.#promote();
      const settled = this.#settle();
      const finished = settled.then(() => this.#report(position));
      const late = new AbortController();
      const limitMs = this.#options.settings.switchover_timeout || DEFAULT_MS;
      const isLate = await Promise.race([
        finished.then(() => false),
        sleep(limitMs, true, { signal: late.signal }),
      ]).finally(() => late.abort());
      if (!isLate) return await finished;
      isPending = true;
      void finished
        .then((left) => left.forEach((line) => this.#options.log('warn', line)))
        .catch((error: unknown) => this.#undo(error as Error))
        .finally(() => this.#close());
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

  // what is known before anybody is asked

  #refusal(): string | null {
    const { target } = this;
    const writer = this.#writer;
    const [has, wants] = [target.evidence, writer.evidence];
    if (target === writer || isSameServer(target, writer)) return `${target.key} is the writer already`;
    if (target.failure !== '') return `${target.key} does not answer: ${target.failure}`;
    if (has === null || wants === null) return `${target.key} has not been asked yet`;
    if (wants.timeline === null) return `the timeline of ${writer.key} is not known: it cannot be fenced`;
    const [own, writers] = [has.timeline ?? 'unknown', wants.timeline ?? 'unknown'];
    if (target.role !== 'reader')
      return `${target.key} is not a standby of ${writer.key}: it takes itself for a writer (timeline ${own}, the writer's is ${writers})`;
    if (has.system !== null && wants.system !== null && has.system !== wants.system)
      return `${target.key} is not a standby of ${writer.key}: its system identifier is ${has.system}, the writer's is ${wants.system}`;
    if (target.following.isOrphaned) return `${target.key} ${target.following.why}. ${remedy(writer)}`;
    return null;
  }

  // while nobody is held

  async #check(): Promise<void> {
    const [onWriter, onTarget] = await Promise.all([this.#open(this.#writer), this.#open(this.target)]);
    this.#onWriter = onWriter;
    this.#onTarget = onTarget;
    this.#proceed();
    await this.#lowerTargets();
    const problems = [...(await this.#targetProblems()), ...(await this.#writerProblems())];
    if (problems.length > 0) throw new Error(problems.join('; '));
  }

  /** What is left at the target of its own time as a writer that was left would keep it from taking writes. */
  async #lowerTargets(): Promise<void> {
    const [row] = await this.#onTarget!.query('SHOW synchronous_standby_names', ANSWER_MS);
    const mark = markOf(row?.['synchronous_standby_names'] ?? null);
    if (mark === null) return;
    const open = (): Promise<OwnSession> => this.#open(this.target);
    await lowerFence(this.#onTarget!, { mark, wasReadOnly: false }, open);
    this.#onTarget!.close();
    this.#onTarget = await open();
  }

  #open(node: Node): Promise<OwnSession> {
    return this.#options.controller.nodes.openSession(node);
  }

  async #writerProblems(): Promise<string[]> {
    const session = this.#onWriter!;
    const missing = [...(await leftFence(session)), ...(await missingForFence(session, this.#ownPids()))];
    const problems = missing.map((each) => `${this.#writer.key} cannot be fenced: ${each}`);
    return [...problems, ...(await escapes(session))];
  }

  async #targetProblems(): Promise<string[]> {
    const { key, evidence } = this.target;
    const [row] = await this.#onTarget!.query(
      `SELECT current_user AS me, pg_is_in_recovery() AS recovering, pg_is_wal_replay_paused() AS paused,
      r.pid AS receiver, r.received_tli, r.sender_host, r.sender_port,
      has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE') AS promote,
      current_setting('default_transaction_read_only') AS read_only, pg_postmaster_start_time() AS started
      FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver AS r ON true`,
      ANSWER_MS,
    );
    if (row?.['recovering'] !== 't') return [`${key} is not a standby any more`];
    this.#instance = row['started'] ?? null;
    const problems: string[] = [];
    const writers = this.#writer.evidence?.timeline ?? null;
    const timeline = Number(row['received_tli'] ?? evidence?.timeline ?? 0);
    if (row['receiver'] === null)
      problems.push(`${key} has no WAL receiver: it does not follow ${this.#writer.key}`);
    if (writers !== null && row['received_tli'] && timeline !== writers)
      problems.push(
        `${key} is on timeline ${timeline}, the writer ${this.#writer.key} is on timeline ${writers}`,
      );
    if (row['promote'] !== 't')
      problems.push(
        `permission denied for function pg_promote at ${key}: ` +
          `GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO "${row['me']}" is missing`,
      );
    if (row['read_only'] === 'on')
      problems.push(
        `default_transaction_read_only is on at ${key}, which would refuse writes once promoted: ` +
          'ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()',
      );
    if (row['paused'] === 't')
      problems.push(
        `replay is paused at ${key}, so that it lags behind (${await this.#lagText()}): SELECT pg_wal_replay_resume()`,
      );
    return problems;
  }

  async #lagText(): Promise<string> {
    const bytes = (await this.#written()) - (await this.#replayed());
    const seconds = this.#options.controller.lag.seconds(this.target);
    return `${bytes} bytes${seconds === null ? '' : `, ${seconds} s`}`;
  }

  async #written(): Promise<bigint> {
    const [row] = await this.#onWriter!.query('SELECT pg_current_wal_flush_lsn() AS lsn', ANSWER_MS);
    return parseLsn(row?.['lsn'] ?? null) ?? 0n;
  }

  async #replayed(): Promise<bigint> {
    const [row] = await this.#onTarget!.query('SELECT pg_last_wal_replay_lsn() AS lsn', ANSWER_MS);
    return parseLsn(row?.['lsn'] ?? null) ?? 0n;
  }

  /** Waits until the standby replays within a second what the writer has written. */
  async #untilNear(): Promise<void> {
    this.#phase = 'waiting';
    const { waitMs } = this.#options;
    const deadline = performance.now() + waitMs;
    for (;;) {
      this.#proceed();
      const from = performance.now();
      const goal = await this.#written();
      const behind = goal - (await this.#replayed());
      const limit = Math.min(NEAR_MS, this.#options.settings.switchover_timeout || NEAR_MS);
      if (behind <= NEAR_BYTES && (await this.#reaches(goal, from + limit))) return;
      if (performance.now() >= deadline)
        throw new Error(
          `${this.target.key} lags behind: ${await this.#lagText()}` +
            (waitMs === 0
              ? `; SWITCHOVER ${this.#options.controller.database.name} TO ${this.target.key} WAIT seconds waits for it`
              : ` after ${waitMs / 1000} s`),
        );
      if (behind > NEAR_BYTES) await sleep(100);
    }
  }

  async #reaches(goal: bigint, deadline: number): Promise<boolean> {
    for (;;) {
      this.#proceed();
      if ((await this.#replayed()) >= goal) return true;
      if (performance.now() > deadline) return false;
      await sleep(POLL_MS);
    }
  }

  /** @throws Error where it is to be given up, or has been overtaken */
  #proceed(): void {
    this.#cancelled.signal.throwIfAborted();
    if (this.#holds.some((hold) => hold.isOver)) {
      const now = this.#options.controller.writer;
      throw new Error(`the cluster has changed meanwhile: the writer is ${now?.key ?? 'not known'}`);
    }
    if (this.#holds.length === 0 && this.#concerned.some((each) => each.state === 'holding'))
      throw new Error('the writer is not known any more');
  }

  // while everybody waits

  #deadline = 0;

  #hold(): void {
    this.#proceed();
    this.#phase = 'draining';
    this.#deadline = performance.now() + (this.#options.settings.switchover_timeout || DEFAULT_MS);
    for (const each of this.#concerned) {
      const hold = each.holdForSwitchover(this.target);
      if (hold === null) throw new Error(`${each.database.name} does not know its writer now`);
      this.#holds.push(hold);
    }
  }

  async #drain(): Promise<void> {
    while (this.#concerned.some(isBusy)) {
      this.#proceed();
      if (performance.now() > this.#deadline) throw new Error('transactions are still open');
      await sleep(POLL_MS);
    }
  }

  async #raise(): Promise<void> {
    this.#proceed();
    this.#phase = 'fencing';
    // commits with synchronous_commit = off are not on disk yet; this one takes them with it
    await this.#onWriter!.query(
      "BEGIN READ WRITE; SELECT pg_logical_emit_message(true, 'pgswitchyard', ''); COMMIT",
      ANSWER_MS,
    );
    await raiseFence(
      this.#onWriter!,
      {
        timeline: this.#writer.evidence?.timeline ?? 0,
        keep: this.#ownPids(),
        open: () => this.#open(this.#writer),
        limitMs: this.#options.settings.switchover_timeout || DEFAULT_MS,
        check: () => this.#proceed(),
      },
      (fence) => (this.#fence = fence),
    );
  }

  /**
   * Waits until the standby has replayed all, while no transaction is begun any more that could write.
   * @returns the number of transactions that the writer has seen
   */
  async #catchUp(): Promise<bigint> {
    this.#phase = 'catching up';
    let before = await this.#progress();
    for (;;) {
      if (!(await this.#reaches(before.written, this.#deadline)))
        throw new Error(`${this.target.key} lags behind: ${await this.#lagText()}`);
      const now = await this.#progress();
      if (!now.isFenced) throw new Error(`the fence of ${this.#writer.key} was taken back meanwhile`);
      // Checkpoints and the like may go on: they are nobody's data.
      const isStill = now.transactions === before.transactions && now.isFlushed;
      if (isStill && (now.written === before.written || (await this.#replayed()) >= now.written))
        return now.transactions;
      if (performance.now() > this.#deadline)
        throw new Error(
          `${this.#writer.key} goes on writing although it is fenced (${now.written - before.written} bytes, ` +
            `${now.transactions - before.transactions} transactions)${await this.#writing()}`,
        );
      before = now;
    }
  }

  async #progress(): Promise<Progress> {
    const [row] = await this.#onWriter!.query(
      `SELECT pg_current_wal_flush_lsn() AS flushed, pg_current_wal_insert_lsn() AS inserted,
      pg_snapshot_xmax(pg_current_snapshot())::text AS next,
      current_setting('synchronous_standby_names') AS names`,
      ANSWER_MS,
    );
    const written = parseLsn(row?.['flushed'] ?? null) ?? 0n;
    const inserted = parseLsn(row?.['inserted'] ?? null) ?? 0n;
    return {
      written,
      isFenced: markOf(row?.['names'] ?? null) !== null,
      isFlushed: inserted - written <= PAGE_HEADER_BYTES,
      transactions: BigInt(row?.['next'] ?? '0'),
    };
  }

  /** Whose transactions these are, for an error. */
  async #writing(): Promise<string> {
    const rows = await this.#onWriter!.query(
      `SELECT pid, backend_type, application_name FROM pg_stat_activity
      WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() LIMIT 5`,
      ANSWER_MS,
    ).catch(() => []);
    const named = rows.map((row) => `${row['backend_type']} ${row['application_name']} (pid ${row['pid']})`);
    return named.length === 0 ? '' : `: ${named.join(', ')}`;
  }

  /** From here on the standby may be promoted at any time, whatever becomes of the connection to it. */
  async #promote(): Promise<void> {
    this.#proceed();
    if (this.#onTarget!.isClosed) throw new Error(`the connection to ${this.target.key} is lost`);
    this.#phase = 'promoting';
    for (const hold of this.#holds) hold.promoting();
    this.#options.log('info', `${this.target.key} is asked to promote itself; there is no way back`);
    try {
      const [row] = await this.#onTarget!.query('SELECT pg_promote(false) AS done', ANSWER_MS);
      if (row?.['done'] !== 't') this.#options.log('warn', `pg_promote() at ${this.target.key} was not done`);
    } catch (error) {
      if (error instanceof ControlError && NOT_ASKED.test(error.code)) throw error;
      this.#options.log(
        'warn',
        `${this.target.key} may have been asked to promote itself: ${(error as Error).message}; it is waited for`,
      );
    }
  }

  /**
   * Waits until the target is the writer.
   * @throws Error where it is certain that it will not be promoted
   */
  async #settle(): Promise<void> {
    const askedAt = performance.now();
    this.target.probe.kick();
    // Both say that they are writers now. Only the new one's word ends it.
    const over = Promise.all(this.#holds.map((hold) => hold.over));
    while (this.#holds.some((hold) => !hold.isOver)) {
      const { evidence } = this.target;
      // a postmaster that starts forgets that it was asked
      const isNew =
        evidence !== null &&
        evidence.askedAt > askedAt &&
        evidence.recovering &&
        this.target.failure === '' &&
        evidence.instance !== null &&
        this.#instance !== null &&
        evidence.instance !== this.#instance;
      if (isNew) throw new Error(`${this.target.key} was restarted before it had promoted itself`);
      if (this.#isTakenBack) throw new Error(`${this.target.key} will not be promoted, as the operator says`);
      await Promise.race([over, sleep(POLL_MS * 10)]);
    }
  }

  // afterwards

  /** @returns what is left to be done by hand */
  async #report(transactions: bigint): Promise<string[]> {
    const { controller, log } = this.#options;
    const { writer } = controller;
    this.#phase = 'over';
    if (writer === null || writer === this.#writer)
      return [
        `${controller.database.name} is not watched any more: ${this.target.key} was asked to promote itself, and ` +
          `${this.#writer.key} stays fenced`,
      ];
    const left: string[] = [];
    const later = await this.#progress().catch(() => null);
    await endHungCommits(this.#onWriter!).catch(() => {});
    if (later !== null && later.transactions > transactions) {
      const line =
        `${later.transactions - transactions} transactions were begun at ${this.#writer.key} after it was fenced; ` +
        `what they wrote is not at ${writer.key}`;
      left.push(line);
    }
    left.push(
      `${this.#writer.key} is fenced (default_transaction_read_only, synchronous_standby_names) until it is a standby of ` +
        `${writer.key}: stop it, run pg_rewind --source-server='host=${writer.target.host} port=${writer.target.port} ` +
        `dbname=postgres' -D its_data_directory, and start it with standby.signal and primary_conninfo`,
    );
    for (const node of controller.nodes) {
      if (node === writer || node === this.#writer || node.role !== 'reader' || isSameServer(node, writer))
        continue;
      const sender = node.evidence?.source?.sender ?? null;
      // it goes on by itself
      if (sender !== null && nodeKey(sender) === writer.key) continue;
      const from = sender === null ? '' : ` streams from ${nodeKey(sender)} and`;
      left.push(`${node.key}${from} has to be pointed to the new writer. ${remedy(writer)}`);
    }
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

  /** Lowers the fence; where the writer can't be reached, as soon as it can be. */
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
      void this.#options.controller.fences.lowerLater(this.#writer, fence, (error as Error).message);
    }
  }

  #close(): void {
    this.#phase = 'over';
    for (const each of this.#concerned) if (each.planned === this) each.planned = null;
    this.#onWriter?.close();
    this.#onTarget?.close();
    this.#end();
  }

  /** Of sessions that go to the writer and whose clients are held, or soon will be. */
  #ownPids(): number[] {
    const pids: number[] = [];
    for (const each of this.#concerned)
      for (const database of each.heldDatabases())
        for (const pool of database.pools.values())
          for (const server of pool.servers) if (each.isAtWriter(server)) pids.push(server.pid);
    return pids.filter((pid) => pid > 0);
  }
}

/**
 * Somebody is in the middle of something. In session pooling servers stay with clients that do nothing; what replicates
 * goes on for ever, and has nothing to lose.
 */
function isBusy(controller: ClusterController): boolean {
  for (const database of controller.heldDatabases())
    for (const pool of database.pools.values())
      for (const server of pool.servers) if (server.state === 'tested' || hasTransaction(server)) return true;
  return false;
}

function hasTransaction(server: Server): boolean {
  return server.state === 'active' && !server.isDedicated && server.user?.inTransaction !== false;
}
