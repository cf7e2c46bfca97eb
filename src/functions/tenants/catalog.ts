/**
 * Which tenant's functions apply to which database. Names are looked up on demand; a tenant that applies to a name stays until
 * the next one has been loaded.
 */
import { basename, dirname, join } from 'node:path';
import type { SourceFiles } from '../build/bundle-job.ts';
import { entriesOf, inFolder, sourceFiles, type FindFile } from '../build/sources.ts';
import { identityOf, type Identity } from './identity.ts';
import { ANY, type FunctionsConfig } from './settings.ts';
import type { Tenant } from './tenant.ts';

export interface CatalogOptions {
  readonly config: () => FunctionsConfig;
  readonly folders: {
    /** the existing folders are known */
    readonly areListed: boolean;
    /** Whether a database may have a folder of its own. */
    mayHave(name: string): boolean;
  };
  readonly find: FindFile;
  /** The folder with the files of a tenant that has none of its own; null: there is none. */
  readonly lentFolder: (owner: string) => string | null;
  /** A file of the tenant has gone: the tenant's last build is not repeated. */
  readonly hasLostFiles: (tenant: Tenant) => boolean;
  /** @param entry an entry of [databases] that the files apply to */
  readonly newTenant: (identity: Identity, files: SourceFiles, entry: string) => Tenant;
  /** A tenant is new, or has been given other files. */
  readonly onFiles: (tenant: Tenant, isNew: boolean) => void;
  /** The tenant no longer applies to any database. `isReplaced`: each of its former databases has another one. */
  readonly onGone: (tenant: Tenant, isReplaced: boolean) => void;
}

export class Catalog {
  readonly #options: CatalogOptions;
  /** by entry, by name with a folder of rules, and for ANY: the tenant that applies; null: none */
  readonly #applying = new Map<string, Tenant | null>();
  /** by the same names: the tenant that applies as soon as it has been loaded */
  readonly #wanted = new Map<string, Tenant | null>();
  readonly #tenants = new Map<string, Tenant>();
  /** names without an entry that no client has used yet, and that have had a folder of rules: these may have vanished */
  readonly #noted = new Set<string>();
  /** whether each database that a tenant applied to now has another one */
  readonly #replaced = new WeakMap<Tenant, boolean>();
  #isClosed = false;

  constructor(options: CatalogOptions) {
    this.#options = options;
  }

  /** The tenant that applies to a database's clients; null: none. */
  tenantOf(name: string): Tenant | null {
    const known = this.#applying.get(name);
    if (known !== undefined) return known;
    if (!this.#mayHaveOwn(name)) return this.tenantOf(ANY);
    const tenant = this.#find(name, this.#options.find);
    // before the folders are known, clients could fill the memory with made-up names
    const isMadeUp = !this.#options.folders.areListed && !this.#options.config().isEntry(name);
    if (isMadeUp && tenant === this.tenantOf(ANY)) return tenant;
    this.#wanted.set(name, tenant);
    this.#applying.set(name, tenant);
    this.#noted.delete(name);
    return tenant;
  }

  get tenants(): Tenant[] {
    return [...this.#tenants.values()];
  }

  has(tenant: { readonly id: string }): boolean {
    return this.#tenants.get(tenant.id) === tenant;
  }

  /** The tenant that a version serves; undefined: the version no longer serves. */
  servedBy(versionId: number): Tenant | undefined {
    return this.tenants.find((tenant) => tenant.version?.id === versionId);
  }

  /** All sets of functions of a tenant, by its name. */
  ownedBy(owner: string): Tenant[] {
    return this.tenants.filter((tenant) => tenant.owner === owner);
  }

  /** Tenants that have a function in this file. */
  using(file: string): Tenant[] {
    return this.tenants.filter(({ files }) => files.routing === file || files.rewrite === file);
  }

  /** Names of the databases that each tenant applies to. */
  databases(): ReadonlyMap<Tenant | null | undefined, string[]> {
    return Map.groupBy(this.#applying.keys(), (name) => this.#applying.get(name));
  }

  /** An entry whose clients a tenant's functions judge; null: none at the moment. */
  anEntryOf(tenant: Tenant): string | null {
    for (const [name, each] of this.#applying) if (each === tenant) return name;
    return null;
  }

  /** Databases that only the `*` entry knows: their rules count as known before a client names one of them. */
  noteFolders(names: readonly string[]): void {
    for (const name of names) {
      if (this.#applying.has(name)) continue;
      const files = this.#sourcesOf(name, this.#options.find);
      if (files !== null && hasOwn(files, name)) this.#noted.add(name);
      else this.#noted.delete(name);
    }
  }

  /** Looks at the files of the databases that have been noted: those that are gone are known to be gone then. */
  checkNoted(): void {
    this.noteFolders([...this.#noted]);
  }

  /**
   * Builds tenants again. Those that are not loaded are built if their files have changed; after `isAsked`, those that nobody
   * has looked at yet are left alone.
   * @param isAsked an operator asked for it
   * @returns when they have been built
   */
  async reload(tenants: readonly Tenant[], isAsked = false): Promise<void> {
    const those = this.#whole(tenants);
    const { needed = [], others = [] } = Object.groupBy(those, ({ isNeeded }) =>
      isNeeded ? 'needed' : 'others',
    );
    const looks = others.filter(({ isKnown }) => isKnown || !isAsked).map((tenant) => tenant.look());
    await Promise.all([...needed.map((tenant) => tenant.reload(isAsked)), ...looks]);
  }

  /** The same for a tenant that was asked for by its name: its files are looked at even if nobody uses it. */
  async reloadNamed(tenants: readonly Tenant[], isAsked: boolean): Promise<void> {
    await Promise.all(this.#whole(tenants).map((tenant) => tenant.reload(isAsked)));
  }

  /** Those whose files are there. */
  #whole(tenants: readonly Tenant[]): Tenant[] {
    return tenants.filter((tenant) => this.has(tenant) && !this.#options.hasLostFiles(tenant));
  }

  /** Compares the files of all tenants with their last known state, where changes are not reported. */
  verify(): void {
    for (const tenant of this.tenants) if (!this.#options.hasLostFiles(tenant)) void tenant.verify();
  }

  /** Determines again which files apply to which database. @param names of databases; without them: all */
  refresh(names: Iterable<string> = this.#names): void {
    if (this.#isClosed) return;
    // many databases look into the same folder
    const found = new Map<string, string | null>();
    const findOnce: FindFile = (folder, name, extensions) => {
      const place = join(folder, name);
      let file = found.get(place);
      if (file === undefined) found.set(place, (file = this.#options.find(folder, name, extensions)));
      return file;
    };
    for (const name of names) this.#wanted.set(name, this.#find(name, findOnce));
    this.handOver();
  }

  /** As `refresh`, of some names, which clients need not have used yet. */
  refreshSome(names: readonly string[]): void {
    const isKnown = (name: string): boolean =>
      this.#applying.has(name) || this.#options.config().isEntry(name);
    const { known = [], others = [] } = Object.groupBy(names, (name) => (isKnown(name) ? 'known' : 'others'));
    this.noteFolders(others);
    if (known.length > 0) this.refresh(known);
  }

  /** Loaded tenants apply from now on, and tenants that apply nowhere are dropped. */
  handOver(): void {
    if (this.#isClosed) return;
    for (const [name, tenant] of this.#wanted) {
      const last = this.#applying.get(name) ?? null;
      if (tenant !== null && !tenant.canServe && last !== null && last.canServe) {
        // the last one serves until then
        tenant.load();
        continue;
      }
      this.#applying.set(name, tenant);
      if (last !== null && last !== tenant)
        this.#replaced.set(last, tenant !== null && this.#replaced.get(last) !== false);
      if (!this.#mayHaveOwn(name)) this.#forgetName(name, tenant);
    }
    const used = new Set([...this.#wanted.values(), ...this.#applying.values()]);
    for (const tenant of this.tenants) if (!used.has(tenant)) this.#drop(tenant);
  }

  /** Every tenant answers its present calls, and takes no new ones. */
  close(): void {
    this.#isClosed = true;
    for (const tenant of this.#tenants.values()) tenant.dispose();
  }

  /** The entries of [databases], and all other names that something applies to. */
  get #names(): Set<string> {
    return new Set([...this.#applying.keys(), ...this.#options.config().entries]);
  }

  /** Whether anything may apply to this name in particular: clients make names up, and these must cost nothing. */
  #mayHaveOwn(name: string): boolean {
    const { config, folders } = this.#options;
    return config().isEntry(name) || folders.mayHave(name) || this.#noted.has(name);
  }

  #sourcesOf(name: string, find: FindFile): SourceFiles | null {
    const config = this.#options.config();
    const folder = name === ANY ? null : config.folderOf(name);
    const files = sourceFiles(config.settings, name, config.databaseOf(name), find, folder);
    if (files !== null || name === ANY) return files;
    // a rule of the operator's that applies is not displaced
    const lent = this.#options.lentFolder(config.tenantOf(name)?.name ?? name);
    const file = lent === null ? null : inFolder(lent, 'functions', ['.artifact']);
    return file === null ? null : { routing: file, rewrite: file };
  }

  #find(name: string, find: FindFile): Tenant | null {
    if (this.#isClosed) return null;
    const files = this.#sourcesOf(name, find);
    if (files === null) return null;
    const last = this.#wanted.get(name) ?? null;
    const identity = identityOf(this.#options.config(), name, files);
    const { id } = identity;
    if (last !== null && this.has(last) && last.id === id && last.isOf(files)) return last;
    let tenant = this.#tenants.get(id);
    if (tenant?.isOf(files)) return tenant;
    if (tenant === undefined) {
      tenant = this.#options.newTenant(identity, files, name);
      this.#tenants.set(id, tenant);
      this.#options.onFiles(tenant, true);
    } else {
      tenant.useFiles(files);
      this.#options.onFiles(tenant, false);
    }
    return tenant;
  }

  /** Nothing applies to this name in particular any more. */
  #forgetName(name: string, tenant: Tenant | null): void {
    if (tenant !== this.tenantOf(ANY)) return;
    this.#wanted.delete(name);
    this.#applying.delete(name);
  }

  #drop(tenant: Tenant): void {
    this.#tenants.delete(tenant.id);
    // unlike at the end of the process, it does not go on later
    tenant.rollout.endCanary('the tenant has no functions any more');
    tenant.dispose();
    this.#options.onGone(tenant, this.#replaced.get(tenant) === true);
  }
}

/** Whether a file is in the folder of this database. */
function hasOwn(files: SourceFiles, name: string): boolean {
  return entriesOf(files).some((file) => basename(dirname(file)) === name);
}
