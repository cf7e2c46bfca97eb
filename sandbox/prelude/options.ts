/** Reads the options that a rule's files export. */
import { DEFAULT_OPTIONS, type VersionOptions } from '../crossing.ts';
import { freeze, ownKeys, stringify, type Loose } from './primordials.ts';

/** The name of a file, and what it exports as `options`; undefined: nothing. */
type Exported = readonly [file: string, options: unknown];

/**
 * The options of a version. Both functions get the same query, and they share one isolate: so all files must say the same
 * `sees`, and a version is pure only if each file promises it.
 * @param exported one or two files
 * @throws TypeError that names the file, for an unknown option or a wrong value
 */
export function optionsOf(exported: readonly Exported[]): VersionOptions {
  let all: VersionOptions | null = null;
  let first = '';
  for (let i = 0; i < exported.length; i++) {
    const [file, options] = exported[i]!;
    const own = checked(file, options);
    if (all !== null && own.sees !== all.sees)
      throw new TypeError(
        `${file} sees the ${own.sees} of a query, and ${first} its ${all.sees}: set the same options.sees in both files`,
      );
    all = { pure: own.pure && (all === null || all.pure), sees: own.sees };
    first = file;
  }
  return freeze(all ?? DEFAULT_OPTIONS);
}

function checked(file: string, options: unknown): VersionOptions {
  if (options === undefined) return DEFAULT_OPTIONS;
  if (typeof options !== 'object' || options === null)
    throw new TypeError(`${file}: options must be an object, such as { sees: 'shape' }`);
  let { pure, sees } = DEFAULT_OPTIONS;
  const names = ownKeys(options);
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!;
    const value = (options as Loose)[name];
    // an option that is left undefined is not set
    if (value === undefined) continue;
    if (name === 'pure') {
      if (typeof value !== 'boolean') throw new TypeError(`${file}: options.pure must be true or false`);
      pure = value;
    } else if (name === 'sees') {
      if (value !== 'text' && value !== 'shape')
        throw new TypeError(`${file}: options.sees must be 'text' or 'shape'`);
      sees = value;
    } else {
      throw new TypeError(`${file}: unknown option ${stringify(String(name))}: there are pure and sees`);
    }
  }
  return { pure, sees };
}
