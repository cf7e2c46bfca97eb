/** Whether two bundles hold the same code, although it came from files of other names: `rules.next.ts` and `rules.ts`. */
import type { Bundle } from './bundle-job.ts';

/** More than the names of files could make up. */
const MOST_DIFFERENCE = 10_000;

export function isSameCode(one: Bundle, other: Bundle): boolean {
  if (one.hash === other.hash) return true;
  if (Math.abs(one.code.length - other.code.length) > MOST_DIFFERENCE) return false;
  return withoutNext(one.code) === withoutNext(other.code);
}

/** esbuild names variables and comments after files. A name of the author's own that is shortened here is so in both bundles. */
function withoutNext(code: string): string {
  return code
    .replaceAll(/\.next(?=\.[mc]?[jt]s\b)/g, '')
    .replaceAll(/_next(?=(?:_exports|_default)?\d*\b)/g, '');
}
