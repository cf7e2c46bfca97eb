/** The controller of one cluster: connects probes, election, holds and pools. */
import type { ClusterNode } from '../../sandbox/context.ts';
import type { DatabaseConfig } from '../config/config.ts';
import type { Database } from '../pool/database.ts';
import type { Settings } from '../config/options.ts';
import { moveReaders } from '../pool/relocation.ts';
import type { Server } from '../pool/server.ts';
import type { Target } from '../pool/socket.ts';
import type { Waiting } from '../pool/waiter.ts';
import type { ClusterView, SessionWatch } from '../pool/watch.ts';
import { clientErrors, type ClientError } from '../wire/errors.ts';
import { BlueGreen } from './blue-green.ts';
import { ClusterPools } from './cluster-pools.ts';
import { Discovery } from './discovery.ts';
import { Election } from './election.ts';
import { Fences } from './planned/fences.ts';
import { Switchover, type SwitchoverHistory } from './history.ts';
import { Hold } from './hold.ts';
import { judgeHolding, judgeServing, type Judgement, type Situation } from './judgement.ts';
import { Lag } from './lag.ts';
import { isKin, isSameServer, nodeKey, type Lineage, type News } from './facts.ts';
import type { Node } from './node.ts';
import { Nodes } from './nodes.ts';
import type { PlannedHold, RunningSwitchover, SwitchableCluster } from './planned/cluster.ts';
import type { Failure } from './probe.ts';
import type { ProbeSource } from './probes.ts';
import type { Evidence } from './question.ts';
import { ReadOnlyDoubt } from './read-only-doubt.ts';
import { Readers } from './readers.ts';
import type { Surroundings } from './surroundings.ts';
import type { TopologyRow } from './topology.ts';

/** The probing interval while the writer is searched for. */
const URGENT_MS = 5;
/** Stop urgent probing after this long: it costs a third of a core. */
const URGENT_FOR_MS = 30_000;

/** The knowledge about a cluster that a controller hands to its successor. */
export interface Heritage {
  /** the hosts in the configuration's entry */
  readonly hosts: readonly string[];
  readonly port: number;
  readonly targets: readonly Target[];
  /** null: not known yet */
  readonly writer: Target | null;
  readonly lineage: Lineage | null;
  /** the writer is being searched for */
  readonly isHolding: boolean;
  readonly epoch: number;
}

/**
 * Watches the cluster of one database with a topology_query. Serving: the pools connect to the writer, or to the
 * configured host if no writer is known. Holding: something was seen that a healthy writer does not do; no client gets a
 * server until a node, probed after that moment, says that it is the writer.
 */
export class ClusterController implements SessionWatch, ClusterView, SwitchableCluster {
  readonly database: Database;
  /** the entry when this began: a changed entry is another cluster */
  readonly config: DatabaseConfig;
  readonly nodes: Nodes;
  readonly #surroundings: Surroundings;
  readonly #history: SwitchoverHistory;
  readonly #discovery: Discovery;
  #writer: Node | null = null;
  #epoch = 0;
  readonly #election: Election;
  #hold: Hold | null = null;
  readonly #blueGreen: BlueGreen;
  #isDiscovered = false;
  /** the topology query has had an answer or an error */
  #hasTopology = false;
  /** the problem of the last answer, which the log has; '': none */
  #topologyProblem = '';
  readonly #readOnlyDoubt = new ReadOnlyDoubt();
  /** the configuration names another host than before, which has not answered yet */
  #isMovedEntry = false;
  /** the writer refused writes when it was last probed */
  #wasRefusing = false;
  readonly lag = new Lag();
  readonly #readers: Readers;
  readonly #pools: ClusterPools;
  #planned: RunningSwitchover | null = null;
  readonly fences: Fences;
  #stopped = false;

  constructor(
    surroundings: Surroundings,
    database: Database,
    history: SwitchoverHistory,
    probes: ProbeSource,
  ) {
    this.#surroundings = surroundings;
    this.database = database;
    this.config = database.config;
    this.#history = history;
    this.nodes = new Nodes(surroundings, database, this, probes, {
      intervalMs: () => {
        const { polling_frequency: pollingMs } = this.#settings;
        return this.#isUrgent ? Math.min(URGENT_MS, pollingMs) : pollingMs;
      },
      isWriter: (node) => node === this.#writer,
      isHeld: (node) => this.#hold?.isPlanned === true && this.#isAtWriter(node),
      onChange: (event, message) => this.#log('info', event, message),
      onEvidence: (node, evidence) => this.#onEvidence(node, evidence),
      onFailure: (node, failure) => this.#onProbeFailure(node, failure),
    });
    this.fences = new Fences({
      open: (node) => this.nodes.openSession(node),
      isRunning: () => this.#planned !== null,
      isWriter: (node) => node === this.#writer,
      log: (level, event, message) => this.#log(level, event, message),
    });
    this.#readers = new Readers(this.nodes, this.lag);
    this.#pools = new ClusterPools(database, this.nodes);
    this.#blueGreen = new BlueGreen(surroundings.resolver);
    this.#election = new Election(this.nodes, this.#blueGreen, (message) =>
      this.#log('error', 'two_writers', message),
    );
    this.#discovery = new Discovery({
      sql: database.config.topology_query!,
      refreshMs: () => this.#refreshMs(),
      pools: () => this.nodes.pools(this.#writer),
      onTopology: (rows, isPartial, problem) => {
        if (problem !== '' && problem !== this.#topologyProblem)
          this.#log('error', 'topology_incomplete', problem);
        this.#topologyProblem = problem;
        this.#onTopology(rows, isPartial);
      },
      onFailure: (message, retryMs) => {
        this.#log('error', 'topology_failed', `topology query failed: ${message}; again in ${retryMs} ms`);
        this.#hasTopology = true;
        this.#endFirstLookIfProbed();
      },
    });
    const { hosts, port } = database.config;
    const { unix_socket_dir: folder } = this.#settings;
    for (const host of hosts.length > 0 ? hosts : [folder || '/tmp'])
      this.nodes.ensure({ host, port }).seed();
  }

  get writer(): Node | null {
    return this.#writer;
  }

  get state(): 'serving' | 'holding' {
    return this.#hold === null ? 'serving' : 'holding';
  }

  get epoch(): number {
    return this.#epoch;
  }

  get held(): boolean {
    return this.#hold !== null && !this.#settings.switchover_dry_run;
  }

  get target(): Target | null {
    return this.#settings.switchover_dry_run ? null : (this.#writer?.target ?? null);
  }

  get contextNodes(): readonly ClusterNode[] {
    return this.#readers.contextNodes(this.#writer);
  }

  get #isUrgent(): boolean {
    const hold = this.#hold;
    return hold !== null && !hold.isOverdue && performance.now() - hold.entry.startedAt < URGENT_FOR_MS;
  }

  get mayRetry(): boolean {
    return this.#settings.switchover_retry === 'safe';
  }

  get heritage(): Heritage {
    const { hosts, port } = this.config;
    return {
      hosts,
      port,
      targets: [...this.nodes].map(({ target }) => target),
      writer: this.#writer?.target ?? null,
      lineage: this.#election.lineage,
      isHolding: this.#hold !== null,
      epoch: this.#epoch,
    };
  }

  /**
   * Takes over the knowledge from before the entry was changed: its host may be down now, and an old writer that is still up
   * may be the first to answer.
   */
  inherit({ hosts, port, targets, writer, lineage, isHolding, epoch }: Heritage): void {
    for (const target of targets) this.nodes.ensure(target);
    if (writer === null) return;
    this.#isMovedEntry = port !== this.config.port || hosts.join() !== this.config.hosts.join();
    this.#epoch = epoch;
    this.#election.continueFrom(lineage);
    this.#writer = this.nodes.ensure(writer);
    if (isHolding) this.#beginHold('RELOAD has changed the entry while the writer was looked for');
  }

  start(): void {
    for (const node of this.nodes) node.probe.start();
    if (this.database.pools.size === 0) return;
    if (this.#writer === null) this.used();
    else if (this.#hold === null) this.#pools.activate();
  }

  /** A client wants a connection. The first ones wait until all nodes have been probed once. */
  used(): void {
    if (this.#writer === null && this.#hold === null) this.#beginHold('first look', { isFirst: true });
  }

  stop(): void {
    this.#stopped = true;
    this.#planned?.cancel('the database is not watched any more');
    this.fences.stop();
    this.#discovery.stop();
    const hold = this.#hold;
    this.#hold = null;
    hold?.end();
    hold?.resumeLinked();
    this.#readOnlyDoubt.end();
    for (const node of [...this.nodes]) this.nodes.remove(node);
  }

  /** NOTIFY TOPOLOGY, RELOAD: probes all nodes and runs the topology query now. */
  notify(): void {
    for (const node of this.nodes) {
      node.readAgain();
      node.probe.kick();
    }
    this.#discovery.refresh();
  }

  /** The database of the reader that a client gets now; without a reader, the writer's. */
  reader(current: Database | null): Database {
    return this.#readers.choose(current) ?? this.database;
  }

  // SessionWatch: the view of pools and sessions

  refusal(): ClientError | null {
    return this.held && this.#hold!.isOverdue ? clientErrors.noWriter() : null;
  }

  onHeld(): void {
    if (this.held) this.#hold!.limit(this.#settings.switchover_hold_limit);
  }

  waitWithServer(waiter: Waiting, go: () => void): void {
    const refusal = this.refusal();
    if (refusal !== null) return void process.nextTick(() => waiter.onNoServer(refusal));
    this.#hold?.waitLinked(waiter, go);
    this.onHeld();
  }

  stopWaiting(waiter: Waiting): void {
    this.#hold?.stopWaiting(waiter);
  }

  serverLost(server: Server, reason: string): void {
    if (this.#concerns(server)) this.#beginHold(`server connection lost: ${reason}`);
  }

  serverError(server: Server, sqlstate: string): boolean {
    if (this.#stopped || this.#settings.switchover_dry_run) return false;
    if (this.#concerns(server)) {
      if (sqlstate !== '25006') this.#beginHold(`server reported ${sqlstate}`);
      // many applications cause such errors themselves: no other client waits for the probes
      else for (const node of this.nodes) node.probe.kick();
    }
    return true;
  }

  connectFailed(target: Target, reason: string): void {
    if (this.#concerns(target)) this.#beginHold(reason);
  }

  onVerdict(server: Server, sqlstate: string, tell: (gone: boolean) => void): void {
    const isRefusal = sqlstate === '25006';
    if (this.#hold !== null) {
      // a false alarm does not explain the refusal
      this.#hold.onVerdict((gone) =>
        gone || !isRefusal ? tell(gone) : this.onVerdict(server, sqlstate, tell),
      );
    } else if (this.#stopped || !this.#concerns(server)) setImmediate(tell, !this.#stopped);
    else this.#readOnlyDoubt.add(tell, isRefusal && server.pool.mode !== 'session');
  }

  transactionBroken(): void {
    const entry = this.#hold?.entry ?? this.#history.entries.at(-1);
    if (entry?.database === this.database.name) entry.noteBroken();
  }

  /** Whether a node's trouble concerns the writer; before one is known, every node's does. */
  #concerns(target: Target): boolean {
    return !this.#stopped && (this.#writer === null || nodeKey(target) === this.#writer.key);
  }

  // SwitchableCluster

  get planned(): RunningSwitchover | null {
    return this.#planned;
  }

  plan(planned: RunningSwitchover): void {
    this.#planned = planned;
  }

  endPlan(planned: RunningSwitchover): void {
    if (this.#planned === planned) this.#planned = null;
  }

  holdForSwitchover(node: Node): PlannedHold | null {
    const hold = this.#beginHold(`SWITCHOVER TO ${node.key}`, { isPlanned: true });
    if (hold === null) return null;
    return {
      get isOver() {
        return hold.isOver;
      },
      over: hold.over,
      promoting: () => hold.promoting(),
      giveUp: (why) => {
        if (hold !== this.#hold) return;
        this.#log('warn', 'switchover_given_up', `SWITCHOVER TO ${node.key} is given up: ${why}`);
        hold.endPlan();
        this.#evaluate();
        this.#pools.activateNodes();
      },
    };
  }

  *heldDatabases(): Generator<Database> {
    yield this.database;
    for (const node of this.nodes) if (this.#isAtWriter(node)) yield node.database;
  }

  isAtWriter(target: Target): boolean {
    const node = this.nodes.byKey.get(nodeKey(target));
    return node !== undefined && this.#isAtWriter(node);
  }

  #isAtWriter(node: Node): boolean {
    return this.#writer !== null && (node === this.#writer || isSameServer(node, this.#writer));
  }

  // evidence

  #onEvidence(node: Node, evidence: Evidence): void {
    if (evidence.recovering) this.#doubtName(node);
    this.#logNews(node.answered(evidence));
    if (this.#isMovedEntry && node.isSeed) this.#seedAnswered(node, evidence);
    if (node === this.#writer && !evidence.recovering) {
      this.lag.note(evidence);
      if (this.#hold === null) this.#election.continueFrom(evidence);
    }
    this.#evaluate();
    this.fences.answered(node);
    node.watch.judged(false);
    if (!this.#isDiscovered) {
      this.#isDiscovered = true;
      this.#discovery.refresh();
    }
  }

  /** The host that the configuration names now has answered. If it belongs to another cluster than before, that one counts. */
  #seedAnswered(node: Node, evidence: Evidence): void {
    this.#isMovedEntry = false;
    if (evidence.recovering || isKin(node, this.#election.lineage)) return;
    this.#election.continueFrom(evidence);
    if (this.#hold === null) this.#adopt(node);
    else this.#setWriter(null);
    this.#discovery.refresh();
  }

  #onProbeFailure(node: Node, failure: Failure): void {
    const { reason, isAlive, isClosing } = failure;
    this.#logNews(node.failed(failure));
    if (isAlive) {
      node.watch.judged(false);
      // it has no room for the probe, or no account: that is no reason to hold all clients
      const hold = this.#hold;
      const isAsked = node === this.#writer || this.#writer === null;
      if (hold !== null && !hold.isPlanned && isAsked && !hold.isGone) this.#release(this.#writer);
      return;
    }
    this.#doubtName(node);
    this.#setAside(node);
    this.#readers.changed();
    node.watch.judged(true);
    this.#pools.nodeGone(node, reason, { hasWriters: this.#hasWritersAt(node), isClosing });
    this.#cutOff(node);
    if (node !== this.#writer) return this.#endFirstLookIfProbed();
    this.#beginHold(`probe failed: ${reason}`);
    this.#hold?.gone();
    this.#evaluate();
  }

  /** A node that has been silent for switchover_timeout will give no answer: its clients get an error. */
  #cutOff(node: Node): void {
    const { switchover_timeout: timeoutMs } = this.#settings;
    if (timeoutMs === 0 || performance.now() - node.silentSince < timeoutMs) return;
    this.#pools.cutOff(node, this.#hasWritersAt(node));
  }

  /** The pools of the database may have servers at the node. */
  #hasWritersAt(node: Node): boolean {
    return node === this.#writer && this.target !== null;
  }

  /** While the writer is searched for, re-resolves the name of a node that is not it: the name may have moved to it. */
  #doubtName({ target }: Node): void {
    if (this.#hold !== null) this.#surroundings.resolver.doubt(target.host);
  }

  /** The node gets no reads for a while; with recreate_disconnected_pools = 0 until RELOAD or NOTIFY TOPOLOGY. */
  #setAside(node: Node): void {
    const { server_failed_delay: delayMs, recreate_disconnected_pools: isTakenBack } = this.#settings;
    node.setAside(isTakenBack ? performance.now() + delayMs : Infinity);
  }

  /** Decides by the last answers of all nodes. */
  #evaluate(): void {
    if (this.#stopped) return;
    this.#readers.changed();
    const best = this.#election.best(this.#writer);
    if (this.#hold === null) this.#carryOut(judgeServing(this.#situation(best)));
    if (this.#hold === null) this.#judgeDoubt();
    else this.#judgeHold(this.#hold, best);
    this.#election.fence(this.#writer);
    this.#judgeStandbys();
    this.#endFirstLookIfProbed();
  }

  /** Judges which standbys follow the writer, and which never will. */
  #judgeStandbys(): void {
    // a hold may be a false alarm, which changes nothing about standbys
    if (this.#hold !== null) return;
    for (const node of this.nodes) {
      this.#logNews(node.follow(this.#writer, (key) => this.nodes.byKey.get(key)));
      if (!node.following.isOrphaned) continue;
      for (const pool of node.database.pools.values()) moveReaders(pool, 'orphaned standby');
    }
  }

  #judgeHold(hold: Hold, best: Node | null): void {
    if (!hold.isPlanned && !hold.isDeployment && this.#writer?.role === 'reader') hold.gone();
    this.#carryOut(judgeHolding(this.#situation(best), hold));
  }

  #situation(best: Node | null): Situation<Node> {
    const isAhead = best !== null && this.#election.isAhead(best);
    return { writer: this.#writer, best, isAhead, mayAdopt: best !== null && this.#mayAdopt(best) };
  }

  #carryOut(judgement: Judgement<Node>): void {
    switch (judgement.kind) {
      case 'adopt':
        return this.#adopt(judgement.node);
      case 'hold':
        return void this.#beginHold(judgement.reason);
      case 'release':
        return this.#release(judgement.node);
      case 'nothing':
    }
  }

  /** The first writer that is seen is taken; one that a SWITCHOVER has fenced, only after all nodes have been asked. */
  #mayAdopt(node: Node): boolean {
    return (node.evidence?.fence ?? null) === null || this.#hasProbedAll;
  }

  /** If the operator makes the old writer read-only before promoting another, refused writes wait for that promotion. */
  #judgeDoubt(): void {
    const { switchover_timeout: timeoutMs } = this.#settings;
    const since = this.#writer?.readOnlySince ?? 0;
    const isComing = since > 0 && (timeoutMs === 0 || performance.now() - since < timeoutMs);
    const isOver = this.#wasRefusing && since === 0 && this.#writer?.role === 'writer';
    this.#wasRefusing = since > 0;
    if (isOver) this.#readOnlyDoubt.takesWrites();
    if (!isComing) this.#readOnlyDoubt.answered(this.nodes);
  }

  #adopt(node: Node): void {
    this.#setWriter(node);
    this.#election.continueFrom(node.evidence);
    this.#log('info', 'writer_found', `the writer is ${node.key}`);
    if (this.target !== null) this.#pools.retireElsewhere(node.target);
  }

  #setWriter(node: Node | null): void {
    const isMove = node !== this.#writer;
    this.#writer = node;
    if (!isMove) return;
    this.lag.reset();
    if (node?.evidence) this.lag.note(node.evidence);
  }

  // holding

  #beginHold(reason: string, { isPlanned = false, isFirst = false } = {}): Hold | null {
    if (this.#hold !== null || this.#stopped) return null;
    const writer = this.#writer;
    if (!isFirst)
      this.#log('warn', 'switchover_hold', `${reason}; holding new transactions while locating the writer`);
    this.#hold = new Hold({
      databases: isPlanned ? () => this.heldDatabases() : () => [this.database],
      settings: this.#settings,
      isPlanned,
      isFirst,
      entry: new Switchover(this.database.name, writer, reason),
      onOverdue: () =>
        this.#log('error', 'no_writer', `no writer within switchover_timeout; the search continues`),
    });
    this.#readOnlyDoubt.handOver(this.#hold);
    for (const node of this.nodes) {
      // its earlier answers are void, under whichever name
      const isDoubted = writer !== null && !isPlanned && (node === writer || isSameServer(node, writer));
      if (isDoubted) {
        node.doubt();
        node.probe.renew();
      } else {
        node.probe.kick();
      }
    }
    if (this.#settings.switchover_dry_run && !isFirst)
      this.#log('warn', 'dry_run', 'switchover_dry_run: nothing is held');
    return this.#hold;
  }

  /** Ends the hold with a writer. Null: nothing was learned, and everything continues as before. */
  #release(node: Node | null): void {
    const hold = this.#hold!;
    if (hold.isFirst) return this.#endFirstLook(hold, node);
    const old = this.#writer;
    const isMove = node !== old;
    this.#hold = null;
    this.#setWriter(node);
    if (node !== null) this.#election.continueFrom(node.evidence ?? this.#election.lineage);
    this.#epoch++;
    const unmoved = hold.isGivenUp ? 'given up' : 'false alarm';
    const how = isMove ? 'moved' : hold.isGone ? 'returned' : unmoved;
    hold.entry.noteHeld(hold.countHeld());
    const message = hold.entry.found(node, how);
    if (isMove || hold.isGone) this.#history.add(hold.entry);
    if (isMove && old !== null) this.#setAside(old);
    // the streams of standbys from a writer that was away do not show whether they follow it now
    if (isMove || hold.isGone) for (const each of this.nodes) each.following.awaitWriter();
    this.#readers.changed();
    this.#log(isMove || hold.isGone ? 'warn' : 'info', 'switchover_end', message);
    const { target } = this;
    hold.end(isMove);
    if (target !== null && (isMove || hold.isGone)) this.#pools.moveTo(target, old?.readOnlySince);
    if (isMove && target !== null && this.#settings.switchover_retry === 'never') this.#pools.failWaiters();
    if (isMove && node !== null && target !== null) this.#pools.useSpares(node);
    this.#resume(hold);
    hold.entry.resumed();
    this.#history.count(hold.entry, how);
    if (isMove || hold.isGone) this.#discovery.refresh();
  }

  /** Ends the first look once all nodes have been probed without finding a writer: the configured host serves. */
  #endFirstLookIfProbed(): void {
    if (!this.#hold?.isFirst || this.#hold.isDeployment || !this.#hasProbedAll) return;
    this.#endFirstLook(this.#hold, null);
  }

  get #hasProbedAll(): boolean {
    const nodes = [...this.nodes];
    if (nodes.some((node) => node.lastProbe === 0 && node.failure === '')) return false;
    // without any answering node the topology query cannot run
    return this.#hasTopology || nodes.every((node) => node.failure !== '');
  }

  #endFirstLook(hold: Hold, node: Node | null): void {
    this.#hold = null;
    if (node !== null) this.#adopt(node);
    hold.end();
    this.#resume(hold);
  }

  #resume(hold: Hold): void {
    this.#pools.activate();
    this.#pools.activateNodes();
    hold.resumeLinked();
    this.#surroundings.turnover.recheck();
  }

  // nodes

  #onTopology(rows: readonly TopologyRow[], isPartial: boolean): void {
    const listed = this.nodes.update(rows, isPartial);
    const isDone = this.#blueGreen.update(listed);
    const { isSwitching } = this.#blueGreen;
    if (isSwitching && this.#hold === null) this.#beginHold('blue/green switchover in progress');
    // the old environment is still up, and claims to be the writer
    this.#hold?.deployment(isSwitching);
    if (isDone && this.#writer !== null)
      this.#log('warn', 'blue_green_done', 'the blue/green switchover is done');
    this.#hasTopology = true;
    this.#evaluate();
  }

  #refreshMs(): number {
    const { topology_refresh: refreshMs, polling_frequency: pollingMs } = this.#settings;
    return this.#blueGreen.refreshMs(refreshMs || 30_000, Math.max(URGENT_MS, pollingMs));
  }

  get #settings(): Settings {
    return this.#surroundings.context.settings;
  }

  #logNews(news: readonly News[]): void {
    for (const { level, event, message } of news) this.#log(level, event, message);
  }

  #log(level: 'info' | 'warn' | 'error', event: string, message: string): void {
    this.#surroundings.context.log[level](
      { database: this.database.name, event },
      `switchover ${this.database.name}: ${message}`,
    );
  }
}
