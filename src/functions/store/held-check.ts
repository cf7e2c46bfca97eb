/** What administrators have fixed, as it comes from a file: nothing about its form is certain. */
import { isAbsolute } from 'node:path';
import { isListOf, isRecord, isText } from '../build/artifact.ts';
import { STORE } from '../limits.ts';
import type { TallySums } from '../rollout/arm.ts';
import type { Held, HeldCanary, HeldSet, LeftVersion, ShadowSource } from './held.ts';
import { isVersionNumber } from './record-check.ts';
import type { Pause, Pin } from './version-record.ts';

/** @throws Error if a part has another form: then nothing of it is used */
export function heldFrom(value: unknown): Held {
  if (!isRecord(value) || !isRecord(value['sets'])) throw new Error('it has another form');
  const sets = Object.entries(value['sets']);
  if (sets.length > STORE.maxSets) throw new Error('it is about too many sets of functions');
  return {
    pause: orNull(value['pause'], pauseFrom, 'its pause'),
    sets: new Map(sets.map(([id, each]) => [id, setFrom(each)])),
  };
}

function setFrom(value: unknown): HeldSet {
  if (!isRecord(value)) throw new Error('one of its sets has another form');
  const { pin, left, source, canary } = value;
  if (!isListOf(left, STORE.records, isLeft))
    throw new Error('its list of versions that were left has another form');
  return {
    pin: orNull(pin, pinFrom, 'one of its pins'),
    left,
    source: orNull(source, sourceFrom, 'the source of a candidate'),
    canary: orNull(canary, canaryFrom, 'a canary'),
  };
}

function orNull<T>(value: unknown, from: (value: unknown) => T | null, what: string): T | null {
  if (value === null) return null;
  const found = from(value);
  if (found === null) throw new Error(`${what} has another form`);
  return found;
}

const isRole = (value: unknown): value is Pause['by'] => value === 'operator' || value === 'tenant';
const isCount = (value: unknown): value is number => Number.isFinite(value) && (value as number) >= 0;

/** Null: it is none. */
function pinFrom(value: unknown): Pin | null {
  if (!isRecord(value)) return null;
  const { number, hash, by, user, untilFiles } = value;
  return isVersionNumber(number) &&
    (by === 'fleet' || isRole(by)) &&
    isText(user) &&
    typeof untilFiles === 'boolean' &&
    (hash === undefined || isText(hash))
    ? { number, by, user, untilFiles, ...(hash !== undefined && { hash }) }
    : null;
}

/** Null: it is none. */
export function pauseFrom(value: unknown): Pause | null {
  if (!isRecord(value)) return null;
  const { by, user, as } = value;
  return isRole(by) && isText(user) && (as === 'policy' || as === 'pass' || as === 'error')
    ? { by, user, as }
    : null;
}

function isLeft(value: unknown): value is LeftVersion {
  return (
    isRecord(value) && isVersionNumber(value['number']) && isText(value['hash']) && isText(value['user'])
  );
}

/** Null: it is none. */
function sourceFrom(value: unknown): ShadowSource | null {
  if (!isRecord(value)) return null;
  const { folder } = value;
  return folder === null || (isText(folder) && isAbsolute(folder)) ? { folder } : null;
}

/** Null: it is none. */
function canaryFrom(value: unknown): HeldCanary | null {
  if (!isRecord(value)) return null;
  const { percent, isPromoted, by, user, servingHash, candidateHash, lastsMs } = value;
  const serving = sumsFrom(value['serving']);
  const candidate = sumsFrom(value['candidate']);
  const isShare = isCount(percent) && percent > 0 && percent < 100;
  if (!isShare || typeof isPromoted !== 'boolean' || !isRole(by) || !isText(user)) return null;
  if (!isText(servingHash) || !isText(candidateHash) || !isCount(lastsMs)) return null;
  if (serving === null || candidate === null) return null;
  return { percent, isPromoted, by, user, servingHash, candidateHash, lastsMs, serving, candidate };
}

/** Null: they are none. */
function sumsFrom(value: unknown): TallySums | null {
  if (!isRecord(value)) return null;
  const { calls, failures, rejections, timed, sumUs, sumSquares, answers, errors } = value;
  const counts = { calls, failures, rejections, timed, sumUs, sumSquares, answers };
  if (!Object.values(counts).every(isCount) || !isListOf(errors, STORE.errorClasses, isErrorCount))
    return null;
  return { ...(counts as Omit<TallySums, 'errors'>), errors };
}

function isErrorCount(value: unknown): value is [number, number] {
  return Array.isArray(value) && value.length === 2 && value.every(isCount);
}
