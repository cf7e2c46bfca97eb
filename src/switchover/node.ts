import type { Database } from '../pool/databases.ts';
import type { Target } from '../pool/socket.ts';
import type { Following } from './following.ts';
import type { NodeWatch } from './node-watch.ts';
import type { NodeProbe } from './probes.ts';
import type { Evidence } from './question.ts';

export type Role = 'unknown' | 'writer' | 'reader';

/** A server of a cluster, and what is known of it. Times are of performance.now(), in ms; 0: never. */
export interface Node {
  readonly key: string;
  readonly target: Target;
  /** the configuration names it, whether the topology query does or not */
  isSeed: boolean;
  /** the database whose pools go to this node: `dev@host:port` */
  readonly database: Database;
  readonly probe: NodeProbe;
  /** what its own clients are told */
  readonly watch: NodeWatch;
  /** by the last answer; `unknown` as soon as the connection that gave it is gone */
  role: Role;
  evidence: Evidence | null;
  /** why there is no evidence; '' when there is */
  failure: string;
  /** no answer has come, or it was the writer and was replaced: not used as a reader before */
  readerFrom: number;
  lastProbe: number;
  /** since when nothing has been heard of it; 0: it answers, or refuses to */
  silentSince: number;
  lastChange: number;
  /** when it was first seen to be no standby and to refuse writes, while it was watched */
  readOnlySince: number;
  /** it says that it is the writer while a better one does too */
  isFenced: boolean;
  /** whether it follows the writer, while it is a standby */
  readonly following: Following;
  /** role and status columns of the topology query */
  label: string;
}

export function nodeKey({ host, port }: Target): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What is known of the writer that was, also when it is gone. */
export interface Lineage {
  readonly timeline: number | null;
  readonly system: string | null;
}

/** Whether a node descends from the same initdb, as far as is known. */
export function isKin(node: Node, known: Lineage | null): boolean {
  const system = node.evidence?.system ?? null;
  return system === null || known === null || known.system === null || known.system === system;
}

/**
 * Whether a node may become, or be again, the writer.
 *
 * A promoted standby always begins a timeline of its own, higher than the one that it followed. So one with a lower
 * timeline is a writer of the past. The same timeline at another node is right only where the old writer is not there:
 * a standby that was started as a primary without promotion. Timelines of another cluster say nothing at all.
 */
export function isSuccessor(candidate: Node, old: Node | null, known: Lineage | null): boolean {
  if (candidate.role !== 'writer') return false;
  if (known === null) return true;
  // made anew at the same address, somebody has decided that this is it
  if (!isKin(candidate, known)) return candidate === old;
  const { timeline: oldTimeline } = known;
  const timeline = candidate.evidence?.timeline ?? null;
  if (timeline === null || oldTimeline === null) return true;
  if (timeline > oldTimeline) return true;
  return (
    timeline === oldTimeline &&
    (old === null || candidate === old || (old.role !== 'writer' && old.failure !== ''))
  );
}

/** The better of two writers: the higher timeline, then the one that topology knows, then the one that was there. */
export function betterWriter(a: Node, b: Node, current: Node | null): Node {
  const difference = (a.evidence?.timeline ?? 0) - (b.evidence?.timeline ?? 0);
  if (difference !== 0) return difference > 0 ? a : b;
  if (a === current || b === current) return a === current ? a : b;
  if (a.isSeed !== b.isSeed) return a.isSeed ? b : a;
  return a;
}

/** Two addresses of one server. */
export function isSameServer(a: Node, b: Node): boolean {
  const started = a.evidence?.instance ?? null;
  return started !== null && started === b.evidence?.instance && a.evidence!.timeline === b.evidence.timeline;
}
