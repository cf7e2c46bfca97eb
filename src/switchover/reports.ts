import type { Node } from './node.ts';
import type { Failure } from './probe.ts';
import type { Evidence } from './question.ts';

/** What a node's probe brings is noted at the node, and what is new about it goes to the log. */
export interface News {
  readonly level: 'info' | 'warn';
  readonly event: string;
  readonly message: string;
}

/** The node has answered. @returns what is new */
export function noteAnswer(node: Node, evidence: Evidence): News[] {
  const news: News[] = [];
  const now = performance.now();
  const role = evidence.recovering ? 'reader' : 'writer';
  node.lastProbe = now;
  node.readOnlySince = readOnlySince(node, evidence, now);
  if (node.readOnlySince === now) {
    const message = `${node.key} does not take writes any more`;
    news.push({ level: 'warn', event: 'node_read_only', message });
  }
  const { refused, isShort } = evidence;
  if (refused !== '' && refused !== node.evidence?.refused) {
    const lost = isShort
      ? 'its timeline, system identifier and lag are not known: of two writers the newer one cannot be told, and rules see no lag'
      : 'its system identifier is not known, and the timeline of a standby only while it streams: a node of another cluster cannot be told. EXECUTE on pg_control_checkpoint() and pg_control_system() is missing';
    const message = `${node.key} does not answer all that its probe asks (${refused}): ${lost}`;
    news.push({ level: 'warn', event: 'node_rights', message });
  }
  node.evidence = evidence;
  node.failure = '';
  node.silentSince = 0;
  if (!node.database.isUp) {
    node.database.isUp = true;
    for (const pool of node.database.pools.values()) pool.opener.forgetFailures();
  }
  if (role !== node.role) {
    node.role = role;
    if (role === 'writer') node.following.reset();
    node.lastChange = now;
    const message = `${node.key} is a ${role} (timeline ${evidence.timeline ?? 'unknown'})`;
    news.push({ level: 'info', event: 'node_role', message });
  }
  return news;
}

/** The node has not answered. @returns what is new */
export function noteFailure(node: Node, { reason, isAlive }: Failure): News[] {
  const now = performance.now();
  const isNew = node.failure === '';
  node.failure = reason;
  if (isNew) node.lastChange = now;
  if (isAlive) {
    node.silentSince = 0;
  } else {
    node.role = 'unknown';
    node.database.isUp = false;
    node.silentSince ||= now;
  }
  const message = isAlive
    ? `${node.key} refuses its probe: ${reason}; whether it is the writer, and how far behind, is not known from now on`
    : `${node.key} does not answer: ${reason}`;
  return isNew ? [{ level: 'warn', event: 'node_failed', message }] : [];
}

/** What `Node.readOnlySince` becomes with evidence that has come `now`. */
function readOnlySince(node: Node, { recovering, readOnly }: Evidence, now: number): number {
  if (recovering || !readOnly) return 0;
  const before = node.evidence;
  const wasWritable = before !== null && !before.recovering && !before.readOnly;
  return wasWritable ? now : node.readOnlySince;
}
