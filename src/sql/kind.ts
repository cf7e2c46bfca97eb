/**
 * The effect of a statement on data that outlives its session, by its text ("SQL Commands" in PostgreSQL's manual). A
 * statement that is not recognized never counts as harmless.
 */
import { statementsOf } from './statements.ts';

/**
 * - `begin`: opens a transaction block.
 * - `rollback`: ends one and keeps nothing of it.
 * - `session`: changes or shows the session alone, or does nothing at all.
 * - `plain`: does all of its work inside its transaction. If the transaction ends by FATAL nothing of it remains, and it can
 * be resent.
 * - `transactional`: nothing of it remains either, but it needs its session, or data that the client has sent.
 * - `other`: commits by itself, in parts, or works outside of its transaction.
 */
export type StatementKind = 'begin' | 'rollback' | 'session' | 'plain' | 'transactional' | 'other';

const BEGIN = /^(?:begin|start)\b/i;
const ROLLBACK = /^(?:rollback|abort)\b(?!.*\b(?:to|chain|prepared)\b)/is;
const SESSION = /^(?:set|reset|show|discard|deallocate|listen|unlisten|load|prepare(?!\s+transaction\b))\b/i;
const PLAIN =
  /^(?:select|insert|update|delete|merge|with|values|table|explain|lock|notify|truncate|comment|grant|revoke|refresh)\b/i;
/** CREATE, ALTER and DROP of objects that belong to one database, which a transaction can undo; no subscriptions. */
const DEFINITION =
  /^(?:create|alter|drop)\s+(?:or\s+replace\s+|temp(?:orary)?\s+|unlogged\s+|unique\s+|recursive\s+|materialized\s+|foreign\s+)*(?:table|index|view|sequence|schema|function|procedure|aggregate|type|domain|trigger|rule|policy|role|user|group|extension)\b/i;
const TRANSACTIONAL =
  /^(?:alter|close|commit|copy|create|declare|drop|end|execute|fetch|import|move|prepare|reassign|release|rollback|savepoint|security)\b/i;

/** Statements that PostgreSQL refuses inside of a transaction block, or that reach another server. */
const OWN_TRANSACTION =
  /^(?:(?:create|drop)\s+(?:database|tablespace)|alter\s+system|(?:create|alter|drop)\s+subscription)\b|^alter\s+database\b.*\bset\s+tablespace\b|^(?:commit|end|rollback|abort)\s+prepared\b/is;
/** Builds, drops and detachments that take several transactions. REFRESH … CONCURRENTLY takes one. */
const CONCURRENTLY = /^(?!refresh\b).*\bconcurrently\b/is;
/** A program, or a file that the server writes. */
const COPY_OUTSIDE = /^copy\b.*\b(?:program\b|to\b(?!\s+stdout\b))/is;

/** Functions in PostgreSQL's manual whose effects survive a ROLLBACK, or reach another server. */
const OUTSIDE = new RegExp(
  String.raw`\b(?:dblink\w*|lo_export|pg_(?:${[
    'backup_start|backup_stop|start_backup|stop_backup|promote|reload_conf|rotate_logfile|switch_wal',
    'create_restore_point|wal_replay_pause|wal_replay_resume|log_standby_snapshot|log_backend_memory_contexts',
    'cancel_backend|terminate_backend|logical_emit_message|sync_replication_slots|drop_replication_slot',
    String.raw`(?:create|copy)_(?:physical|logical)_replication_slot|replication_slot_advance`,
    String.raw`logical_slot_get_\w+|replication_origin_\w+|stat_\w*reset\w*|file_\w+`,
  ].join('|')}))\s*\(`,
  'i',
);

/** @param statement one statement as `statementsOf` gives it */
export function kindOf(statement: string): StatementKind {
  const text = statement.replace(/^[\s(]+/, '').trimEnd();
  if (text === '') return 'session';
  if (OWN_TRANSACTION.test(text) || COPY_OUTSIDE.test(text) || CONCURRENTLY.test(text)) return 'other';
  if (BEGIN.test(text)) return 'begin';
  if (ROLLBACK.test(text)) return 'rollback';
  if (SESSION.test(text)) return 'session';
  if (OUTSIDE.test(text)) return 'other';
  if (PLAIN.test(text) || DEFINITION.test(text)) return 'plain';
  return TRANSACTIONAL.test(text) ? 'transactional' : 'other';
}

/** Whether this is one statement, of a kind that can be resent if it provably had no effect. */
export function isRepeatable(sql: string): boolean {
  const statements = statementsOf(sql);
  if (statements === null || statements.length > 1) return false;
  const kind = kindOf(statements[0] ?? '');
  return kind !== 'transactional' && kind !== 'other';
}

/** Whether this is one statement, and it opens a transaction block. */
export function isBegin(sql: string): boolean {
  const statements = statementsOf(sql);
  return statements?.length === 1 && kindOf(statements[0]!) === 'begin';
}
