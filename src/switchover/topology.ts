import type { Row } from '../pool/control.ts';

/** A row of a topology query. */
export interface TopologyRow {
  readonly host: string;
  /** null: that of the database's entry */
  readonly port: number | null;
  /** BLUE_GREEN_DEPLOYMENT_SOURCE or …_TARGET, where the query tells it, in upper case */
  readonly role: string | null;
  /** AVAILABLE, SWITCHOVER_INITIATED, …, in upper case */
  readonly status: string | null;
}

/**
 * Reads the rows of a topology query: the column `endpoint`, or the only column, is a host; `port`, `role` and `status`
 * may be beside it.
 * @throws Error where there is no host to be found
 */
export function parseTopology(rows: readonly Row[]): TopologyRow[] {
  const [first] = rows;
  if (first === undefined) throw new Error('the topology query returned no rows');
  const columns = Object.keys(first);
  const hostColumn = columns.includes('endpoint') ? 'endpoint' : columns.length === 1 ? columns[0]! : null;
  if (hostColumn === null)
    throw new Error(`the topology query has no column "endpoint" (${columns.join(', ')})`);
  return rows.flatMap((row) => {
    const host = row[hostColumn]?.trim();
    // pg_stat_replication has NULL for those who came through a Unix socket
    if (!host) return [];
    return [
      {
        host: withoutMask(host),
        port: parsePort(row['port'] ?? null),
        role: upper(row['role']),
        status: upper(row['status']),
      },
    ];
  });
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

/** What a blue/green deployment is at, from the rows that belong to one; null: there is none. */
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
