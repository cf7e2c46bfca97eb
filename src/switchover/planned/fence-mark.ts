/**
 * The value that SWITCHOVER gives to synchronous_standby_names of the old writer: the name of a standby that does not exist, so
 * that no commit is acknowledged. The name records the timeline and the earlier setting.
 *
 * A name in double quotes may be anything (PostgreSQL's documentation of synchronous_standby_names).
 */
export interface Mark {
  /** of the writer that was fenced: a node on a higher one has been promoted since */
  readonly timeline: number;
  /** synchronous_standby_names in postgresql.auto.conf before; '': it was not there */
  readonly before: string;
  /** the same of synchronous_commit; null: it was left alone */
  readonly commit: string | null;
}

export const MARK_START = '"pgswitchyard fence, timeline ';
const MARK =
  /^"pgswitchyard fence, timeline (\d+)(?:, synchronous_commit: ([a-z_]*))?, before: ((?:[^"]|"")*)"$/;

/** The value of synchronous_standby_names. */
export function markText({ timeline, before, commit }: Mark): string {
  const own = commit === null ? '' : `, synchronous_commit: ${commit}`;
  return `${MARK_START}${timeline}${own}, before: ${before.replaceAll('"', '""')}"`;
}

/** @returns null: the setting is not a mark of a SWITCHOVER */
export function markOf(setting: string | null): Mark | null {
  const match = MARK.exec(setting ?? '');
  if (match === null) return null;
  return { timeline: Number(match[1]), before: match[3]!.replaceAll('""', '"'), commit: match[2] ?? null };
}
