/** The preconditions of a SWITCHOVER: what must be true of both nodes before a client is held. */
import { remedy } from '../following.ts';
import { isSameServer } from '../facts.ts';
import type { Node } from '../node.ts';
import { escapes, leftFence, lowerFence, missingForFence } from './fence.ts';
import { markOf } from './fence-mark.ts';
import type { OwnSession } from './own-session.ts';

/** The longest that an answer of a node may take, in ms. */
export const ANSWER_MS = 5000;

/** The reason to refuse a switchover by what the probes have found, before a node is asked; null: none. */
export function refusalOf(target: Node, writer: Node): string | null {
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

/**
 * Takes back a fence that the target still has from an earlier time as the writer: it would keep the node from taking writes.
 * @param open opens another session at the target
 * @returns the session to continue with, which sees the present settings
 */
export async function lowerOldFence(
  session: OwnSession,
  open: () => Promise<OwnSession>,
): Promise<OwnSession> {
  const [row] = await session.query('SHOW synchronous_standby_names', ANSWER_MS);
  const mark = markOf(row?.['synchronous_standby_names'] ?? null);
  if (mark === null) return session;
  await lowerFence(session, { mark, wasReadOnly: false }, open);
  session.close();
  return open();
}

/**
 * The reasons that keep the writer from being fenced, as sentences.
 * @param ownPids sessions of the proxy whose clients are held
 */
export async function writerProblems(
  session: OwnSession,
  writer: Node,
  ownPids: readonly number[],
): Promise<string[]> {
  const missing = [...(await leftFence(session)), ...(await missingForFence(session, ownPids))];
  const problems = missing.map((each) => `${writer.key} cannot be fenced: ${each}`);
  return [...problems, ...(await escapes(session))];
}

/** The standby's own view of its state. */
export interface TargetState {
  /** start time of the postmaster, as text; null: not known */
  readonly instance: string | null;
  /** its replay is paused */
  readonly isPaused: boolean;
  /** the reasons that keep it from being promoted, as sentences, a paused replay excepted */
  readonly problems: string[];
}

export async function askTarget(session: OwnSession, target: Node, writer: Node): Promise<TargetState> {
  const { key, evidence } = target;
  const [row] = await session.query(
    `SELECT current_user AS me, pg_is_in_recovery() AS recovering, pg_is_wal_replay_paused() AS paused,
    r.pid AS receiver, r.received_tli, r.sender_host, r.sender_port,
    has_function_privilege('pg_promote(boolean, integer)', 'EXECUTE') AS promote,
    current_setting('default_transaction_read_only') AS read_only, pg_postmaster_start_time() AS started
    FROM (SELECT) AS one LEFT JOIN pg_stat_wal_receiver AS r ON true`,
    ANSWER_MS,
  );
  if (row?.['recovering'] !== 't')
    return { instance: null, isPaused: false, problems: [`${key} is not a standby any more`] };
  const problems: string[] = [];
  const writers = writer.evidence?.timeline ?? null;
  const timeline = Number(row['received_tli'] ?? evidence?.timeline ?? 0);
  if (row['receiver'] === null) problems.push(`${key} has no WAL receiver: it does not follow ${writer.key}`);
  if (writers !== null && row['received_tli'] && timeline !== writers)
    problems.push(`${key} is on timeline ${timeline}, the writer ${writer.key} is on timeline ${writers}`);
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
  return { instance: row['started'] ?? null, isPaused: row['paused'] === 't', problems };
}
