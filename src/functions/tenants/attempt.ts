/** The trial of a tenant's bundle, and the message for the author of a bundle that has failed it. */
import { dirname } from 'node:path';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { placed, positionsOf, printable, type Details } from '../build/places.ts';
import { entryOf } from '../build/sources.ts';
import type { CallFailure } from '../sandbox/call.ts';
import type { TenantContext } from './context.ts';
import type { Installer } from './installer.ts';
import type { TrialResult } from './trials.ts';

/** The tenant whose bundle is tried. */
export interface Tried {
  /** the tenant's name, to which blame is recorded */
  readonly name: string;
  readonly files: SourceFiles;
  readonly installer: Installer;
  readonly context: TenantContext;
  /** The functions are loaded, or are to be loaded. */
  readonly isNeeded: () => boolean;
}

export interface Attempt {
  /** null: it was not tried */
  readonly result: TrialResult | null;
  readonly isSlow: boolean;
  /** it was not tried, although it should have been */
  readonly isDropped: boolean;
}

/** Tries a bundle away from the calls of clients. Where it would be loaded into the proxy anyway, it is tried then. */
export async function attempt(tried: Tried, bundle: Bundle, isWanted: () => boolean): Promise<Attempt> {
  const { context, installer, name, isNeeded } = tried;
  const { isolation } = installer.settings;
  const trial = context.housing.trial(name, isolation, installer.codeOf(bundle), isWanted);
  if (trial === null)
    return { result: isNeeded() ? null : await installer.try(bundle), isSlow: false, isDropped: false };
  const done = await trial;
  return { result: done?.result ?? null, isSlow: done?.isSlow ?? false, isDropped: done === null };
}

/** A failed trial for the author of the files, with file, line and column. */
export async function explain(
  { context, name, files }: Tried,
  { map, inputs }: Bundle,
  { message, stack }: CallFailure,
): Promise<{ readonly message: string; readonly details: Details }> {
  const entry = entryOf(files);
  const place = positionsOf(map, entry).find(stack);
  // the isolate does not know the places of async functions
  const places = / must not be async: /.test(message)
    ? (await context.builder.asyncPlaces(name, inputs, dirname(entry))).map((each) => `${each}: `).join('')
    : placed(place);
  return { message: printable(places + message), details: { place, frame: '' } };
}
