/** Answers to topology queries. */
import type { Answer } from './query.ts';

/** A row of a topology query. */
export interface TopologyRow {
  readonly host: string;
  /** null: that of the database's entry */
  readonly port: number | null;
  /** BLUE_GREEN_DEPLOYMENT_SOURCE or …_TARGET, if the query reports it, in upper case */
  readonly role: string | null;
  /** AVAILABLE, SWITCHOVER_INITIATED, …, in upper case */
  readonly status: string | null;
}

/** The answer to a topology query. */
export interface Topology {
  readonly rows: readonly TopologyRow[];
  /** rows without a host */
  readonly hostless: number;
}

/** A column to which the query has given no name. */
const UNNAMED = '?column?';

/**
 * Reads the answer to a topology query. The column `endpoint`, or the only column, is a host; `port`, `role` and `status`
 * may be beside it. If columns have no names, the first is the host, and the second the port.
 * @throws Error if there is no host column
 */
export function parseTopology({ columns, rows }: Answer): Topology {
  if (rows.length === 0) throw new Error('the topology query returned no rows');
  const at = positionsOf(columns);
  const found: TopologyRow[] = [];
  for (const row of rows) {
    const host = row[at.host]?.trim();
    if (!host) continue;
    found.push({
      host: withoutMask(host),
      port: parsePort(row[at.port] ?? null),
      role: upper(row[at.role]),
      status: upper(row[at.status]),
    });
  }
  return { rows: found, hostless: rows.length - found.length };
}

/** -1: there is no such column. */
interface Positions {
  readonly host: number;
  readonly port: number;
  readonly role: number;
  readonly status: number;
}

function positionsOf(columns: readonly string[]): Positions {
  const role = columns.indexOf('role');
  const status = columns.indexOf('status');
  const named = columns.indexOf('port');
  const endpoint = columns.indexOf('endpoint');
  if (endpoint >= 0 || columns.length === 1)
    return { host: Math.max(0, endpoint), port: endpoint < 0 ? -1 : named, role, status };
  if (!columns.includes(UNNAMED))
    throw new Error(`the topology query has no column "endpoint" (${columns.join(', ')})`);
  const second = columns[1] === 'role' || columns[1] === 'status' ? -1 : 1;
  return { host: 0, port: named > 0 ? named : second, role, status };
}

/** inet as text may carry a netmask: 10.0.0.1/32. A folder of Unix sockets begins with a slash. */
function withoutMask(host: string): string {
  return /^[0-9a-f.:]+\/\d+$/i.test(host) ? host.slice(0, host.indexOf('/')) : host;
}

function parsePort(text: string | null): number | null {
  if (text === null || text === '') return null;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw new Error(`the topology query returned the port "${text}"`);
  return port;
}

function upper(text: string | null | undefined): string | null {
  return text ? text.toUpperCase() : null;
}

/** The progress of a blue/green deployment, from the rows that belong to one; null: none. */
export interface Deployment {
  /** it has begun, and is not over: worth a look many times a second */
  readonly isUnderWay: boolean;
  /** nothing new may begin on the source */
  readonly isSwitching: boolean;
  /** the target has taken over */
  readonly isDone: boolean;
  /** the names lead to where they should */
  readonly isSettled: boolean;
}

const SOURCE = 'BLUE_GREEN_DEPLOYMENT_SOURCE';
const TARGET = 'BLUE_GREEN_DEPLOYMENT_TARGET';
/** SWITCHOVER_INITIATED still takes writes: the guardrails are being checked. */
const SWITCHING = new Set(['SWITCHOVER_IN_PROGRESS']);
const UNDER_WAY = new Set(['SWITCHOVER_INITIATED', 'SWITCHOVER_IN_PROGRESS']);
const SETTLED = new Set(['SWITCHOVER_COMPLETED']);
const DONE = new Set(['SWITCHOVER_IN_POST_PROCESSING', 'SWITCHOVER_COMPLETED']);

export function deploymentOf(rows: readonly TopologyRow[]): Deployment | null {
  const taking = rows.filter((row) => row.role === SOURCE || row.role === TARGET);
  if (taking.length === 0) return null;
  const is = (states: ReadonlySet<string>): boolean => taking.some((row) => states.has(row.status ?? ''));
  return {
    isUnderWay: is(UNDER_WAY) && !is(DONE),
    isSwitching: is(SWITCHING) && !is(DONE),
    isDone: is(DONE),
    isSettled: is(SETTLED),
  };
}
