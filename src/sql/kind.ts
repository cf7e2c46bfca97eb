/**
 * What a statement does to data that outlives its session, by its text ("SQL Commands" in PostgreSQL's manual). Nothing
 * that is not recognized is taken for harmless.
 *
 * - `begin`: opens a transaction block.
 * - `rollback`: ends one and keeps nothing of it.
 * - `session`: changes or shows the session alone, or does nothing at all.
 * - `plain`: does all that it does inside its transaction, so that the transaction's end by FATAL leaves nothing behind,
 *   and can be sent again.
 * - `transactional`: leaves nothing behind either, but needs its session, or data that the client has sent.
 * - `other`: commits by itself, in parts or works outside of its transaction.
 */
export type StatementKind = 'begin' | 'rollback' | 'session' | 'plain' | 'transactional' | 'other';

const BEGIN = /^(?:begin|start)\b/i;
const ROLLBACK = /^(?:rollback|abort)\b(?!.*\b(?:to|chain|prepared)\b)/is;
const SESSION = /^(?:set|reset|show|discard|deallocate|listen|unlisten|load|prepare(?!\s+transaction\b))\b/i;
const PLAIN =
  /^(?:select|insert|update|delete|merge|with|values|table|explain|lock|notify|truncate|comment|grant|revoke|refresh)\b/i;
/** What CREATE, ALTER and DROP are about where they are such statements: no databases, tablespaces or subscriptions. */
const DEFINITION =
  /^(?:create|alter|drop)\s+(?:or\s+replace\s+|temp(?:orary)?\s+|unlogged\s+|unique\s+|recursive\s+|materialized\s+|foreign\s+)*(?:table|index|view|sequence|schema|function|procedure|aggregate|type|domain|trigger|rule|policy|role|user|group|extension)\b/i;
const TRANSACTIONAL =
  /^(?:alter|close|commit|copy|create|declare|drop|end|execute|fetch|import|move|prepare|reassign|release|rollback|savepoint|security)\b/i;

/** CREATE, ALTER and DROP that PostgreSQL refuses inside of a transaction block, or that reach another server. */
const OWN_TRANSACTION =
  /^(?:(?:create|drop)\s+(?:database|tablespace)|alter\s+system|(?:create|alter|drop)\s+subscription)\b|^alter\s+database\b.*\bset\s+tablespace\b|^(?:commit|end|rollback|abort)\s+prepared\b/is;
/** Builds, drops and detachments in several transactions. REFRESH … CONCURRENTLY is one transaction. */
const CONCURRENTLY = /^(?!refresh\b).*\bconcurrently\b/is;
/** A program, or a file that the server writes. */
const COPY_OUTSIDE = /^copy\b.*\b(?:program\b|to\b(?!\s+stdout\b))/is;

/** Functions of PostgreSQL's manual whose effects stay when their transaction is rolled back, or reach another server. */
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

/** One statement, of a kind that can be sent again where it provably had no effect. */
export function isRepeatable(sql: string): boolean {
  const statements = statementsOf(sql);
  if (statements === null || statements.length > 1) return false;
  const kind = kindOf(statements[0] ?? '');
  return kind !== 'transactional' && kind !== 'other';
}

/** The same, and it opens a transaction block. */
export function isBegin(sql: string): boolean {
  const statements = statementsOf(sql);
  return statements?.length === 1 && kindOf(statements[0]!) === 'begin';
}

/** A semicolon inside of these does not end the statement. */
const COMPOUND = /\b(?:atomic|rule)\b/i;

/**
 * The statements of a string, without literals, comments, and quotes of names. A name that is no plain word is left out.
 * A quoted key word looks like one, which makes a statement more than it is, and never less.
 * @returns null where it is not certain what belongs to which
 */
export function statementsOf(sql: string): string[] | null {
  const text = withoutQuoted(sql);
  if (text === null) return null;
  const statements = text
    .split(';')
    .map((each) => each.trim())
    .filter((each) => each !== '');
  return statements.length > 1 && COMPOUND.test(text) ? null : statements;
}

// A comment without an end goes to the end of the text, or the rest would be searched again for each beginning of one.
const QUOTED = /'[^']*'|"[^"]*"|--[^\n]*|\/\*(?:[^*]|\*(?!\/))*(?:\*\/|$)|\$([A-Za-z_]\w*)?\$/g;

/** A quoted name that means the same without the quotes, unless it is a key word. */
const PLAIN_NAME = /^"[a-z_]\w*"$/;

/** As `statementsOf` says; null where it is not certain what is in quotes. */
function withoutQuoted(sql: string): string | null {
  let out = '';
  let at = 0;
  QUOTED.lastIndex = 0;
  for (let match = QUOTED.exec(sql); match !== null; match = QUOTED.exec(sql)) {
    const found = match[0];
    // a backslash may escape the quote, in E'' and with standard_conforming_strings = off; comments may be nested
    if (found.startsWith("'") && found.includes('\\')) return null;
    if (found.startsWith('/*') && (found.includes('/*', 2) || found.length < 4 || !found.endsWith('*/')))
      return null;
    // the name of a function may be quoted
    const name = PLAIN_NAME.test(found) ? found.slice(1, -1) : '';
    out += `${sql.slice(at, match.index)} ${name} `;
    at = QUOTED.lastIndex;
    if (found.startsWith('$')) {
      const end = sql.indexOf(found, at);
      if (end < 0) return null;
      at = end + found.length;
      QUOTED.lastIndex = at;
    }
  }
  const rest = out + sql.slice(at);
  return /['"]|\/\*/.test(rest) ? null : rest;
}
