/**
 * What the proxies of a fleet share about a tenant, and its form in the store. What the store holds is checked as if anybody
 * could have written it.
 */
import { isRecord, isText } from '../build/artifact.ts';
import { STORE } from '../limits.ts';
import { pauseFrom } from '../store/held-check.ts';
import { isVersionNumber } from '../store/record-check.ts';
import { shortHash } from '../store/names.ts';
import type { Pause, Pin } from '../store/version-record.ts';

/** Which version serves a set of functions. */
export interface SharedServing {
  /** of the set, as in VersionKey */
  readonly id: string;
  /** the version that serves where none is pinned; null: each proxy's files decide */
  readonly hash: string | null;
  /** null: none is pinned */
  readonly pin: SharedPin | null;
}

export interface SharedPin extends Pick<Pin, 'user' | 'untilFiles'> {
  readonly hash: string;
  readonly by: 'operator' | 'tenant';
}

/** What is done with the candidate of a set of functions. */
export interface SharedRollout {
  readonly id: string;
  /** `none`: each proxy's `.next` files count; `off`: SHADOW OFF */
  readonly kind: 'none' | 'off' | 'shadow' | 'canary';
  /** of the candidate; '': none */
  readonly hash: string;
  /** of the clients of a canary */
  readonly percent: number;
  readonly isPromoted: boolean;
  readonly by: 'operator' | 'tenant';
  readonly user: string;
  /** how the last canary ended, for people; '': there was none */
  readonly why: string;
  readonly isWorse: boolean;
}

/** A version that the store knows. */
export interface SharedVersion {
  readonly id: string;
  readonly hash: string;
  /** the same on all proxies */
  readonly number: number;
  /** the name of its artifact; null: it is not kept any more */
  readonly artifact: string | null;
  /** as in VersionFacts */
  readonly operators: string;
  readonly isArtifact: boolean;
}

/** The longest key that the store takes, less the rest of it. */
const LONGEST_ID = 400;

/** A set of functions in the key of a value. */
export function keyOf(id: string): string {
  return Buffer.byteLength(id) <= LONGEST_ID ? id : `#${shortHash(id)}`;
}

const isHash = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{12}$/.test(value);
const isRole = (value: unknown): value is 'operator' | 'tenant' => value === 'operator' || value === 'tenant';
const isHashOrNull = (value: unknown): value is string | null => value === null || isHash(value);

/** Undefined: it has another form. */
export function pauseIn(body: unknown): Pause | null | undefined {
  return body === null ? null : (pauseFrom(body) ?? undefined);
}

/** Null: it has another form, as in the functions below. */
export function servingIn(key: string, body: unknown): SharedServing | null {
  if (!isRecord(body)) return null;
  const { id, hash, pin } = body;
  if (!isText(id) || keyOf(id) !== key || !isHashOrNull(hash)) return null;
  if (pin === null) return { id, hash, pin };
  if (!isRecord(pin)) return null;
  const { hash: pinned, by, user, untilFiles } = pin;
  if (!isHash(pinned) || !isRole(by) || !isText(user) || typeof untilFiles !== 'boolean') return null;
  return { id, hash, pin: { hash: pinned, by, user, untilFiles } };
}

const KINDS: readonly unknown[] = ['none', 'off', 'shadow', 'canary'] satisfies SharedRollout['kind'][];

export function rolloutIn(key: string, body: unknown): SharedRollout | null {
  if (!isRecord(body)) return null;
  const { id, kind, hash, percent, isPromoted, by, user, why, isWorse } = body;
  if (!isText(id) || keyOf(id) !== key || !KINDS.includes(kind) || !(hash === '' || isHash(hash)))
    return null;
  if (typeof percent !== 'number' || !(percent >= 0 && percent < 100)) return null;
  if (kind === 'canary' && (hash === '' || percent === 0)) return null;
  if (typeof isPromoted !== 'boolean' || typeof isWorse !== 'boolean') return null;
  if (!isRole(by) || !isText(user) || !isText(why)) return null;
  return { id, kind: kind as SharedRollout['kind'], hash, percent, isPromoted, by, user, why, isWorse };
}

/** The versions of a tenant in the order of their numbers, as far as they have the right form. */
export function versionsIn(body: unknown): SharedVersion[] {
  const list = isRecord(body) ? body['versions'] : null;
  if (!Array.isArray(list)) return [];
  const versions = list.slice(-STORE.records).map(versionIn);
  return versions.filter((version) => version !== null).toSorted((a, b) => a.number - b.number);
}

function versionIn(value: unknown): SharedVersion | null {
  if (!isRecord(value)) return null;
  const { id, hash, number, artifact, operators, isArtifact } = value;
  if (!isText(id) || !isHash(hash) || !isVersionNumber(number)) return null;
  if (!isText(operators) || typeof isArtifact !== 'boolean') return null;
  if (artifact !== null && !(typeof artifact === 'string' && /^[0-9a-f]{64}$/.test(artifact))) return null;
  return { id, hash, number, artifact, operators, isArtifact };
}
