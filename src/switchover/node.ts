import type { Database } from '../pool/databases.ts';
import type { Target } from '../pool/socket.ts';
import type { Evidence, Probe } from './probe.ts';

export type Role = 'unknown' | 'writer' | 'reader';

/** A server of a cluster, and what is known of it. Times are of performance.now(), in ms; 0: never. */
export interface Node {
  readonly key: string;
  readonly target: Target;
  /** the configuration names it, whether the topology query does or not */
  isSeed: boolean;
  /** the database whose pools go to this node: `dev@host:port` */
  readonly database: Database;
  readonly probe: Probe;
  /** by the last answer; `unknown` as soon as the connection that gave it is gone */
  role: Role;
  evidence: Evidence | null;
  /** why there is no evidence; '' when there is */
  failure: string;
  /** no answer has come, or it was the writer and was replaced: not used as a reader before */
  readerFrom: number;
  lastProbe: number;
  lastChange: number;
  /** it says that it is the writer while a better one does too */
  isFenced: boolean;
  /** role and status columns of the topology query */
  label: string;
}

export function nodeKey({ host, port }: Target): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Whether a node may become, or be again, the writer.
 *
 * A promoted standby always begins a timeline of its own, higher than the one that it followed. So one with a lower
 * timeline is a writer of the past. The same timeline at another node is right only where the old writer is not there:
 * a standby that was started as a primary without promotion.
 */
export function isSuccessor(candidate: Node, old: Node | null, oldTimeline: number | null): boolean {
  if (candidate.role !== 'writer') return false;
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
