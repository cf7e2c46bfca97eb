/** The last failures of a tenant's functions, with the failing lines. */
import type { Functions } from '../../functions/functions.ts';
import { excerptOf, type Excerpt } from './source-lines.ts';

/** Failures that are shown. */
const MOST = 20;

type Administration = Functions['administration'];
type Source = Awaited<ReturnType<Administration['sourceOf']>>;

export interface ShownFailure {
  readonly atMs: number;
  readonly text: string;
  /** of the version that failed; null: its place or its source is not known, or not to be shown */
  readonly excerpt: Excerpt | null;
  /** source lines of files that could not be loaded, as the bundler shows them; '': none */
  readonly frame: string;
}

/**
 * The newest first.
 * @param role of the user; null: no source is shown
 */
export async function failuresOf(
  administration: Administration,
  tenant: string,
  role: 'operator' | 'tenant' | null,
): Promise<ShownFailure[]> {
  const lines = administration
    .log(tenant)
    .filter(({ failure }) => failure !== undefined)
    .slice(-MOST)
    .toReversed();
  if (role === null) return lines.map(({ atMs, text }) => ({ atMs, text, excerpt: null, frame: '' }));
  const rows = await administration.versions(tenant);
  const numbers = new Map(rows.map(({ record }) => [record.hash, record.number]));
  const sources = new Map<number, Source>();
  // the lines of a mistake may be the operator's
  const showsFrames = role === 'operator' || !administration.runsOperatorsFunctions(tenant);
  const shown: ShownFailure[] = [];
  for (const { atMs, text, failure } of lines) {
    const { version = '', place = null, frame = '' } = failure ?? {};
    const number = numbers.get(version);
    let excerpt: Excerpt | null = null;
    if (number !== undefined && place !== null) {
      const source = sources.get(number) ?? (await administration.sourceOf(tenant, number, role));
      sources.set(number, source);
      excerpt = source === null ? null : excerptOf(source.files, place);
    }
    shown.push({ atMs, text, excerpt, frame: showsFrames ? frame : '' });
  }
  return shown;
}
