/**
 * The versions that tenants' functions have had: their numbers, records and bundles, which of them serve, and what
 * administrators have fixed. All of it is in memory, and in the state folder as far as there is one that can be written.
 */
import type { SourceText } from '../build/artifact.ts';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { printable } from '../build/places.ts';
import { STORE } from '../limits.ts';
import { programVersion } from '../../platform/program-version.ts';
import { basisOf, isFresh } from './freshness.ts';
import { History } from './history.ts';
import { KeptBundles } from './kept-bundles.ts';
import { NOT_ANALYSED } from '../build/purity/purity.ts';
import type { LeftVersion } from './held.ts';
import { HeldStates } from './held-states.ts';
import { folderName } from './names.ts';
import { shownFiles } from './record-check.ts';
import type { StateFolder } from './state-folder.ts';
import { StateWriter, type StoreLog } from './state-writer.ts';
import type { DraftVersion } from './tenant-folder.ts';
import { textsOf, withTexts, type VersionSource } from './texts.ts';
import type { Pause, Pin, VersionFacts, VersionKey, VersionRecord } from './version-record.ts';

/** A bundle that was kept, and is what bundling the same files again would make. */
export interface FreshBundle {
  readonly bundle: Bundle;
  readonly record: VersionRecord;
}

/** Of a version that was not tried on this proxy. Its trial replaces this. */
export const UNTRIED: Pick<VersionFacts, 'checkedWith' | 'findings'> = {
  checkedWith: {
    program: programVersion(),
    node: '',
    timeoutMs: 0,
    memoryLimitMb: 0,
    maxResult: 0,
    isolation: 'process',
  },
  findings: {
    manifest: { routes: true, rewrites: true, options: { pure: false, sees: 'text' } },
    route: null,
  },
};

/** Stands for what belongs to no tenant, in the order of writes. */
const KNOWN = '\0known';

export class VersionStore {
  /** what administrators have fixed, besides pins */
  readonly held: HeldStates;
  readonly #folder: StateFolder | null;
  readonly #log: StoreLog;
  readonly #histories = new Map<string, History>();
  readonly #inMemory = new KeptBundles();
  readonly #writer: StateWriter;
  /** it could not be read: that is logged once, not for each tenant */
  #isUnreadable = false;
  /** the files that apply are about to be written */
  #knownTimer: NodeJS.Timeout | null = null;
  #known: () => readonly (readonly [place: string, file: string])[] = () => [];
  /** they have been written before */
  #hasKnown = false;

  /** @param folder null: versions are kept in memory only */
  constructor(folder: StateFolder | null, log: StoreLog) {
    this.#folder = folder;
    this.#log = log;
    this.#writer = new StateWriter(folder, log);
    this.held = new HeldStates(this.#writer, log);
  }

  // --- what is known of a tenant -----------------------------------------------------------------------------------------

  /** Reads what administrators have fixed. Nothing else is read before a tenant is loaded. */
  async prepare(): Promise<void> {
    if (this.#folder === null) return;
    try {
      if ((await this.#folder.check()) === 'own') await this.held.prepare(this.#folder);
    } catch (error) {
      this.#unreadable(error as Error);
    }
  }

  /** Removes versions of tenants that have been gone for long. @param owners those that are not gone */
  tidy(owners: readonly string[]): void {
    void this.#writer.save(KNOWN, null, (folder) => folder.tidy(owners, Date.now()));
  }

  /** The files that applied before a restart. */
  async knownFiles(): Promise<[place: string, file: string][]> {
    try {
      const known = (await this.#folder?.knownFiles()) ?? [];
      this.#hasKnown = known.length > 0;
      return known;
    } catch (error) {
      this.#unreadable(error as Error);
      return [];
    }
  }

  /** Keeps the files that apply now. @param known asked when they are written, soon: at a start many are found one by one */
  keepKnownFiles(known: () => readonly (readonly [place: string, file: string])[]): void {
    if (this.#folder === null) return;
    this.#known = known;
    this.#knownTimer ??= setTimeout(() => this.#saveKnown(), STORE.knownDelayMs).unref();
  }

  /** Reads what is kept of a tenant, once. The methods that return records know nothing before. */
  open(owner: string): Promise<void> {
    const history = this.#of(owner);
    history.opened ??= this.#read(owner, history);
    return history.opened;
  }

  /** The kept versions of all sets of a tenant, oldest first. */
  history(owner: string): readonly VersionRecord[] {
    return this.#histories.get(owner)?.records ?? [];
  }

  /** The version of a set that has served last; null: none is known. */
  latest({ owner, id }: VersionKey): VersionRecord | null {
    return this.#histories.get(owner)?.latest(id) ?? null;
  }

  /** Whether the bundle of a version is not kept any more. */
  isDropped({ key, number }: VersionRecord): boolean {
    return this.#histories.get(key.owner)?.isDropped(number) ?? true;
  }

  /** The bundle of a version; null: it is not kept, or is damaged, which is logged. */
  async bundleOf(owner: string, number: number): Promise<Bundle | null> {
    await this.open(owner);
    const history = this.#of(owner);
    const record = history.numbered(number);
    if (record === null || history.isDropped(number)) return null;
    const inMemory = this.#inMemory.get(record);
    if (inMemory !== null || this.#folder === null) return inMemory;
    try {
      const { bundle, program } = await this.#folder.tenant(owner).bundleOf(number);
      if (bundle.hash === record.hash) return analysedBy(program, bundle);
      this.#damaged(`version ${number} of ${owner}`, 'it has another hash than before');
    } catch (error) {
      this.#damaged(`version ${number} of ${owner}`, (error as Error).message);
    }
    history.noteLost(record);
    return null;
  }

  /** The source of a version; null: there is no such version. */
  async sourceOf(owner: string, number: number): Promise<VersionSource | null> {
    await this.open(owner);
    const record = this.#of(owner).numbered(number);
    if (record === null) return null;
    const bundle = await this.bundleOf(owner, number);
    const kept = bundle === null ? [] : await this.textsOf(record);
    return { record, files: await withTexts(record.files, kept), code: bundle?.code ?? null };
  }

  /** The author's files of a version, as far as they are kept. */
  async textsOf(record: VersionRecord): Promise<readonly SourceText[]> {
    const inMemory = this.#inMemory.textsOf(record);
    if (inMemory.length > 0 || this.#folder === null) return inMemory;
    const tenant = this.#folder.tenant(record.key.owner);
    return await tenant.textsOf(record.number).catch(() => []);
  }

  /** The last build of these files, if bundling them again would make the same; null: they must be bundled. */
  async freshBundle(key: VersionKey, files: SourceFiles): Promise<FreshBundle | null> {
    const { owner, id } = key;
    if (this.#folder === null) return null;
    await this.open(owner);
    const last = await this.#folder.tenant(owner).lastBuild(id);
    if (last === null || last.checkedWith.program !== programVersion()) return null;
    const record = this.#of(owner).numbered(last.number);
    if (record === null || record.key.id !== id || !(await isFresh(last.basis, files))) return null;
    const bundle = await this.bundleOf(owner, last.number);
    const { checkedWith, findings } = last;
    return bundle === null ? null : { bundle, record: { ...record, checkedWith, findings } };
  }

  // --- changes -----------------------------------------------------------------------------------------------------------

  /**
   * A version has been loaded.
   * @param texts files that came with it
   * @returns its record: that of an earlier version with the same code, if it is still kept
   */
  async add(
    key: VersionKey,
    bundle: Bundle,
    facts: VersionFacts,
    texts: readonly SourceText[] = [],
  ): Promise<VersionRecord> {
    await this.open(key.owner);
    const history = this.#of(key.owner);
    const known = history.withHash(key.id, bundle.hash);
    const isKept = known !== null && !history.isLost(known);
    if (isKept && known.checkedWith.program === facts.checkedWith.program && !isNews(known, facts))
      return known;
    const others = known === null ? texts : [...texts, ...(await this.textsOf(known))];
    const own = await textsOf(shownFiles(bundle.files).files, others);
    const draft = { key, bundle, facts, timeMs: Date.now(), texts: own };
    if (known !== null) return await this.#replace(history, known, draft);
    const onDisk = await this.#keep(history, draft);
    // another call may have been quicker
    const record = history.withHash(key.id, bundle.hash) ?? onDisk ?? history.newRecord(draft);
    history.add(record);
    if (onDisk === null) this.#remember(record, draft);
    this.#prune(history, record);
    return record;
  }

  /** This version serves from now on. */
  noteServing({ owner, id }: VersionKey, number: number): void {
    const history = this.#of(owner);
    if (history.noteServing(id, number)) this.#saveServed(owner, id);
  }

  /**
   * A version has been made of these files, and they have not changed since.
   * @param startedAtMs when they were read at the earliest, in ms since 1970
   */
  noteBuild(
    { key: { owner, id }, number }: VersionRecord,
    build: {
      readonly files: SourceFiles;
      readonly bundle: Bundle;
      readonly facts: Pick<VersionFacts, 'checkedWith' | 'findings'>;
      readonly startedAtMs: number;
    },
  ): void {
    const { checkedWith, findings } = build.facts;
    void this.#writer.save(owner, null, async (folder) => {
      const basis = await basisOf(build.files, build.bundle.files, build.startedAtMs);
      const tenant = folder.tenant(owner);
      if (basis === null) await tenant.removeBuild(id);
      else await tenant.saveBuild(id, { number, checkedWith, findings, basis });
    });
  }

  /** The functions have been removed on purpose: they don't come back from here. A PAUSE stays, in case they are restored. */
  forget({ owner, id }: VersionKey): void {
    for (const part of ['pin', 'source', 'canary'] as const) this.held.set({ owner, id }, part, null);
    this.#of(owner).served.delete(id);
    void this.#writer.save(owner, null, (folder) => folder.tenant(owner).removeBuild(id));
    this.#saveServed(owner, id);
  }

  pin(key: VersionKey, pin: Pin): void {
    const hash = this.#of(key.owner).numbered(pin.number)?.hash;
    this.held.set(key, 'pin', hash === undefined ? pin : { ...pin, hash });
  }

  unpin(key: VersionKey): void {
    this.held.set(key, 'pin', null);
  }

  /** The version of a set that served before another one, is still kept, and was not left by ROLLBACK; null: none. */
  before({ owner, id }: VersionKey, number: number): VersionRecord | null {
    return this.#histories.get(owner)?.before(id, number) ?? null;
  }

  /** The pin of a set; null: none. */
  pinOf({ owner, id }: VersionKey): Pin | null {
    const pin = this.held.get({ owner, id }, 'pin');
    return pin === null ? null : this.#of(owner).pinOf(id);
  }

  /** The pinned version of a set; null: none is pinned, or it is not known any more. */
  pinned({ owner, id }: VersionKey): VersionRecord | null {
    return this.#histories.get(owner)?.pinned(id) ?? null;
  }

  /** The user who has gone back from a version by ROLLBACK, which skips it from then on; '': nobody has. */
  leftBy(record: VersionRecord): string {
    return this.#histories.get(record.key.owner)?.leftBy(record) ?? '';
  }

  /** ROLLBACK goes back from a version, and does not come back to it by itself. */
  leave({ key, number, hash }: VersionRecord, user: string): void {
    this.#setLeft(key, (left) => [...left.filter((each) => each.hash !== hash), { number, hash, user }]);
  }

  /** An administrator asks for this version: it is no longer marked as rolled back. */
  comeBack({ key, hash: wanted }: VersionRecord): void {
    this.#setLeft(key, (left) => left.filter(({ hash }) => hash !== wanted));
  }

  #setLeft(key: VersionKey, change: (left: readonly LeftVersion[]) => LeftVersion[]): void {
    const left = this.held.get(key, 'left') ?? [];
    const next = change(left).slice(-STORE.records);
    if (next.length > 0 || left.length > 0) this.held.set(key, 'left', next);
  }

  /** @param pause null: there is none any more */
  setPause(owner: string, pause: Pause | null): void {
    this.held.setPause(owner, pause);
  }

  /** The PAUSE of a tenant; null: it is not paused. */
  pauseOf(owner: string): Pause | null {
    return this.held.pauseOf(owner);
  }

  /** When everything so far has been written, or could not be. */
  async flush(): Promise<void> {
    if (this.#knownTimer !== null) this.#saveKnown();
    await this.#writer.flush();
  }

  #of(owner: string): History {
    let history = this.#histories.get(owner);
    if (history === undefined) this.#histories.set(owner, (history = new History(this.held.of(owner))));
    return history;
  }

  // --- the folder --------------------------------------------------------------------------------------------------------

  async #read(owner: string, history: History): Promise<void> {
    if (this.#folder === null) return;
    try {
      await this.#folder.check();
      const tenant = this.#folder.tenant(owner);
      for (const { record, isDropped } of await tenant.list((file, why) => this.#damaged(file, why)))
        history.add(record, isDropped);
      for (const [id, served] of await tenant.served()) history.restoreServed(id, served);
    } catch (error) {
      this.#unreadable(error as Error);
    }
  }

  /** @returns null: it could not be written */
  async #keep(history: History, draft: DraftVersion): Promise<VersionRecord | null> {
    let record: VersionRecord | null = null;
    await this.#writer.save(draft.key.owner, null, async (folder) => {
      await folder.make();
      record = await folder.tenant(draft.key.owner).add(draft, history.nextNumber);
    });
    return record;
  }

  /** The same code, bundled again: its file is damaged, or another version of this program has written it. */
  async #replace(history: History, known: VersionRecord, draft: DraftVersion): Promise<VersionRecord> {
    let onDisk: VersionRecord | null = null;
    await this.#writer.save(known.key.owner, null, async (folder) => {
      await folder.make();
      onDisk = await folder.tenant(known.key.owner).replace({ ...draft, timeMs: known.timeMs }, known.number);
    });
    const record = onDisk ?? { ...known, ...draft.facts };
    history.replace(record);
    if (onDisk === null) this.#remember(record, draft);
    return record;
  }

  #saveKnown(): void {
    if (this.#knownTimer !== null) clearTimeout(this.#knownTimer);
    this.#knownTimer = null;
    const files = this.#known().slice(0, STORE.knownFiles);
    // no folder is created for a proxy without functions
    if (files.length === 0 && !this.#hasKnown) return;
    this.#hasKnown = true;
    void this.#writer.save(KNOWN, KNOWN, (folder) => folder.saveKnownFiles(files));
  }

  /** Keeps a bundle that could not be written, until it can. */
  #remember(record: VersionRecord, { bundle, texts }: DraftVersion): void {
    for (const gone of this.#inMemory.add(record, bundle, texts))
      this.#histories.get(gone.key.owner)?.drop(gone);
    const { key, number, timeMs } = record;
    this.#writer.later(key.owner, `version ${number} ${key.owner}`, async (folder) => {
      if (this.#inMemory.get(record) === null) return;
      await folder.make();
      const tenant = folder.tenant(key.owner);
      const written = await tenant.add({ key, bundle, facts: record, timeMs, texts }, number);
      // here it keeps its number, even if another process has given that to other code meanwhile
      if (written.number === number && written.hash === record.hash) this.#inMemory.delete(record);
    });
  }

  #prune(history: History, { key: { owner, id }, number }: VersionRecord): void {
    const surplus = history.surplus(id, [number]);
    for (const each of surplus) {
      history.drop(each);
      this.#inMemory.delete(each);
    }
    const oldest = history.takeOldest();
    if (surplus.length === 0 && oldest.length === 0) return;
    void this.#writer.save(owner, null, async (folder) => {
      const tenant = folder.tenant(owner);
      // another process that shares the folder may need some of them
      const needed = new Set([
        ...[...(await tenant.served()).values()].map((served) => served.at(-1)?.number),
        ...[...(await folder.held.read(folderName(owner))).held.sets.values()].map(({ pin }) => pin?.number),
      ]);
      for (const each of surplus) if (!needed.has(each.number)) await tenant.drop(each.number);
      for (const each of oldest) await tenant.remove(each.number);
    });
  }

  #saveServed(owner: string, id: string): void {
    void this.#writer.save(owner, `served ${id} ${owner}`, async (folder) => {
      // what was kept before belongs to what is written
      await this.open(owner);
      const served = this.#of(owner).servedOf(id);
      if (served.length > 0) await folder.make();
      else if ((await folder.check()) === 'none') return;
      await folder.tenant(owner).saveServed(id, served.length === 0 ? null : served);
    });
  }

  #unreadable(error: Error): void {
    if (this.#isUnreadable) return;
    this.#isUnreadable = true;
    this.#log.error(
      { event: 'state_unreadable' },
      `the versions of user functions in ${this.#folder?.path} can't be read: ${printable(error.message)}`,
    );
  }

  #damaged(what: string, why: string): void {
    this.#log.error(
      { event: 'state_damaged' },
      `${printable(what)} in the state folder is not used: ${printable(why)}`,
    );
  }
}

/** What another version of this program has found out about a bundle may be wrong by now. */
function analysedBy(program: string, bundle: Bundle): Bundle {
  return program === programVersion() ? bundle : { ...bundle, purity: NOT_ANALYSED };
}

/** A version that came from elsewhere has passed its trial here. */
function isNews(known: VersionRecord, { checkedWith }: VersionFacts): boolean {
  return known.checkedWith.node === '' && checkedWith.node !== '';
}
