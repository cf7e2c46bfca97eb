/** All clusters of a proxy. */
import type { Database } from '../pool/database.ts';
import type { Clusters, Directory } from '../pool/directory.ts';
import type { LifecycleView } from '../lifecycle.ts';
import { ClusterController, type Heritage } from './controller.ts';
import { SwitchoverHistory } from './history.ts';
import { nodeKey } from './facts.ts';
import { Probes } from './probes.ts';
import type { Surroundings } from './surroundings.ts';

/** All clusters of a proxy: one controller for each database with a topology_query. */
export class Switchovers implements Clusters {
  readonly controllers = new Map<string, ClusterController>();
  readonly history = new SwitchoverHistory();
  readonly #probes = new Probes();
  readonly #surroundings: Omit<Surroundings, 'directory'>;
  readonly #lifecycle: LifecycleView;

  constructor(surroundings: Omit<Surroundings, 'directory'>, lifecycle: LifecycleView) {
    this.#lifecycle = lifecycle;
    this.#surroundings = surroundings;
  }

  /** Watches the clusters of the configuration, and stops watching removed ones (start, RELOAD). */
  reconfigure(directory: Directory): void {
    if (this.#lifecycle.isStopped) return;
    const { databases } = directory;
    const before = new Map<Database, Heritage>();
    for (const controller of [...this.controllers.values()]) {
      const { database, planned } = controller;
      const isThere = databases.get(database.name) === database;
      if (isThere && this.#isSame(controller)) continue;
      // its clients wait until the fence is taken back or, after the promotion was asked for, until another node is the writer
      if (isThere && planned !== null) {
        planned.cancel(`RELOAD has changed the entry of ${database.name}`);
        void planned.over.then(() => this.reconfigure(directory));
        continue;
      }
      before.set(database, controller.heritage);
      this.forgotten(database);
    }
    for (const database of [...databases.values()]) {
      if (database.config.topology_query === null) continue;
      const known = this.controllers.get(database.name);
      if (known !== undefined) known.notify();
      // a database from the `*` entry may be just a name that a client has tried
      else if (!database.auto || database.pools.size > 0)
        this.#watch(database, directory, before.get(database));
    }
  }

  /** @param before knowledge from before a change: of the same cluster, if the entry's host is one of its nodes */
  #watch(database: Database, directory: Directory, before?: Heritage): void {
    const controller = new ClusterController(
      { ...this.#surroundings, directory },
      database,
      this.history,
      this.#probes,
    );
    if (before?.targets.some((target) => controller.nodes.byKey.has(nodeKey(target))) === true)
      controller.inherit(before);
    this.controllers.set(database.name, controller);
    database.watchBy(controller, controller);
    controller.start();
  }

  used(database: Database, directory: Directory): void {
    const known = this.controllers.get(database.name);
    if (known !== undefined) known.used();
    else if (database.auto) this.#watch(database, directory);
  }

  forgotten(database: Database): void {
    const controller = this.controllers.get(database.name);
    if (controller?.database !== database) return;
    controller.stop();
    database.unwatch();
    this.controllers.delete(database.name);
  }

  /** Stops all controllers. Resolves when every SWITCHOVER has taken its fence back, if it may. */
  async stop(): Promise<void> {
    const running = [...this.controllers.values()].flatMap(({ planned }) => planned ?? []);
    const open = running.filter((each) => each.phase !== 'promoting').map((each) => each.over);
    for (const { database } of [...this.controllers.values()]) this.forgotten(database);
    await Promise.all(open);
  }

  #isSame({ database, config }: ClusterController): boolean {
    return JSON.stringify(database.config) === JSON.stringify(config);
  }

  /** `dev@writer`, `dev@readers`, and what reader_database calls the latter. Nodes are databases of their own. */
  resolveAlias(name: string, current: Database | null): Database | null {
    const controller = this.#clusterOf(name);
    if (controller === null) return null;
    return name.endsWith('@writer') ? controller.database : controller.reader(current);
  }

  entryOfAlias(name: string): string | null {
    return this.#clusterOf(name)?.database.entry ?? null;
  }

  /** The cluster that an alias leads to. */
  #clusterOf(name: string): ClusterController | null {
    const [, database, role] = /^(.+)@([^@]*)$/s.exec(name) ?? [];
    if (database !== undefined)
      return role === 'writer' || role === 'readers' ? (this.controllers.get(database) ?? null) : null;
    for (const controller of this.controllers.values())
      if (controller.database.config.reader_database === name) return controller;
    return null;
  }
}
