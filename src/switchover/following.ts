/**
 * Whether a standby follows the writer. A standby that does not follow will never catch up: its data are old, however
 * little of its own WAL is left to replay.
 */
import { nodeKey, type FollowingFacts, type News, type NodeFacts } from './facts.ts';

/** A stream of an older timeline shows at once; a standby that follows changes to the new timeline in less time than this. */
const OLD_STREAM_MS = 2000;
/** After a short absence of its sender a standby has a receiver again within this number of attempts. */
const ATTEMPTS = 2;
/** A standby with an invisible timeline counts as stuck after so long without replaying available WAL. */
const STUCK_MS = 10_000;
/** A receiver must live this long: one that cannot continue from its standby's position ends at once. */
const FIRM_MS = 1000;

/** The reason why a standby does not follow the writer. */
interface Doubt {
  /** for the log and SHOW TOPOLOGY */
  readonly why: string;
  /** ms to wait for the state to pass by itself */
  readonly graceMs: number;
  /** its positions may belong to another history, so that its lag is unknown */
  readonly isOtherHistory: boolean;
}

/** The state of one standby's replication. Times are ms of performance.now(); 0: never. */
export class Following implements FollowingFacts {
  #isOrphaned = false;
  /** null: it follows, or there is no writer to follow */
  #doubt: Doubt | null = null;
  #doubtedSince = 0;
  /** since when its receiver has run without interruption */
  #goodSince = 0;
  #receiver: string | null = null;
  /** it has followed the writer since it became a standby */
  #hasFollowed = false;
  #position: bigint | null = null;
  /** when it last replayed something, or had replayed everything */
  #movedAt = 0;

  /** The node is not a standby now. */
  reset(): void {
    this.#isOrphaned = false;
    this.#hasFollowed = false;
    this.#forget();
  }

  /** The writer has changed, or was away: a standby that has followed gets time to follow again. */
  awaitWriter(): void {
    if (!this.#isOrphaned) this.#forget();
  }

  #forget(): void {
    this.#doubt = null;
    this.#doubtedSince = 0;
    this.#goodSince = 0;
  }

  /** It does not follow the writer, and nothing says that it will. */
  get isOrphaned(): boolean {
    return this.#isOrphaned;
  }

  /** Whether reads may go there. A standby that was never seen following must first be seen so. */
  get isReadable(): boolean {
    return !this.#isOrphaned && (this.#doubt === null || this.#hasFollowed);
  }

  get isLagUnknown(): boolean {
    return !this.isReadable || this.#doubt?.isOtherHistory === true;
  }

  /** The reason why it does not follow; '': it follows. */
  get why(): string {
    return this.#doubt?.why ?? '';
  }

  /**
   * Judges a standby by its last answer and the writer's.
   * @param writer null: none is known now
   * @param at the node at an address that a standby streams from
   * @returns the changes worth logging
   */
  judge(
    node: NodeFacts,
    writer: NodeFacts | null,
    at: (key: string) => NodeFacts | undefined,
    now = performance.now(),
  ): News[] {
    const { evidence } = node;
    if (evidence === null || node.role !== 'reader') return [];
    const isMoving = evidence.position !== this.#position;
    this.#position = evidence.position;
    if (writer === null || writer.role !== 'writer') {
      this.awaitWriter();
      return [];
    }
    const isBehind = isBelow(evidence.position, writer.evidence!.position);
    // a standby that had nothing to replay for an hour is not stuck as soon as there is something
    if (isMoving || !isBehind) this.#movedAt = now;
    const doubt = doubtOf(node, writer, at, isBehind && now - this.#movedAt >= STUCK_MS);
    return doubt === null ? this.#follows(node, writer, now) : this.#doubted(node, writer, doubt, now);
  }

  #follows(node: NodeFacts, writer: NodeFacts, now: number): News[] {
    const receiver = node.evidence?.source?.pid ?? null;
    if (this.#goodSince === 0 || receiver !== this.#receiver) this.#goodSince = now;
    this.#receiver = receiver;
    if (this.#doubt !== null && now - this.#goodSince < FIRM_MS) return [];
    this.#doubt = null;
    this.#doubtedSince = 0;
    this.#hasFollowed = true;
    if (!this.#isOrphaned) return [];
    this.#isOrphaned = false;
    const message = `${node.key} follows the writer ${writer.key} again, and is read from`;
    return [{ level: 'info', event: 'node_follows', message }];
  }

  #doubted(node: NodeFacts, writer: NodeFacts, doubt: Doubt, now: number): News[] {
    if (this.#doubtedSince === 0) this.#doubtedSince = now;
    this.#goodSince = 0;
    this.#doubt = doubt;
    if (this.#isOrphaned || now - this.#doubtedSince < doubt.graceMs) return [];
    this.#isOrphaned = true;
    const message = `ORPHANED: ${node.key} ${doubt.why}; nothing is read from it. ${remedy(writer)}`;
    return [{ level: 'warn', event: 'node_orphaned', message }];
  }
}

function doubtOf(
  node: NodeFacts,
  writer: NodeFacts,
  at: (key: string) => NodeFacts | undefined,
  /** it has not replayed anything for a while, although there is something */
  isStuck: boolean,
): Doubt | null {
  const { source, timeline, isTimelineCurrent, position, system } = node.evidence!;
  const { timeline: writersTimeline, position: written, system: writersSystem } = writer.evidence!;
  // a standby of another cluster (blue/green) follows its own writer
  if (system !== null && writersSystem !== null && system !== writersSystem) return null;
  // a reader of shared storage does not report the source of its data
  if (source === null || source.kind === 'unknown') return null;
  const from = source.sender === null ? '' : `, streams from ${nodeKey(source.sender)}`;
  if (source.kind === 'none')
    return {
      why: `has no WAL receiver (timeline ${timeline ?? 'unknown'}, the writer's is ${writersTimeline ?? 'unknown'})`,
      graceMs: Math.max(OLD_STREAM_MS, ATTEMPTS * source.retryMs),
      isOtherHistory: isBelow(timeline, writersTimeline),
    };
  // the writer's position, reported later, must be beyond the standby's
  if (isBelow(written, position) && writer.evidence!.askedAt >= node.lastProbe)
    return {
      why: `has replayed WAL that ${writer.key} never had${from}`,
      graceMs: OLD_STREAM_MS,
      isOtherHistory: true,
    };
  // the archive has no more WAL for it, and it has no stream
  if (source.kind === 'restores' && source.wantsStream && isStuck)
    return {
      why: `has no WAL receiver, and gets nothing by its restore_command (timeline ${timeline ?? 'unknown'}, the writer's is ${writersTimeline ?? 'unknown'})`,
      graceMs: 0,
      isOtherHistory: isBelow(timeline, writersTimeline),
    };
  const sender = source.sender === null ? undefined : at(nodeKey(source.sender));
  if (isBelow(timeline, writersTimeline)) {
    const why = `is on timeline ${timeline}${from}, the writer ${writer.key} is on timeline ${writersTimeline}`;
    if (isTimelineCurrent) return { why, graceMs: OLD_STREAM_MS, isOtherHistory: true };
    // the timeline of a restart point proves little: a standby that follows the writer keeps replaying
    if (isStuck) return { why, graceMs: 0, isOtherHistory: true };
  }
  if (sender === undefined || sender === node || sender === writer) return null;
  const isElsewhere = sender.role === 'writer' ? sender.isFenced : sender.following.isOrphaned;
  if (!isElsewhere) return null;
  const why = `streams from ${sender.key}, which is not the writer and does not follow it`;
  return { why, graceMs: OLD_STREAM_MS, isOtherHistory: true };
}

/** Compares two timelines, or positions; false if one is not known. */
function isBelow<T extends number | bigint>(one: T | null, other: T | null): boolean {
  return one !== null && other !== null && one < other;
}

/** Instructions to make a standby follow the writer, as sentences. */
export function remedy({ target: { host, port } }: NodeFacts): string {
  return (
    `Point it to the writer: ALTER SYSTEM SET primary_conninfo = 'host=${host} port=${port} user=...'; ` +
    'SELECT pg_reload_conf(). If its log says then that the new timeline forked off before its own position, ' +
    `stop it and run pg_rewind --source-server='host=${host} port=${port} dbname=postgres' -D its_data_directory`
  );
}
