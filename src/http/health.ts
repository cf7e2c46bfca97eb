/** The answers to health checks: whether the proxy has started, lives, and can serve clients. */
import type { Observe } from '../admin/observe.ts';
import type { NodeSnapshot } from '../telemetry/snapshots/switchovers.ts';

/** Stands for "no database" in http_ready_databases. */
const NO_DATABASE = '-';

/** The reasons why no new clients should be sent here; none: the proxy is ready. */
export function reasonsAgainst(observe: Observe): string[] {
  const { state, isLeaving } = observe.lifecycle;
  const reasons: string[] = [];
  if (isLeaving) reasons.push('the proxy will shut down soon');
  else if (state === 'starting' || state === 'draining' || state === 'stopped' || state === 'handed over')
    reasons.push(`the proxy is ${state}`);
  if (observe.listeners().length === 0) reasons.push('no listening socket is open');
  return [...reasons, ...unreachable(observe)];
}

/** Whether the proxy has begun to serve. */
export function hasStarted({ lifecycle: { state } }: Observe): boolean {
  return state !== 'starting';
}

/** A sentence for each database that must be reachable and is not. */
function unreachable(observe: Observe): string[] {
  const { config } = observe;
  const { http_ready_databases: wanted } = config.settings;
  if (wanted.includes(NO_DATABASE)) return [];
  const problemOf = problems(observe);
  // a misspelt name would never be found unreachable
  const isKnown = (name: string): boolean => config.databases.has(name) || config.fallback !== null;
  if (wanted.length > 0)
    return wanted.flatMap((name) =>
      isKnown(name) ? (problemOf(name) ?? []) : `http_ready_databases: there is no database ${name}`,
    );
  const names = [...config.databases.keys()];
  const all = names.map(problemOf);
  // names that only the entry `*` knows are not listed anywhere, so nothing is known about them
  if (names.length === 0 || config.fallback !== null || all.some((problem) => problem === null)) return [];
  return all.filter((problem) => problem !== null);
}

/** By database, the problem with its writer; null: none is known. */
function problems({ pools, switchovers }: Observe): (name: string) => string | null {
  const nodes = Map.groupBy(switchovers.nodes(), ({ database }) => database);
  const servers = new Map<string, number>();
  const failures = new Map<string, string>();
  for (const { database, servers: byPhase, lastFailure } of pools.pools()) {
    const { active, idle, used, tested } = byPhase;
    servers.set(database, (servers.get(database) ?? 0) + active + idle + used + tested);
    if (lastFailure !== null) failures.set(database, lastFailure);
  }
  return (name) => {
    const cluster = nodes.get(name);
    if (cluster !== undefined) return clusterProblem(name, cluster);
    return (servers.get(name) ?? 0) > 0 ? null : (failures.get(name) ?? null);
  };
}

/** Before the first probe, nothing is known. */
function clusterProblem(name: string, nodes: readonly NodeSnapshot[]): string | null {
  const isUnknown = nodes.every(({ sinceProbeMs, problem }) => sinceProbeMs === null && problem === '');
  const hasWriter = nodes.some(({ role, problem }) => role === 'writer' && problem === '');
  return isUnknown || hasWriter ? null : `${name} has no reachable writer`;
}
