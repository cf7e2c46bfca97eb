/**
 * This proxy as a member of its fleet: carries what is decided here about tenants' versions to the store, and what was decided
 * elsewhere to the tenants here. Each tenant has its turn for itself. No query waits for any of it.
 */
import { isDeepStrictEqual } from 'node:util';
import { printable } from '../build/places.ts';
import { SHARING } from '../limits.ts';
import type { Pause, VersionKey, VersionRecord } from '../store/version-record.ts';
import type { AskedBy } from '../tenants/asked-by.ts';
import type { Fleet, HeldCode, RolloutChange } from '../tenants/fleet.ts';
import { isDeployment } from './deploying.ts';
import { ExchangeError, type Exchange } from './exchange.ts';
import type { KeptValues } from './kept-values.ts';
import type { SharedEntry, SharedStore } from './store.ts';
import { TenantValues, type Change, type ChangeOptions } from './tenant-values.ts';
import { keyOf, pauseIn, rolloutIn, servingIn, type SharedRollout, type SharedServing } from './values.ts';

/** The tenants of this proxy, as far as versions are concerned. */
export interface Rules {
  /** Whether this proxy has a tenant of this name. */
  has(owner: string): boolean;
  /** Whether a set of functions is in use, or may be at any time. */
  hasSet(key: VersionKey): boolean;
  pauseOf(owner: string): Pause | null;
  applyPause(owner: string, pause: Pause | null): void;
  /** The version that is pinned here by command; null: none. */
  pinOf(key: VersionKey): SharedServing['pin'];
  /** Hash of the version of the files that served last; null: none is known. */
  latestOf(key: VersionKey): string | null;
  /** Lets the version serve that the fleet serves. @param record null: each proxy's files decide. @returns why it can't */
  applyServing(key: VersionKey, serving: SharedServing, record: VersionRecord | null): Promise<string | null>;
  /** The same for a candidate. @param record null: there is none */
  applyRollout(key: VersionKey, rollout: SharedRollout, record: VersionRecord | null): Promise<string | null>;
  /** Pins a version on the fleet's behalf. @returns false: it is not kept here */
  follow(key: VersionKey, hash: string): boolean;
  /** Takes such a pin away. */
  unfollow(key: VersionKey): void;
  /** Tenants with policies that refuse queries when functions fail: their functions are guards. */
  readonly guarded: readonly string[];
  /** Lets the calls of a tenant without files fail: it is to have a version that can't be had, or may be to have one. */
  withhold(owner: string): Promise<void>;
  /** The tenants whose calls fail for this reason. */
  withheld(): Promise<readonly string[]>;
  /** Ends that: there is no version that the tenant is to have. */
  release(owner: string): Promise<void>;
}

/** The part of a log that is used here. */
export interface MemberLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export interface MemberOptions {
  readonly shared: SharedStore;
  readonly exchange: Exchange;
  readonly rules: Rules;
  readonly kept: KeptValues;
  readonly log: MemberLog;
}

const KINDS = ['versions', 'pause', 'serving', 'rollout'] as const;
/** What the values are about, for people. */
const WORDS: Readonly<Record<string, string>> = {
  pause: 'PAUSE',
  serving: 'the version that serves',
  rollout: 'the candidate',
};
/** They are applied in this order: a canary ends with its reason, before other code serves. */
const APPLIED = ['pause', 'rollout', 'serving'] as const;

export class Member implements Fleet {
  readonly #options: MemberOptions;
  readonly #tenants = new Map<string, TenantValues>();
  readonly #turns = new Map<string, Promise<void>>();
  /** tenants with values that came a moment ago */
  readonly #touched = new Set<string>();
  /** by set: code of the files that is a deployment, and that of a deployment which a pin has held back */
  readonly #deploying = new Map<string, string>();
  readonly #heldBack = new Map<string, string>();
  /** by tenant, why it does not serve what the fleet serves */
  readonly #complaints = new Map<string, string>();
  readonly #promoting = new Set<string>();
  /** tenants that may be waiting for a version that the store does not have */
  #withheld = new Set<string>();
  #isOpen = false;
  /** everything that the store had is known */
  #isCaughtUp = false;

  constructor(options: MemberOptions) {
    this.#options = options;
    options.shared.follow(KINDS, {
      changed: (entry) => {
        this.#of(entry.tenant).receive(entry);
        this.#touched.add(entry.tenant);
      },
      caughtUp: () => {
        this.#isCaughtUp = true;
        for (const values of this.#tenants.values()) values.caughtUp();
        // before the connection can be used, nothing can be fetched
        if (options.shared.isReachable) this.#catchUp();
      },
      reset: () => {
        this.#isCaughtUp = false;
        for (const values of this.#tenants.values()) values.reset();
      },
    });
  }

  /** Without a store everything that follows has no effect. */
  get isOn(): boolean {
    return this.#options.shared.isConfigured;
  }

  /**
   * Begins to apply what the store has, or what was kept of it.
   * @returns when all of it applies, or after the longest wait of a start
   */
  async open(): Promise<void> {
    if (this.isOn) for (const [owner, kept] of await this.#options.kept.read()) this.#of(owner).restore(kept);
    this.#isOpen = true;
    for (const owner of this.#tenants.keys()) this.#touched.add(owner);
    if (this.isOn) this.#withheld = new Set(await this.#options.rules.withheld());
    this.#catchUp();
    await within(SHARING.longestStartMs, Promise.all(this.#turns.values()));
    if (this.isOn) await this.#withholdUnknown();
    if (this.isOn && this.#isAway)
      this.#options.log.warn(
        { event: 'fleet_start_alone' },
        "the fleet's store can't be reached: user functions serve as they did in the fleet before, and those that this proxy has never had serve as its files say, until the store is back",
      );
  }

  /** A start does not wait for ever, and clients must not pass a guard because it comes late. */
  async #withholdUnknown(): Promise<void> {
    const late = [...this.#turns.keys()].filter((owner) => this.#serves(owner));
    const unknown = this.#options.rules.guarded.filter((owner) => !this.#tenants.has(owner));
    for (const owner of new Set([...late, ...(this.#isAway ? unknown : [])])) await this.#withhold(owner);
    // the store may have been read meanwhile
    this.#catchUp();
  }

  async #withhold(owner: string): Promise<void> {
    this.#withheld.add(owner);
    await this.#options.rules
      .withhold(owner)
      .catch((error: unknown) => this.#complain(owner, error as Error));
  }

  /** The fleet serves something of this tenant. */
  #serves(owner: string): boolean {
    const entries = this.#tenants.get(owner)?.entries ?? [];
    return entries.some(({ kind, key, body }) => {
      const serving = kind === 'serving' ? servingIn(key, body) : null;
      return serving !== null && (serving.hash ?? serving.pin) !== null;
    });
  }

  /** Nothing that happens from now on concerns the fleet: this proxy is about to end. */
  async close(): Promise<void> {
    this.#isOpen = false;
    await Promise.all(this.#turns.values());
    await this.#options.kept.flush();
  }

  /** A set of functions is new here. */
  noteSet({ owner, id }: VersionKey): void {
    const values = this.#tenants.get(owner);
    if (values?.entry('rollout', keyOf(id)) == null) return;
    values.applyAgain('rollout', keyOf(id));
    void this.#sync(owner);
  }

  // --- what the fleet decides ------------------------------------------------------------------------------------------------

  mayServe(key: VersionKey, { hash, before }: HeldCode): boolean {
    if (!this.isOn) return true;
    const { rules } = this.#options;
    const serving = this.#servingOf(key);
    const wasHeldBack = this.#heldBack.get(key.id) === hash;
    const isKnown = this.#options.exchange
      .versions(this.#of(key.owner))
      .some((version) => version.id === key.id && version.hash === hash);
    const isDeployed = isDeployment({ hash, before, serving: serving?.hash ?? null, isKnown, wasHeldBack });
    if (serving?.pin != null) {
      if (isDeployed) this.#heldBack.set(key.id, hash);
      return true;
    }
    this.#heldBack.delete(key.id);
    if (isDeployed) {
      this.#deploying.set(key.id, hash);
      rules.unfollow(key);
      return true;
    }
    this.#deploying.delete(key.id);
    return !rules.follow(key, serving?.hash ?? '');
  }

  noteServing(key: VersionKey, hash: string): void {
    if (this.#deploying.get(key.id) !== hash) return;
    this.#deploying.delete(key.id);
    // of two proxies that are the first, one is
    const isFirst = this.#servingOf(key) === null;
    this.#change(key, 'serving', { id: key.id, hash, pin: null }, { user: '', isOffer: isFirst });
  }

  noteChange(key: VersionKey, hash: string | null, user: string): void {
    if (!this.isOn) return;
    const { rules } = this.#options;
    const serves = hash ?? this.#servingOf(key)?.hash ?? rules.latestOf(key);
    // after RESUME, the fleet's version need not be the one of the files here
    const body = { id: key.id, hash: serves, pin: rules.pinOf(key) };
    this.#change(key, 'serving', body, { user, isToApply: true });
  }

  /** The files of a set were removed for good: the fleet serves it only where there are files. */
  noteRemoved(key: VersionKey): void {
    void this.#options.rules.release(key.owner);
    const serving = this.#servingOf(key);
    if (serving !== null)
      this.#change(key, 'serving', { id: key.id, hash: null, pin: null }, { user: '', isToApply: true });
  }

  notePause(owner: string, user: string): void {
    if (!this.#isOpen || !this.isOn) return;
    const pause = this.#options.rules.pauseOf(owner);
    this.#of(owner).change(
      { kind: 'pause', key: '', body: pause && { ...pause } },
      { user, isOffer: this.#isAway },
    );
    void this.#sync(owner);
  }

  noteRollout(key: VersionKey, { asked, ...change }: RolloutChange): void {
    this.#change(
      key,
      'rollout',
      { id: key.id, ...change, by: asked.by, user: asked.user },
      { user: asked.user },
    );
  }

  promote(key: VersionKey, hash: string, isOfFiles: boolean, asked: AskedBy): boolean {
    if (!this.isOn) return false;
    if (this.#isAway || this.#promoting.has(key.id)) return true;
    this.#promoting.add(key.id);
    void this.#promote(key, hash, isOfFiles, asked).finally(() => this.#promoting.delete(key.id));
    return true;
  }

  /**
   * What was decided here is carried to the store.
   * @returns whether it holds for all proxies; false: the store could not be reached, and gets it later
   */
  async share(owner: string): Promise<boolean> {
    if (!this.isOn) return true;
    await within(SHARING.longestCommandMs, this.#sync(owner));
    return !this.#of(owner).hasChanges;
  }

  /** All versions of a tenant that the store keeps are fetched, and those of this proxy get their numbers, for a command. */
  async fetchAll(owner: string): Promise<void> {
    const { exchange, rules } = this.#options;
    const values = this.#tenants.get(owner);
    if (values === undefined || this.#isAway || !rules.has(owner)) return;
    await within(SHARING.longestCommandMs, this.#sync(owner));
    const fetched = exchange
      .versions(values)
      .filter(({ artifact }) => artifact !== null)
      .map(({ id, hash }) =>
        exchange.fetch(values, id, hash).catch((error: unknown) => this.#complain(owner, error as Error)),
      );
    await within(SHARING.longestCommandMs, Promise.all(fetched));
  }

  shown({ key: { owner, id }, hash, number }: Pick<VersionRecord, 'key' | 'hash' | 'number'>): number {
    if (!this.isOn) return number;
    const values = this.#tenants.get(owner);
    const versions = values === undefined ? [] : this.#options.exchange.versions(values);
    return versions.find((version) => version.id === id && version.hash === hash)?.number ?? -number;
  }

  /** By tenant, why it does not serve what the fleet serves, for people. */
  get complaints(): ReadonlyMap<string, string> {
    return this.#complaints;
  }

  /** Tenants with changes that the store does not know yet. */
  get unshared(): string[] {
    return [...this.#tenants.values()].filter(({ hasChanges }) => hasChanges).map(({ owner }) => owner);
  }

  // --- to the store and back -------------------------------------------------------------------------------------------------

  get #isAway(): boolean {
    return !this.#isCaughtUp || !this.#options.shared.isReachable;
  }

  #of(owner: string): TenantValues {
    let values = this.#tenants.get(owner);
    if (values === undefined) this.#tenants.set(owner, (values = new TenantValues(owner)));
    return values;
  }

  /** What the fleet serves, or will as soon as the store knows what has been decided here. */
  #servingOf({ owner, id }: VersionKey): SharedServing | null {
    const values = this.#of(owner);
    const key = keyOf(id);
    const change = values.changes.find((each) => each.kind === 'serving' && each.key === key);
    return servingIn(key, (change ?? values.entry('serving', key))?.body);
  }

  #change(
    { owner, id }: VersionKey,
    kind: string,
    body: Readonly<Record<string, unknown>>,
    { isOffer = false, ...options }: Omit<ChangeOptions, 'isOffer'> & Partial<ChangeOptions>,
  ): void {
    // what happens while this proxy ends happens to this proxy alone
    if (!this.#isOpen || !this.isOn) return;
    this.#of(owner).change({ kind, key: keyOf(id), body }, { ...options, isOffer: isOffer || this.#isAway });
    void this.#sync(owner);
  }

  #catchUp(): void {
    if (!this.#isOpen || !this.isOn) return;
    const { rules } = this.#options;
    for (const values of this.#tenants.values()) {
      const isTouched = this.#touched.has(values.owner) || values.hasChanges;
      if ((isTouched || this.#complaints.has(values.owner)) && rules.has(values.owner))
        void this.#sync(values.owner);
    }
    if (!this.#isAway) for (const owner of this.#withheld) void this.#sync(owner);
    this.#touched.clear();
  }

  #sync(owner: string): Promise<void> {
    const turn = (this.#turns.get(owner) ?? Promise.resolve())
      .then(async () => {
        if (!this.#isOpen || !this.#options.rules.has(owner)) return;
        const values = this.#of(owner);
        await this.#publish(values);
        await this.#apply(values);
        await this.#release(owner);
        this.#options.kept.keep(owner, () => values.keep());
      })
      .catch((error: unknown) => this.#complain(owner, error as Error))
      .finally(() => {
        if (this.#turns.get(owner) === turn) this.#turns.delete(owner);
      });
    this.#turns.set(owner, turn);
    return turn;
  }

  /** Once the store is known: what it serves has come, or is complained about, and is tried again. */
  async #release(owner: string): Promise<void> {
    if (this.#isAway || !this.#withheld.has(owner)) return;
    if (!this.#serves(owner)) await this.#options.rules.release(owner);
    if (!this.#complaints.has(owner)) this.#withheld.delete(owner);
  }

  async #publish(values: TenantValues): Promise<void> {
    const { exchange, shared } = this.#options;
    if (this.#isAway) return values.away();
    try {
      await exchange.send(values);
      for (const change of values.changes) {
        const { basedOn, isOffer, ...value } = change;
        const result = await shared.change(isOffer ? { ...value, after: basedOn } : value);
        if (result.kind === 'done') values.written(change, result.seq);
        else this.#overtaken(values, change, result.present);
      }
    } catch (error) {
      values.away();
      this.#options.log.warn(
        { event: 'fleet_not_shared', tenant: values.owner },
        `what was decided about the functions of ${printable(values.owner)} is not known to the fleet yet: ${printable((error as Error).message)}`,
      );
    }
  }

  #overtaken(values: TenantValues, change: Change, present: SharedEntry | null): void {
    values.overtaken(change, present);
    const { kind, user, body } = change;
    // somebody has decided the same, or the store's answer to this proxy was lost
    if (isDeepStrictEqual(present?.body, body)) return;
    this.#options.log.warn(
      { event: 'fleet_overtaken', tenant: values.owner, user },
      `what was decided here about the functions of ${printable(values.owner)} (${WORDS[kind] ?? kind}) was decided otherwise in the fleet meanwhile, which applies`,
    );
  }

  async #apply(values: TenantValues): Promise<void> {
    const complaints: string[] = [];
    for (const entry of values.unapplied(APPLIED)) {
      const complaint = await this.#applyOne(values, entry).catch((error: unknown) => {
        if (error instanceof ExchangeError || this.#isAway) return (error as Error).message;
        throw error;
      });
      if (complaint === null) values.applied(entry);
      else complaints.push(complaint);
      if (complaint !== null && entry.kind === 'serving') await this.#withhold(values.owner);
    }
    if (complaints.length > 0) this.#complain(values.owner, new Error(complaints.join('; ')));
    else this.#complaints.delete(values.owner);
  }

  /** @returns why it does not apply; null: it does */
  async #applyOne(values: TenantValues, { kind, key, body }: SharedEntry): Promise<string | null> {
    const { rules, exchange } = this.#options;
    const { owner } = values;
    if (kind === 'pause') {
      const pause = pauseIn(body);
      if (pause === undefined) return 'its PAUSE in the store has another form';
      rules.applyPause(owner, pause);
      return null;
    }
    if (body === null) return null;
    const value = kind === 'serving' ? servingIn(key, body) : rolloutIn(key, body);
    if (value === null) return `its ${kind} in the store has another form`;
    const { id } = value;
    if ('pin' in value) {
      const hash = value.pin?.hash ?? value.hash;
      const record = hash === null ? null : await exchange.fetch(values, id, hash);
      return await rules.applyServing({ owner, id }, value, record);
    }
    // it is applied when there is something to apply it to
    if (!rules.hasSet({ owner, id })) return null;
    const isWanted = value.kind === 'shadow' || value.kind === 'canary';
    const record = isWanted && value.hash !== '' ? await exchange.fetch(values, id, value.hash) : null;
    return await rules.applyRollout({ owner, id }, value, record);
  }

  /** The proxy that ends the canary in the store is the one that promotes. */
  async #promote({ owner, id }: VersionKey, hash: string, isOfFiles: boolean, asked: AskedBy): Promise<void> {
    const { shared } = this.#options;
    const values = this.#of(owner);
    const entry = values.entry('rollout', keyOf(id));
    const rollout = servingCanary(entry, hash);
    if (entry === null || rollout === null) return;
    const { user } = asked;
    try {
      const why = 'promoted, because it was not worse';
      const ended = {
        ...rollout,
        kind: 'none',
        hash: '',
        percent: 0,
        isPromoted: false,
        why,
        isWorse: false,
      };
      const value = { kind: 'rollout', tenant: owner, key: keyOf(id), body: ended, user };
      const result = await shared.change({ ...value, after: entry.seq });
      if (result.kind === 'conflict') return;
      values.receive({ ...value, seq: result.seq });
      const pin = isOfFiles ? null : { hash, ...asked, untilFiles: true };
      this.#change({ owner, id }, 'serving', { id, hash, pin }, { user, isToApply: true });
    } catch (error) {
      this.#complain(owner, error as Error);
    }
  }

  /** Each complaint is logged once. */
  #complain(owner: string, { message }: Error): void {
    if (this.#complaints.get(owner) === message) return;
    this.#complaints.set(owner, message);
    this.#options.log.error(
      { event: 'fleet_diverged', tenant: owner },
      `functions of ${printable(owner)}: this proxy does not serve what the fleet serves: ${printable(message)}`,
    );
  }
}

/** The canary of this candidate; null: it has ended, or is another one. */
function servingCanary(entry: SharedEntry | null, hash: string): SharedRollout | null {
  const rollout = entry === null ? null : rolloutIn(entry.key, entry.body);
  return rollout?.kind === 'canary' && rollout.hash === hash ? rollout : null;
}

async function within(ms: number, done: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([done, late]).finally(() => clearTimeout(timer));
}
