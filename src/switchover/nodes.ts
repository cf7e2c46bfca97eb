/** The nodes of one cluster, with their probes and databases. */
import { Database } from '../pool/database.ts';
import type { Pool } from '../pool/pool.ts';
import type { Target } from '../pool/socket.ts';
import type { ClusterView, SessionWatch } from '../pool/watch.ts';
import { NodeWatch } from './node-watch.ts';
import { nodeKey } from './facts.ts';
import { Node } from './node.ts';
import { OwnSession } from './planned/own-session.ts';
import type { Failure } from './probe.ts';
import type { ProbeSource } from './probes.ts';
import type { Evidence } from './question.ts';
import type { Surroundings } from './surroundings.ts';
import type { TopologyRow } from './topology.ts';

/** The shortest time limit of a probe, in ms: a busy machine is not a dead one. */
const DEADLINE_MS = 1000;
/** The time limit for opening one of the proxy's own sessions, in ms. */
const SESSION_MS = 5000;

export interface NodeEvents {
  /** ms between two probes of a node */
  intervalMs(): number;
  isWriter(node: Node): boolean;
  /** a SWITCHOVER away from this node also holds clients that asked for it by name */
  isHeld(node: Node): boolean;
  /** A node was added or removed. */
  onChange(event: string, message: string): void;
  onEvidence(node: Node, evidence: Evidence): void;
  onFailure(node: Node, failure: Failure): void;
}

/** The nodes of one cluster, each with its probe and a database of its own. */
export class Nodes {
  readonly byKey = new Map<string, Node>();
  readonly #surroundings: Surroundings;
  readonly #owner: Database;
  readonly #cluster: SessionWatch & ClusterView;
  readonly #events: NodeEvents;
  readonly #probes: ProbeSource;

  /** @param owner the database with the topology_query */
  constructor(
    surroundings: Surroundings,
    owner: Database,
    cluster: SessionWatch & ClusterView,
    probes: ProbeSource,
    events: NodeEvents,
  ) {
    this.#surroundings = surroundings;
    this.#owner = owner;
    this.#cluster = cluster;
    this.#events = events;
    this.#probes = probes;
  }

  [Symbol.iterator](): IterableIterator<Node> {
    return this.byKey.values();
  }

  /** The node at this address; a new one is not probed before its probe is started. */
  ensure(target: Target): Node {
    const key = nodeKey(target);
    const known = this.byKey.get(key);
    if (known !== undefined) return known;
    // of several unused databases only the first opens a connection to each node in advance
    const isPrepared = (): boolean => node.probe.isFirst || this.#isUsed;
    const database = this.#databaseOf(target, key, isPrepared);
    const node = new Node({
      target,
      database,
      watch: (self) =>
        new NodeWatch(this.#cluster, {
          isWriter: () => this.#events.isWriter(self),
          isHeld: () => this.#events.isHeld(self),
          ask: () => {
            if (database.removed) return false;
            self.probe.renew();
            return true;
          },
        }),
      probe: (self) =>
        this.#probes.of(key, target, {
          pool: () => this.#credentialsFor(database),
          intervalMs: () => this.#events.intervalMs(),
          deadlineMs: () => Math.max(DEADLINE_MS, 3 * this.#surroundings.context.settings.polling_frequency),
          onEvidence: (evidence) => this.#events.onEvidence(self, evidence),
          onFailure: (failure) => this.#events.onFailure(self, failure),
        }),
    });
    database.watchBy(node.watch, this.#cluster);
    this.byKey.set(key, node);
    this.#surroundings.directory.addNode(database);
    return node;
  }

  /**
   * Applies an answer to the topology query: new nodes are probed, and nodes that it does not name any more are removed, except
   * the writer and configured hosts.
   * @param isPartial nodes may be missing: none leaves
   * @returns the nodes that it names
   */
  update(rows: readonly TopologyRow[], isPartial: boolean): Map<Node, TopologyRow> {
    const listed = new Map<Node, TopologyRow>();
    for (const row of rows) {
      const target = { host: row.host, port: row.port ?? this.#owner.config.port };
      const isNew = !this.byKey.has(nodeKey(target));
      const node = this.ensure(target);
      listed.set(node, row);
      node.describe([row.role, row.status].filter(Boolean).join(' '));
      if (!isNew) continue;
      this.#events.onChange('node_added', `node ${node.key} found by the topology query`);
      node.probe.start();
    }
    for (const node of [...this]) {
      if (isPartial || listed.has(node) || node.isSeed || this.#events.isWriter(node)) continue;
      this.#events.onChange('node_removed', `node ${node.key} has left the topology`);
      this.remove(node);
    }
    return listed;
  }

  /**
   * Finds a node by its name on the console: `host:port`, `dev@host:port`, or the host of one node only.
   * @throws Error
   */
  named(name: string): Node {
    const at = [...this].filter((node) => node.target.host === name);
    if (at.length > 1)
      throw new Error(`more than one node at ${name}: ${at.map((node) => node.key).join(', ')}`);
    const found = this.byKey.get(name) ?? [...this].find((node) => node.database.name === name) ?? at[0];
    if (found === undefined) throw new Error(`no such node: ${name}`);
    return found;
  }

  get #isUsed(): boolean {
    if (this.#owner.clientCount > 0) return true;
    for (const { database } of this) if (database.clientCount > 0) return true;
    return false;
  }

  /** Removes a node. Its connections are closed as soon as they are free. */
  remove(node: Node): void {
    this.byKey.delete(node.key);
    node.probe.stop();
    this.#surroundings.directory.removeNode(node.database);
    node.watch.judged(true);
    for (const pool of node.database.pools.values()) pool.retire('node left the cluster');
  }

  /** Pools of the nodes that answer, that of `first` before all others. */
  *pools(first: Node | null): Generator<Pool> {
    const nodes = [...this].filter((node) => node.role !== 'unknown');
    nodes.sort((a, b) => Number(b === first) - Number(a === first));
    for (const node of nodes) {
      const pool = this.#credentialsFor(node.database);
      if (pool !== null) yield pool;
    }
  }

  /** Opens one of the proxy's own sessions, as the role that probes. @throws Error */
  async openSession(node: Node): Promise<OwnSession> {
    const pool = this.#credentialsFor(node.database);
    if (pool === null) throw new Error('no role is known that could log in (auth_user)');
    try {
      return await OwnSession.open(pool, node.target, SESSION_MS);
    } catch (error) {
      throw new Error(`no connection to ${node.key}: ${(error as Error).message}`, { cause: error });
    }
  }

  #databaseOf({ host, port }: Target, key: string, isPrepared: () => boolean): Database {
    const { config } = this.#owner;
    const name = `${this.#owner.name}@${key}`;
    const minimum = config.min_pool_size ?? this.#surroundings.context.settings.min_pool_size;
    return new Database(
      name,
      {
        ...config,
        name,
        dbname: config.dbname ?? this.#owner.name,
        hosts: [host],
        port,
        topology_query: null,
        reader_database: null,
        min_pool_size: Math.max(1, minimum),
      },
      true,
      { entry: this.#owner.entry, isPrepared },
    );
  }

  /** The role that probes: the forced user, auth_user, or the first user that has logged in. */
  #credentialsFor(node: Database): Pool | null {
    const { config, pools } = this.#owner;
    const { auth_user: authUser } = this.#surroundings.context.settings;
    const first = pools.keys().next().value ?? node.pools.keys().next().value;
    const user = config.user ?? config.auth_user ?? authUser ?? first ?? null;
    if (!user) return null;
    const pool = this.#surroundings.directory.pool(node, user);
    pool.credentials.inherit(pools.get(user)?.credentials);
    return pool;
  }
}
