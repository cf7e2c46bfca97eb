/** What operators and tenants' administrators do to the functions of one tenant, by its name, and what they see of it. */
import { dirname } from 'node:path';
import type { SourceFiles } from '../build/bundle-job.ts';
import type { Pause, Pin, VersionRecord } from '../store/version-record.ts';
import type { VersionSource } from '../store/texts.ts';
import type { VersionStore } from '../store/version-store.ts';
import { isInside } from '../build/next-files.ts';
import type { AskedBy } from './asked-by.ts';
import type { Catalog } from './catalog.ts';
import type { Fleet } from './fleet.ts';
import type { LogLine, LogLines } from './log-lines.ts';
import type { Rollout } from './rollout.ts';
import type { FunctionsConfig } from './settings.ts';
import type { Targets } from './targets.ts';
import type { Tenant } from './tenant.ts';
import { versionsOf, type VersionRow } from './version-rows.ts';

/** A version can't be gone back to. The message is for the person who wants to. */
export class RollbackError extends Error {}

/** What the fleet knows of versions, for commands. */
interface SharedVersions extends Pick<Fleet, 'isOn' | 'shown' | 'notePause'> {
  /** @returns whether what was decided here holds for all proxies; false: the store could not be reached */
  share(owner: string): Promise<boolean>;
  /** All versions that the store keeps are here as well, if it can be reached. */
  fetchAll(owner: string): Promise<void>;
}

export interface AdministrationOptions {
  readonly config: () => FunctionsConfig;
  readonly catalog: Pick<Catalog, 'ownedBy' | 'refresh' | 'tenantOf'>;
  readonly store: VersionStore;
  readonly targets: Pick<Targets, 'operatorsIn'>;
  readonly lines: LogLines;
  readonly fleet: SharedVersions;
  /** as reloadSome (reload.ts) */
  readonly reload: (tenants: readonly Tenant[], isAsked: boolean) => Promise<void>;
}

export class Administration {
  readonly #options: AdministrationOptions;

  constructor(options: AdministrationOptions) {
    this.#options = options;
  }

  /** Whether there is a tenant of this name: an entry of [tenants], or one that has functions. */
  hasTenant(name: string): boolean {
    const { config, catalog } = this.#options;
    // right after a start not all tenants have been found yet
    for (const database of config().databasesOf(name) ?? [])
      if (config().isDatabase(database)) catalog.tenantOf(database);
    return config().tenants.has(name) || catalog.ownedBy(name).length > 0;
  }

  /**
   * RELOAD FUNCTIONS: looks at a tenant's files again.
   * @param isAsked by an operator: at once, whatever the tenant has done
   * @returns when everything has been loaded or refused, or after the longest wait
   */
  async reload(name: string, isAsked: boolean): Promise<void> {
    const { config, catalog, reload } = this.#options;
    catalog.refresh(config().databasesOf(name));
    await reload(catalog.ownedBy(name), isAsked);
  }

  /** The candidates of all sets of functions of a tenant. */
  rolloutsOf(name: string): Rollout[] {
    return this.#options.catalog.ownedBy(name).map(({ rollout }) => rollout);
  }

  /** Whether a folder lies in the folder of a tenant's own functions, links followed. */
  isInFolderOf(name: string, folder: string): boolean {
    const own = this.#options.config().folderOfTenant(name);
    return own !== null && isInside(own, folder);
  }

  /** A user has given a command about the tenant, which its log shows. */
  audit(name: string, user: string, text: string): void {
    this.#options.lines.audit(name, user, text);
  }

  /** The last log lines about a tenant, oldest first. */
  log(name: string): readonly LogLine[] {
    return this.#options.lines.of(name);
  }

  /** The versions that a tenant has had, newest first. */
  async versions(name: string): Promise<VersionRow[]> {
    const { store, catalog, fleet } = this.#options;
    await store.open(name);
    await fleet.fetchAll(name);
    const rows = versionsOf(name, catalog.ownedBy(name), store);
    const shown = rows.map((row) => ({ ...row, record: { ...row.record, number: this.#shown(row.record) } }));
    return shown.toSorted((a, b) => order(b.record.number) - order(a.record.number));
  }

  #shown(record: VersionRecord): number {
    return this.#options.fleet.shown(record);
  }

  /** What was done to a tenant here is done to it on all proxies. @returns false: they get it later */
  share(name: string): Promise<boolean> {
    return this.#options.fleet.share(name);
  }

  /**
   * The source of a version, by its number for people; null: there is none of this number. The operator's files are left out
   * for the tenant itself, and so is the bundle that they are a part of.
   */
  async sourceOf(name: string, number: number, by: AskedBy['by']): Promise<VersionSource | null> {
    const { store, fleet } = this.#options;
    await store.open(name);
    await fleet.fetchAll(name);
    const record = store.history(name).find((each) => this.#shown(each) === number);
    if (record === undefined) return null;
    const source = await store.sourceOf(name, record.number);
    if (source === null || by === 'operator' || source.record.operators === '') return source;
    const isOwn = ({ path }: { path: string }): boolean => this.isInFolderOf(name, dirname(path));
    return { ...source, files: source.files.filter(isOwn), code: null };
  }

  /** The PAUSE of a tenant; null: it is not paused. */
  pauseOf(name: string): Pause | null {
    return this.#options.store.pauseOf(name);
  }

  /** PAUSE FUNCTIONS: no call reaches the tenant's functions until `resume`. */
  pause(name: string, pause: Pause): void {
    this.#setPause(name, pause, pause.user);
  }

  resume(name: string, user: string): void {
    this.#setPause(name, null, user);
  }

  #setPause(name: string, pause: Pause | null, user: string): void {
    this.#options.store.setPause(name, pause);
    this.applyPauses(name);
    this.#options.fleet.notePause(name, user);
  }

  /** The pins of a tenant's sets of functions. */
  pinsOf(name: string): Pin[] {
    const { catalog, store } = this.#options;
    return catalog
      .ownedBy(name)
      .map((tenant) => store.pinOf(tenant))
      .filter((pin) => pin !== null)
      .filter(({ by }) => by !== 'fleet');
  }

  /** The files decide again which version serves, once they are loaded again. */
  async unpin(name: string, asked: AskedBy): Promise<void> {
    await Promise.all(this.#options.catalog.ownedBy(name).map((tenant) => tenant.pinning.unpin(asked)));
  }

  /**
   * ROLLBACK FUNCTIONS: a version serves, whatever the files hold, until it is unpinned.
   * @param to its number; null: the version that served before the present one
   * @returns its number
   * @throws RollbackError if there is no such version, or it can't be loaded; then the present one stays
   */
  async rollBack(name: string, to: number | null, asked: AskedBy): Promise<number> {
    const { store, catalog } = this.#options;
    await store.open(name);
    await this.#options.fleet.fetchAll(name);
    const tenants = catalog.ownedBy(name);
    const record = to === null ? this.#before(tenants) : this.#numbered(name, to);
    const shown = this.#shown(record);
    if (asked.by === 'tenant' && record.operators !== '')
      throw new RollbackError(`version ${shown} has a function of the operator's`);
    const tenant = tenants.find(({ id }) => id === record.key.id);
    if (tenant === undefined) throw new RollbackError(`version ${shown} is of files that are not in use now`);
    const present = tenant.version?.record ?? store.pinned(tenant) ?? store.latest(tenant);
    const complaint = await tenant.pinning.rollBack({ ...asked, number: record.number, untilFiles: false });
    if (complaint !== null) throw new RollbackError(`version ${shown} can't be loaded: ${complaint}`);
    store.comeBack(record);
    const isBack = present !== null && (to === null || shown < this.#shown(present));
    if (isBack && present.hash !== record.hash) store.leave(present, asked.user);
    return shown;
  }

  #before(tenants: readonly Tenant[]): VersionRecord {
    const { store } = this.#options;
    const [tenant, other] = tenants;
    if (tenant === undefined) throw new RollbackError('the tenant has no functions');
    if (other !== undefined)
      throw new RollbackError('several sets of files are in use: name a version (TO n)');
    const serving = tenant.version?.record ?? store.pinned(tenant) ?? store.latest(tenant);
    const before = serving && (store.before(tenant, serving.number) ?? this.#neverServed(tenant, serving));
    if (before === null)
      throw new RollbackError('no earlier version is kept that nobody has gone back from: name one (TO n)');
    return before;
  }

  /** In a fleet a version may have served before this proxy joined: the newest one before another, by the fleet's numbers. */
  #neverServed({ id, owner }: Tenant, serving: VersionRecord): VersionRecord | null {
    const { store, fleet } = this.#options;
    if (!fleet.isOn) return null;
    const earlier = store.history(owner).filter((record) => {
      const number = this.#shown(record);
      const isEarlier = record.key.id === id && number > 0 && number < this.#shown(serving);
      return isEarlier && !store.isDropped(record) && store.leftBy(record) === '';
    });
    return earlier.toSorted((a, b) => this.#shown(a) - this.#shown(b)).at(-1) ?? null;
  }

  #numbered(name: string, number: number): VersionRecord {
    const { store } = this.#options;
    const record = store.history(name).find((each) => this.#shown(each) === number);
    if (record === undefined) throw new RollbackError(`there is no version ${number}`);
    if (store.isDropped(record)) throw new RollbackError(`version ${number} is not kept any more`);
    return record;
  }

  /** Whether a tenant's databases are also judged by functions of the operator's, which run together with its own. */
  runsOperatorsFunctions(name: string): boolean {
    return this.#options.catalog.ownedBy(name).some(({ files }) => this.#includesOperators(files));
  }

  /** A PAUSE by the tenant itself does not apply while a function of the operator's runs with its own. */
  applyPause(tenant: Tenant): void {
    const pause = this.pauseOf(tenant.owner);
    const applies = pause !== null && (pause.by === 'operator' || !this.#includesOperators(tenant.files));
    tenant.setPaused(applies ? pause.as : null);
  }

  /** The PAUSE of a tenant has changed in the store of this proxy. */
  applyPauses(name: string): void {
    for (const tenant of this.#options.catalog.ownedBy(name)) this.applyPause(tenant);
  }

  #includesOperators(files: SourceFiles): boolean {
    return this.#options.targets.operatorsIn(files) !== '';
  }
}

/** Versions that have no number in the fleet yet are the newest. */
function order(number: number): number {
  return number > 0 ? number : Number.MAX_SAFE_INTEGER / 2 - number;
}
