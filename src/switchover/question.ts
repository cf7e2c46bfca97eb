/** The question of a probe, and the evidence in its answer. */
import type { Row } from '../pool/control.ts';
import type { Target } from '../pool/socket.ts';
import { markOf, MARK_START } from './planned/fence-mark.ts';

/** A standby's source of WAL. */
export interface Source {
  /**
   * `receives`: a WAL receiver runs and has reached its sender; `restores`: none does, and there is a restore_command;
   * `none`: neither; `unknown`: the node does not report it, like a reader of shared storage.
   */
  readonly kind: 'receives' | 'restores' | 'none' | 'unknown';
  /** it has a primary_conninfo; false where the role may not see that (pg_read_all_settings) */
  readonly wantsStream: boolean;
  /** process ID of the WAL receiver: another one means that it was restarted */
  readonly pid: string | null;
  /** ms between two attempts to get WAL from a sender that is not there (wal_retrieve_retry_interval) */
  readonly retryMs: number;
  /** where the WAL comes from, as primary_conninfo names it; null: the role may not see it (pg_read_all_stats) */
  readonly sender: Target | null;
}

/** A node's answer to a probe. */
export interface Evidence {
  readonly recovering: boolean;
  /** timeline of the WAL that it writes, receives or has replayed; null: not reported */
  readonly timeline: number | null;
  /** false: the timeline is that of the last restart point, and the true one may be higher */
  readonly isTimelineCurrent: boolean;
  /** bytes of WAL written, or replayed */
  readonly position: bigint | null;
  /** seconds since the last replayed transaction, by the clocks of the two servers; null for a writer */
  readonly lagSeconds: number | null;
  /** replay is paused */
  readonly isPaused: boolean;
  /** null for a writer */
  readonly source: Source | null;
  /** system identifier: nodes of one initdb have the same; null: not reported */
  readonly system: string | null;
  /** start time of its postmaster: two addresses with the same one are one server */
  readonly instance: string | null;
  /** transactions are read-only by default (default_transaction_read_only), even after a promotion */
  readonly readOnly: boolean;
  /** the mark that a SWITCHOVER has left in synchronous_standby_names; null: none */
  readonly fence: string | null;
  /** the node's own error about the longer question; '': it answers all of it */
  readonly refused: string;
  /** it reports only whether it is in recovery */
  readonly isShort: boolean;
  /** when the question was sent; ms of performance.now() */
  readonly askedAt: number;
}

// The timeline of a writer is in its WAL file's name; pg_control_checkpoint() would still report the old one until the
// checkpoint after the promotion. A standby's is that of its stream, which only some roles may see, or of its restart point.
// pg_stat_wal_receiver has a row for every role, but its columns other than pid need pg_read_all_stats.
const QUESTION = `SELECT pg_is_in_recovery() AS recovering,
 CASE WHEN pg_is_in_recovery()
 THEN greatest((SELECT timeline_id FROM pg_control_checkpoint()), r.received_tli)::bigint
 ELSE ('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 16, '0'))::bit(64)::bigint END AS timeline,
 CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn,
 CASE WHEN pg_is_in_recovery()
 THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END AS lag,
 CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END AS paused,
 r.pid AS receiver, r.received_tli, r.sender_host, r.sender_port,
 CASE WHEN r.pid IS NULL AND pg_is_in_recovery()
 THEN (SELECT setting <> '' FROM pg_settings WHERE name = 'primary_conninfo') END AS wants_stream,
 current_setting('restore_command', true) AS restore_command,
 extract(epoch FROM current_setting('wal_retrieve_retry_interval')::interval) AS retry,
 pg_postmaster_start_time() AS started,
 current_setting('default_transaction_read_only') AS read_only,
 CASE WHEN starts_with(current_setting('synchronous_standby_names'), '${MARK_START}')
 THEN current_setting('synchronous_standby_names') END AS fence,
 (SELECT system_identifier FROM pg_control_system()) AS system
 FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver AS r ON true`;

/** For roles that may not execute the pg_control_* functions. */
const WITHOUT_CONTROL = QUESTION.replace('(SELECT timeline_id FROM pg_control_checkpoint())', 'NULL').replace(
  '(SELECT system_identifier FROM pg_control_system())',
  'NULL',
);
/** For servers that are not quite PostgreSQL and refuse the other questions. */
export const SHORT_QUESTION = 'SELECT pg_is_in_recovery() AS recovering';
/** The most informative one first. */
export const QUESTIONS: readonly string[] = [QUESTION, WITHOUT_CONTROL, SHORT_QUESTION];

/** @param row the answer to one of QUESTIONS; undefined: there was none */
export function evidenceFrom(
  row: Row | undefined,
  asked: Pick<Evidence, 'askedAt' | 'refused' | 'isShort'>,
): Evidence {
  const recovering = row?.['recovering'] === 't';
  const position = parseLsn(row?.['lsn'] ?? null);
  return {
    recovering,
    timeline: row?.['timeline'] ? Number(row['timeline']) : null,
    isTimelineCurrent: !recovering || Boolean(row?.['received_tli']),
    position,
    lagSeconds: row?.['lag'] ? Math.max(0, Number(row['lag'])) : null,
    isPaused: row?.['paused'] === 't',
    source: recovering ? sourceFrom(row, position) : null,
    system: row?.['system'] ?? null,
    instance: row?.['started'] ?? null,
    readOnly: row?.['read_only'] === 'on',
    fence: markOf(row?.['fence'] ?? null) === null ? null : row!['fence']!,
    ...asked,
  };
}

/** PostgreSQL's own default of wal_retrieve_retry_interval */
const DEFAULT_RETRY_S = 5;

function sourceFrom(row: Row | undefined, position: bigint | null): Source {
  const pid = row?.['receiver'] ?? null;
  const retryMs = Number(row?.['retry'] ?? DEFAULT_RETRY_S) * 1000;
  if (pid !== null) {
    const { sender_host: host, sender_port: port } = row!;
    const sender = host && port ? { host, port: Number(port) } : null;
    return { kind: 'receives', wantsStream: true, pid, retryMs, sender };
  }
  // a node without a position does not replay WAL: a reader of shared storage has no receiver either
  const kind = position === null ? 'unknown' : row?.['restore_command'] ? 'restores' : 'none';
  return { kind, wantsStream: row?.['wants_stream'] === 't', pid: null, retryMs, sender: null };
}

/** `16/B374D848` in bytes. */
export function parseLsn(text: string | null): bigint | null {
  const match = /^([0-9A-F]+)\/([0-9A-F]+)$/i.exec(text ?? '');
  return match === null ? null : (BigInt(`0x${match[1]}`) << 32n) + BigInt(`0x${match[2]}`);
}
