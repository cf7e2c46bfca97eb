/** Applies what a fleet has decided to the tenants of this proxy. */
import type { Catalog } from '../tenants/catalog.ts';
import type { FunctionsConfig } from '../tenants/settings.ts';
import type { Targets } from '../tenants/targets.ts';
import type { Tenant } from '../tenants/tenant.ts';
import type { Pause, Pin, VersionKey, VersionRecord } from '../store/version-record.ts';
import type { VersionStore } from '../store/version-store.ts';
import { OPERATOR } from '../../config/tenants.ts';
import { encodeArtifact } from '../build/artifact.ts';
import { programVersion } from '../../platform/program-version.ts';
import type { LentFiles } from './lent-files.ts';
import type { Rules } from './member.ts';
import type { SharedPin, SharedRollout, SharedServing } from './values.ts';

export interface TenantRulesOptions {
  readonly config: () => FunctionsConfig;
  readonly catalog: () => Pick<Catalog, 'ownedBy'>;
  readonly store: VersionStore;
  readonly targets: Pick<Targets, 'operatorsIn'>;
  /** A PAUSE has been set in the store of this proxy. */
  readonly applyPauses: (owner: string) => void;
  readonly lent: LentFiles;
  /** Files of a tenant have come or gone. */
  readonly onLent: (owner: string) => void;
}

export class TenantRules implements Rules {
  readonly #options: TenantRulesOptions;

  constructor(options: TenantRulesOptions) {
    this.#options = options;
  }

  has(owner: string): boolean {
    const config = this.#options.config();
    return owner === OPERATOR || config.isOwner(owner) || this.#options.catalog().ownedBy(owner).length > 0;
  }

  hasSet(key: VersionKey): boolean {
    return this.#tenantOf(key) !== undefined;
  }

  pauseOf(owner: string): Pause | null {
    return this.#options.store.pauseOf(owner);
  }

  applyPause(owner: string, pause: Pause | null): void {
    this.#options.store.setPause(owner, pause);
    this.#options.applyPauses(owner);
  }

  pinOf(key: VersionKey): SharedPin | null {
    const { store } = this.#options;
    const pin = store.pinOf(key);
    if (pin === null || pin.by === 'fleet') return null;
    const { by, user, untilFiles, number } = pin;
    const hash = store.history(key.owner).find((record) => record.number === number)?.hash;
    return hash === undefined ? null : { hash, by, user, untilFiles };
  }

  latestOf(key: VersionKey): string | null {
    return this.#options.store.latest(key)?.hash ?? null;
  }

  async applyServing(
    key: VersionKey,
    { pin }: SharedServing,
    record: VersionRecord | null,
  ): Promise<string | null> {
    const { store, targets } = this.#options;
    const tenant = this.#tenantOf(key);
    const isLent = this.#options.lent.has(key.owner);
    if (record === null && isLent) await this.#takeBack(key.owner);
    if (record === null) return await this.#unfollow(key, tenant);
    if (tenant === undefined || (isLent && pin === null)) await this.#lend(key, record);
    const here = tenant === undefined ? '' : targets.operatorsIn(tenant.files);
    if (pin === null && tenant !== undefined && record.operators !== here)
      return `version ${record.hash} does not have the same functions of the operator's as this proxy`;
    const { number, hash } = record;
    const wanted: Pin =
      pin === null ? fleetPin(number) : { number, by: pin.by, user: pin.user, untilFiles: pin.untilFiles };
    const isLatest = pin === null && store.latest(key)?.hash === hash;
    const serves = tenant?.version?.hash;
    if (isLatest && (serves === undefined || (serves === hash && tenant?.held === hash))) {
      store.unpin(key);
      return null;
    }
    if (tenant === undefined || !(tenant.canServe || tenant.isNeeded)) {
      store.pin(key, wanted);
      return null;
    }
    return await tenant.pinning.follow(wanted);
  }

  async applyRollout(
    key: VersionKey,
    { by, user, ...rollout }: SharedRollout,
    record: VersionRecord | null,
  ): Promise<string | null> {
    const tenant = this.#tenantOf(key);
    if (tenant === undefined) return null;
    const bundle = record && (await this.#options.store.bundleOf(key.owner, record.number));
    if (record !== null && bundle === null) return `version ${record.hash} can't be read`;
    if (bundle !== null) tenant.load();
    await tenant.idle();
    return await tenant.rollout.follow({ ...rollout, asked: { by, user } }, bundle);
  }

  follow(key: VersionKey, hash: string): boolean {
    const { store } = this.#options;
    const kept = store
      .history(key.owner)
      .find((record) => record.key.id === key.id && record.hash === hash && !store.isDropped(record));
    if (kept === undefined) return false;
    const present = store.pinOf(key);
    if (present?.number !== kept.number) store.pin(key, fleetPin(kept.number));
    return true;
  }

  unfollow(key: VersionKey): void {
    const { store } = this.#options;
    if (store.pinOf(key)?.by === 'fleet') store.unpin(key);
  }

  get guarded(): string[] {
    const config = this.#options.config();
    return [...config.tenants.keys()].filter((owner) => {
      const { onRewriteFailure, onRoutingFailure } = config.policiesOfTenant(owner);
      return onRewriteFailure !== 'pass' || onRoutingFailure !== 'pass';
    });
  }

  async withhold(owner: string): Promise<void> {
    const { lent, onLent, config, catalog } = this.#options;
    if (owner === OPERATOR || !config().isOwner(owner) || catalog().ownedBy(owner).length > 0) return;
    if (await lent.withhold(owner)) onLent(owner);
  }

  async withheld(): Promise<string[]> {
    const { tenants, databases } = this.#options.config();
    const owners = new Set([...tenants.keys(), ...databases.keys()]);
    const found: string[] = [];
    for (const owner of owners) if (await this.#options.lent.isWithheld(owner)) found.push(owner);
    return found;
  }

  async release(owner: string): Promise<void> {
    if (await this.#options.lent.isWithheld(owner)) await this.#takeBack(owner);
  }

  async #unfollow(key: VersionKey, tenant: Tenant | undefined): Promise<null> {
    const { store } = this.#options;
    if (store.pinOf(key) === null) return null;
    if (tenant === undefined) store.unpin(key);
    else {
      await tenant.pinning.unfollow();
      if (tenant.isNeeded) await tenant.reload();
    }
    return null;
  }

  /** A tenant without files gets those of the version, if it is the usual set of a tenant that is known by its name. */
  async #lend({ owner, id }: VersionKey, record: VersionRecord): Promise<void> {
    const { store, lent, onLent, config } = this.#options;
    const isUsual = id === JSON.stringify([owner]) && owner !== OPERATOR && config().isOwner(owner);
    const bundle = isUsual && record.operators === '' ? await store.bundleOf(owner, record.number) : null;
    if (bundle === null) return;
    const about = {
      builtAtMs: record.timeMs,
      program: programVersion(),
      node: process.versions.node,
      note: null,
    };
    await lent.lend(owner, encodeArtifact(bundle, about));
    onLent(owner);
  }

  async #takeBack(owner: string): Promise<void> {
    await this.#options.lent.takeBack(owner);
    this.#options.onLent(owner);
  }

  #tenantOf({ owner, id }: VersionKey): Tenant | undefined {
    return this.#options
      .catalog()
      .ownedBy(owner)
      .find((tenant) => tenant.id === id);
  }
}

/** Files end it when they hold the same code. */
function fleetPin(number: number): Pin {
  return { number, by: 'fleet', user: '', untilFiles: true };
}
