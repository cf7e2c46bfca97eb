/**
 * The exchange of versions with the store of a fleet: those that were loaded here first go there as artifacts and get their
 * numbers, and those that are to serve here come from there. What comes is checked like an artifact that somebody has put into a
 * folder of rules, and is tried here before it serves.
 */
import { createHash } from 'node:crypto';
import { programVersion } from '../../platform/program-version.ts';
import { decodeTexts, encodeArtifact, type SourceText } from '../build/artifact.ts';
import type { Bundle } from '../build/bundle-job.ts';
import { BundleError } from '../build/bundlers.ts';
import { ARTIFACT, SHARING } from '../limits.ts';
import type { VersionKey, VersionRecord } from '../store/version-record.ts';
import { UNTRIED, type VersionStore } from '../store/version-store.ts';
import { numbered, type Numbered, type Unnumbered } from './numbering.ts';
import type { SharedEntry, SharedStore } from './store.ts';
import type { TenantValues } from './tenant-values.ts';
import { rolloutIn, servingIn, versionsIn, type SharedVersion } from './values.ts';

/** A version can't be had from the store. The message says why. */
export class ExchangeError extends Error {}

export interface ExchangeOptions {
  readonly shared: SharedStore;
  readonly store: VersionStore;
  /** as Bundlers.received */
  readonly check: (owner: string, artifact: Uint8Array) => Promise<Bundle>;
}

export class Exchange {
  readonly #options: ExchangeOptions;
  /** they can't be read here */
  readonly #unreadable = new WeakSet<VersionRecord>();

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** The versions of a tenant that the store knows, in the order of their numbers. */
  versions(values: TenantValues): SharedVersion[] {
    return versionsIn(values.entry('versions', '')?.body);
  }

  /** Gives the store all versions that are kept here and that it has never had. @throws Error if it can't be reached */
  async send(values: TenantValues): Promise<void> {
    const { store } = this.#options;
    const { owner } = values;
    for (const record of store.history(owner)) {
      const { key, hash, number } = record;
      const there = this.versions(values).find((each) => each.id === key.id && each.hash === hash);
      const isKept = there !== undefined && (there.artifact !== null || !isNeeded(values, there));
      if (isKept || store.isDropped(record) || this.#unreadable.has(record)) continue;
      const bundle = await store.bundleOf(owner, number);
      if (bundle === null) this.#unreadable.add(record);
      else await this.#send(values, record, bundle);
    }
  }

  /**
   * The version of this code in the store of this proxy, fetched if need be.
   * @throws ExchangeError, or another Error if the store can't be reached
   */
  async fetch(values: TenantValues, id: string, hash: string): Promise<VersionRecord> {
    const { store, check, shared } = this.#options;
    const { owner } = values;
    const key = { owner, id };
    await store.open(owner);
    const here = store.history(owner).find((each) => each.key.id === id && each.hash === hash);
    if (here !== undefined && (await store.bundleOf(owner, here.number)) !== null) return here;
    const version = this.versions(values).find((each) => each.id === id && each.hash === hash);
    if (version === undefined || version.artifact === null)
      throw new ExchangeError(`the fleet's store does not keep version ${hash}`);
    const artifact = await shared.artifact(version.artifact);
    if (artifact === null)
      throw new ExchangeError(`the artifact of version ${hash} is missing in the fleet's store`);
    if (artifact.length > ARTIFACT.maxBytes) throw damaged(hash, 'it is too large');
    let bundle: Bundle;
    try {
      bundle = await check(owner, artifact);
    } catch (error) {
      if (error instanceof BundleError && error.kind !== 'passing') throw damaged(hash, error.message);
      throw error;
    }
    if (bundle.hash !== hash || artifactName(key, bundle) !== version.artifact)
      throw damaged(hash, 'it holds other code');
    const { operators, isArtifact } = version;
    const facts = { ...UNTRIED, operators, isArtifact };
    return await store.add(key, { ...bundle, isArtifact }, facts, textsIn(artifact));
  }

  async #send(values: TenantValues, record: VersionRecord, bundle: Bundle): Promise<void> {
    const { shared, store } = this.#options;
    const { key, hash, timeMs, operators, isArtifact } = record;
    const about = { builtAtMs: timeMs, program: programVersion(), node: process.versions.node, note: null };
    const bytes = encodeArtifact(bundle, about, await store.textsOf(record));
    if (bytes.length > ARTIFACT.maxBytes) return;
    const artifact = artifactName(key, bundle);
    await shared.putArtifact(artifact, bytes);
    await this.#enter(values, { id: key.id, hash, artifact, operators, isArtifact });
  }

  /** Two proxies may enter versions at once: the second one looks again at what there is. */
  async #enter(values: TenantValues, version: Unnumbered): Promise<void> {
    const { shared } = this.#options;
    let present: SharedEntry | null = values.entry('versions', '');
    for (let tries = 0; tries < SHARING.maxTries; tries++) {
      const next: Numbered | null = numbered(versionsIn(present?.body), version, (each) =>
        isNeeded(values, each),
      );
      if (next === null) return;
      const value = { kind: 'versions', tenant: values.owner, key: '', body: { versions: next.versions } };
      const result = await shared.change({ ...value, user: '', after: present?.seq ?? 0 });
      if (result.kind === 'done') {
        values.receive({ ...value, seq: result.seq });
        for (const name of next.removed) await shared.removeArtifact(name);
        return;
      }
      present = result.present;
      if (present !== null) values.receive(present);
    }
  }
}

/** Whether a version serves, is pinned or is a candidate somewhere, as far as is known here. */
function isNeeded(values: TenantValues, { id, hash }: Pick<SharedVersion, 'id' | 'hash'>): boolean {
  return [...values.entries, ...values.changes].some(({ kind, key, body }) => {
    const serving = kind === 'serving' ? servingIn(key, body) : null;
    const rollout = kind === 'rollout' ? rolloutIn(key, body) : null;
    if ((serving ?? rollout)?.id !== id) return false;
    return [serving?.hash, serving?.pin?.hash, rollout?.hash].includes(hash);
  });
}

/** The author's files in an artifact: without them a version can still serve. */
function textsIn(artifact: Buffer): readonly SourceText[] {
  try {
    return decodeTexts(artifact);
  } catch {
    return [];
  }
}

/** Two tenants with the same code don't share it: its files have names. */
function artifactName({ owner, id }: VersionKey, { code }: Bundle): string {
  return createHash('sha256')
    .update(`${JSON.stringify([owner, id])}\n${code}`)
    .digest('hex');
}

function damaged(hash: string, why: string): ExchangeError {
  return new ExchangeError(`the artifact of version ${hash} in the fleet's store is damaged: ${why}`);
}
