/** Places of async functions, which a user function must not be. The isolate does not know their places. */
import { relative } from 'node:path';
import { transform, type BuildFailure } from 'esbuild';
import { BUNDLE } from '../limits.ts';
import { loaderOf } from './source-check.ts';
import { readSource } from './source-file.ts';

/** @returns `file:line:column` of each async function in the author's own files, relative to a folder */
export async function asyncPlaces(inputs: readonly string[], folder: string): Promise<string[]> {
  const places: string[] = [];
  for (const file of inputs) {
    const loader = loaderOf(file);
    if (loader === null || loader === 'json' || file.includes('/node_modules/')) continue;
    try {
      const supported = { 'async-await': false, 'async-generator': false, generator: false };
      await transform((await readSource(file)).contents, { loader, logLevel: 'silent', supported });
    } catch (error) {
      for (const { text, location } of (error as Partial<BuildFailure>).errors ?? []) {
        if (text.includes('async'))
          places.push(`${relative(folder, file)}:${location?.line}:${(location?.column ?? 0) + 1}`);
        if (places.length === BUNDLE.maxErrors) return places;
      }
    }
  }
  return places;
}
