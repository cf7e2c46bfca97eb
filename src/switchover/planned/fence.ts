/**
 * Keeps a server from acknowledging writes, whether they come through this proxy, through another, or directly.
 *
 * default_transaction_read_only = on makes transactions read-only that do not ask for something else, and
 * synchronous_standby_names = a standby that does not exist keeps every COMMIT unanswered, COMMIT PREPARED included, unless
 * the session has set synchronous_commit to local or off. If the server's own configuration has set it so, that is changed,
 * too. All are set by ALTER SYSTEM, so that they outlast a crash of this proxy. Then all sessions are ended that began
 * before the settings held.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { markOf, markText, type Mark } from './fence-mark.ts';
import { literal, OWN_NAMES, type OwnSession } from './own-session.ts';

/** The time limit of one of the proxy's own statements, in ms. */
const STATEMENT_MS = 5000;
/** The time limit for the server to read its settings, and for sessions to end, in ms. */
const EFFECT_MS = 5000;
const POLL_MS = 5;

const ALREADY_FENCED =
  'it is fenced by a SWITCHOVER that has not ended: where no other node is about to be promoted, a SWITCHOVER to this ' +
  'node itself takes that back';

/** The earlier settings, to be put back. */
export interface Fence {
  readonly mark: Mark;
  /** the server was made read-only before: the fence does not take that back */
  readonly wasReadOnly: boolean;
}

export interface FenceOptions {
  /** of the writer */
  readonly timeline: number;
  /** process IDs of sessions that write nothing, since this proxy holds their clients */
  readonly keep: readonly number[];
  /** opens one more session at the same server */
  readonly open: () => Promise<OwnSession>;
  /** ms that the server may take to read its settings, and sessions to end */
  readonly limitMs: number;
  /** @throws Error if the switchover must be given up */
  readonly check: () => void;
}

interface Bounds {
  readonly effectMs: number;
  readonly check: () => void;
}

/** The role of a session, and the server's version. */
interface Rights {
  readonly me: string;
  readonly isSuperuser: boolean;
  /** as server_version_num */
  readonly version: number;
}

/** The rights that fencing needs and the session's role lacks, as sentences. */
export async function missingForFence(session: OwnSession, keep: readonly number[]): Promise<string[]> {
  const [row] = await session.query(
    `SELECT rolsuper AS super, current_user AS me, current_setting('server_version_num') AS version,
    coalesce(current_setting('allow_alter_system', true), 'on') AS alter_system,
    has_function_privilege('pg_reload_conf()', 'EXECUTE') AS reload,
    pg_has_role('pg_signal_backend', 'USAGE') AS signal, pg_has_role('pg_read_all_stats', 'USAGE') AS stats
    FROM pg_roles WHERE rolname = current_user`,
    STATEMENT_MS,
  );
  const rights: Rights = {
    me: row?.['me'] ?? '',
    isSuperuser: row?.['super'] === 't',
    version: Number(row?.['version'] ?? 0),
  };
  const { me, isSuperuser } = rights;
  const missing: string[] = [];
  if (row?.['alter_system'] !== 'on') missing.push('ALTER SYSTEM is switched off there (allow_alter_system)');
  if (row?.['reload'] !== 't')
    missing.push(`GRANT EXECUTE ON FUNCTION pg_reload_conf() TO "${me}" is missing there`);
  if (isSuperuser) return missing;
  missing.push(...(await missingParameters(session, rights)));
  if (row?.['signal'] !== 't')
    missing.push(`GRANT pg_signal_backend TO "${me}" is missing: it may not end sessions`);
  if (row?.['stats'] !== 't')
    missing.push(`GRANT pg_read_all_stats TO "${me}" is missing: it may not see which sessions there are`);
  else {
    const supers = await session.query(
      `SELECT a.pid, a.usename, a.application_name FROM (${sessionsToEnd(keep)}) AS ending
      JOIN pg_stat_activity AS a USING (pid) JOIN pg_roles AS r ON r.oid = a.usesysid WHERE r.rolsuper LIMIT 5`,
      STATEMENT_MS,
    );
    if (supers.length > 0) {
      const named = supers.map(
        (each) => `${each['usename']} (${each['application_name']}, pid ${each['pid']})`,
      );
      missing.push(`only a superuser may end sessions of superusers: ${named.join(', ')}`);
    }
  }
  return missing;
}

async function missingParameters(session: OwnSession, { me, version }: Rights): Promise<string[]> {
  if (version < 150_000) return [`"${me}" is no superuser, and ALTER SYSTEM needs one before PostgreSQL 15`];
  const names = ['default_transaction_read_only', 'synchronous_standby_names'];
  if (await answersAtOnce(session)) names.push('synchronous_commit');
  const [row] = await session.query(
    `SELECT ${names.map((name) => `has_parameter_privilege('${name}', 'ALTER SYSTEM') AS ${name}`).join(', ')}`,
    STATEMENT_MS,
  );
  const lacking = names.filter((name) => row?.[name] !== 't');
  return lacking.length === 0
    ? []
    : [`GRANT ALTER SYSTEM ON PARAMETER ${lacking.join(', ')} TO "${me}" is missing`];
}

/** Commits of new sessions wait for no standby. */
async function answersAtOnce(session: OwnSession): Promise<boolean> {
  const [row] = await session.query(
    "SELECT reset_val IN ('off', 'local') AS at_once FROM pg_settings WHERE name = 'synchronous_commit'",
    STATEMENT_MS,
  );
  return row?.['at_once'] === 't';
}

/** The fence of an earlier SWITCHOVER stands, as a sentence: the node that it was to may still be promoted. */
export async function leftFence(session: OwnSession): Promise<string[]> {
  const [row] = await session.query('SHOW synchronous_standby_names', STATEMENT_MS);
  return markOf(row?.['synchronous_standby_names'] ?? null) === null ? [] : [ALREADY_FENCED];
}

/**
 * Roles and databases that make their transactions writable, or have their commits answered at once, in spite of the
 * fence's defaults; as sentences.
 */
export async function escapes(session: OwnSession): Promise<string[]> {
  const rows = await session.query(
    `SELECT coalesce('role ' || r.rolname, 'all roles') || coalesce(' in database ' || d.datname, '') AS who,
    replace(setting, '=', ' is set to ') AS is_set
    FROM pg_db_role_setting AS s LEFT JOIN pg_roles AS r ON r.oid = s.setrole
    LEFT JOIN pg_database AS d ON d.oid = s.setdatabase, unnest(s.setconfig) AS setting
    WHERE lower(setting) ~ '^(default_transaction_read_only=(of|f)|synchronous_commit=(local|of|f))'
    OR lower(setting) ~ '^(default_transaction_read_only|synchronous_commit)=(no|n|0)$'`,
    STATEMENT_MS,
  );
  return rows.map((row) => `${row['is_set']} for ${row['who']}, which a fence cannot change`);
}

/**
 * Raises the fence. Afterwards no session from before is left, and no commit is answered.
 * @throws Error, ControlError; the caller lowers it then
 * @param onBegin called before anything is changed, with the settings that lowering the fence has to put back
 */
export async function raiseFence(
  session: OwnSession,
  options: FenceOptions,
  onBegin: (fence: Fence) => void,
): Promise<void> {
  const { timeline, keep, open, check } = options;
  const effectMs = Math.min(EFFECT_MS, options.limitMs);
  const fence = await fenceFor(session, timeline);
  // its own commits are not to wait for a standby that does not exist
  await session.query('SET synchronous_commit = local', STATEMENT_MS);
  const names = markText(fence.mark);
  check();
  onBegin(fence);
  await session.query(`ALTER SYSTEM SET synchronous_standby_names = ${literal(names)}`, STATEMENT_MS);
  if (fence.mark.commit !== null)
    await session.query('ALTER SYSTEM SET synchronous_commit = on', STATEMENT_MS);
  await session.query('ALTER SYSTEM SET default_transaction_read_only = on', STATEMENT_MS);
  await session.query('SELECT pg_reload_conf()', STATEMENT_MS);
  const since = await untilHolds(session, names, open, { effectMs, check });
  await endSessions(session, keep, since, { effectMs, check });
}

async function fenceFor(session: OwnSession, timeline: number): Promise<Fence> {
  const [row] = await session.query(
    `SELECT names.setting AS names, names.source, names.sourcefile, read_only.reset_val AS read_only,
    sync.reset_val AS commit, sync.source AS commit_source, sync.sourcefile AS commit_file,
    (SELECT count(*) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND application_name = ${literal(OWN_NAMES[1]!)}) AS others
    FROM pg_settings AS names, pg_settings AS read_only, pg_settings AS sync
    WHERE names.name = 'synchronous_standby_names' AND read_only.name = 'default_transaction_read_only'
    AND sync.name = 'synchronous_commit'`,
    STATEMENT_MS,
  );
  const names = row?.['names'] ?? '';
  if (markOf(names) !== null) throw new Error(ALREADY_FENCED);
  if (row?.['others'] !== '0') throw new Error('another SWITCHOVER away from this node is under way');
  const value = row?.['commit'] ?? '';
  const isWeak = value === 'off' || value === 'local';
  const isOwn = isByAlterSystem(row?.['source'], row?.['sourcefile']);
  const isCommitOwn = isByAlterSystem(row?.['commit_source'], row?.['commit_file']);
  const commit = isWeak ? (isCommitOwn ? value : '') : null;
  return {
    mark: { timeline, before: isOwn ? names : '', commit },
    wasReadOnly: row?.['read_only'] === 'on',
  };
}

/** Not every role may read the file: a value that ALTER SYSTEM puts back at least stays in force. */
function isByAlterSystem(source: string | null | undefined, file: string | null | undefined): boolean {
  return file ? file.endsWith('auto.conf') : source === 'configuration file';
}

/**
 * Waits until new sessions begin read-only and a commit of one of them hangs.
 * @returns the server's time, from which on every session begins like that
 */
async function untilHolds(
  session: OwnSession,
  names: string,
  open: () => Promise<OwnSession>,
  { effectMs, check }: Bounds,
): Promise<string> {
  const deadline = performance.now() + effectMs;
  for (;;) {
    check();
    const fresh = await open();
    try {
      const [row] = await fresh.query(
        `SELECT current_setting('default_transaction_read_only') AS read_only,
        current_setting('synchronous_standby_names') AS names, clock_timestamp() AS now,
        (SELECT count(*) FROM pg_stat_replication WHERE sync_priority > 0) AS synchronous`,
        STATEMENT_MS,
      );
      // a WAL sender that has not read the settings yet would still let commits complete
      const isRead = row?.['read_only'] === 'on' && row['names'] === names && row['synchronous'] === '0';
      if (isRead && (await hangs(session, fresh))) return row['now'] ?? '';
    } finally {
      fresh.close();
    }
    if (performance.now() > deadline)
      throw new Error(
        'what the fence sets (default_transaction_read_only, synchronous_standby_names, synchronous_commit) has no ' +
          'effect on new sessions there: ' +
          'a command-line option of the server, or a setting of the role or database, may override them',
      );
    await sleep(POLL_MS);
  }
}

/** Whether a commit hangs: tries one that writes only a message into the WAL. */
async function hangs(session: OwnSession, fresh: OwnSession): Promise<boolean> {
  let isAnswered = false;
  const commit = fresh
    .query(
      "BEGIN READ WRITE; SELECT pg_logical_emit_message(true, 'pgswitchyard', ''); COMMIT",
      STATEMENT_MS + EFFECT_MS,
    )
    .finally(() => (isAnswered = true));
  commit.catch(() => {});
  for (;;) {
    if (isAnswered) {
      await commit;
      return false;
    }
    const [row] = await session.query(
      `SELECT CASE WHEN wait_event = 'SyncRep' THEN pg_terminate_backend(pid) END AS hung
      FROM pg_stat_activity WHERE pid = ${fresh.pid}`,
      STATEMENT_MS,
    );
    if (row?.['hung'] === 't') return true;
    await sleep(POLL_MS);
  }
}

/**
 * Sessions that could write. WAL senders to standbys and subscribers cannot; PostgreSQL's other own processes (autovacuum,
 * background workers) show in the WAL.
 */
function sessionsToEnd(keep: readonly number[]): string {
  return `SELECT pid FROM pg_stat_activity AS each LEFT JOIN pg_stat_replication AS sender USING (pid)
    WHERE pid <> pg_backend_pid() AND NOT (pid = ANY ('{${keep.join(',')}}'))
    AND each.application_name NOT IN (${OWN_NAMES.map(literal).join(', ')})
    AND (each.backend_type = 'client backend' OR (each.backend_type = 'walsender' AND each.datid IS NOT NULL
    AND sender.state NOT IN ('streaming', 'catchup')))`;
}

async function endSessions(
  session: OwnSession,
  keep: readonly number[],
  since: string,
  { effectMs, check }: Bounds,
): Promise<void> {
  const deadline = performance.now() + effectMs;
  for (;;) {
    check();
    const rows = await session.query(
      `SELECT pid, usename, application_name, pg_terminate_backend(pid) FROM (${sessionsToEnd(keep)}) AS ending
      JOIN pg_stat_activity USING (pid) WHERE backend_start <= ${literal(since)}`,
      STATEMENT_MS,
    );
    if (rows.length === 0) return;
    if (performance.now() > deadline) {
      const named = rows
        .slice(0, 5)
        .map((row) => `${row['usename']} (${row['application_name']}, pid ${row['pid']})`);
      throw new Error(`sessions do not end there: ${named.join(', ')}`);
    }
    await sleep(POLL_MS);
  }
}

/** Ends sessions with hanging commits, now that another node is the writer: their clients get an error. */
export async function endHungCommits(session: OwnSession): Promise<void> {
  await session.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid <> pg_backend_pid()",
    STATEMENT_MS,
  );
}

/** Statements that restore postgresql.auto.conf, except default_transaction_read_only. */
export function settingsBefore({ before, commit }: Mark): string[] {
  const puts = (name: string, value: string): string =>
    value === '' ? `ALTER SYSTEM RESET ${name}` : `ALTER SYSTEM SET ${name} = ${literal(value)}`;
  const names = puts('synchronous_standby_names', before);
  return commit === null ? [names] : [puts('synchronous_commit', commit), names];
}

/**
 * Puts the settings back, and waits until the server has read them.
 * @throws Error, ControlError
 */
export async function lowerFence(
  session: OwnSession,
  { mark, wasReadOnly }: Fence,
  open: () => Promise<OwnSession>,
): Promise<void> {
  await session.query('SET synchronous_commit = local', STATEMENT_MS);
  if (!wasReadOnly) await session.query('ALTER SYSTEM RESET default_transaction_read_only', STATEMENT_MS);
  for (const sql of settingsBefore(mark)) await session.query(sql, STATEMENT_MS);
  await session.query('SELECT pg_reload_conf()', STATEMENT_MS);
  const deadline = performance.now() + EFFECT_MS;
  for (;;) {
    const fresh = await open();
    let names: string;
    try {
      const [row] = await fresh.query('SHOW synchronous_standby_names', STATEMENT_MS);
      names = row?.['synchronous_standby_names'] ?? '';
    } finally {
      fresh.close();
    }
    if (markOf(names) === null || performance.now() > deadline) return;
    await sleep(POLL_MS);
  }
}
