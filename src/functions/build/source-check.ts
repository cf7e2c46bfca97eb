/** Checks of a source file before esbuild sees it. */
import type { Loader, PartialMessage } from 'esbuild';
import { BUNDLE } from '../limits.ts';

/** `require('./' + x)` and the like: esbuild would bundle every file that the name could mean. */
const GLOB = /\b(?:require|import)\s*\(\s*(?:`\.{1,2}\/[^`]*\$\{|(["'])\.{1,2}\/[^"'\n]*\1\s*\+)/;

/** Text that may be an import. If there are too many, they are refused before esbuild resolves each. */
const IMPORT_LIKE = /\b(?:(?:import|from)\s*["']|(?:import|require)\s*\()/g;

/**
 * How to read a file, by its name after all links; null: it may not be read. The proxy reads these files with its own rights,
 * and a rule can put what it imports into a query: passwords and keys must stay out of reach.
 */
export function loaderOf(file: string): Loader | null {
  return (/\.(?:[cm]?([jt]s)|(json))$/.exec(file)?.slice(1).find(Boolean) as Loader | undefined) ?? null;
}

/** Complains about a line that is too long, too many imports, or an import by a path that is built at run time. */
export function refusedCode(path: string, contents: Uint8Array | string): PartialMessage | null {
  const text = typeof contents === 'string' ? contents : Buffer.from(contents).toString();
  const line = longLine(text);
  if (line !== null) return { text: `${path}: line ${line} is longer than ${BUNDLE.maxLine} characters` };
  let imports = 0;
  for (const _ of text.matchAll(IMPORT_LIKE)) {
    if (++imports > BUNDLE.maxImports)
      return { text: `more than ${BUNDLE.maxImports} imports: they are in ${path}` };
  }
  return computedImport(path, text);
}

/** Number of the first line that is too long, from 1; null: none. */
function longLine(text: string): number | null {
  for (let from = 0, line = 1; from < text.length; line++) {
    const end = text.indexOf('\n', from);
    const length = (end < 0 ? text.length : end) - from;
    if (length > BUNDLE.maxLine) return line;
    from += length + 1;
  }
  return null;
}

function computedImport(path: string, text: string): PartialMessage | null {
  const at = GLOB.exec(text)?.index;
  if (at === undefined) return null;
  const before = text.slice(0, at);
  const line = before.split('\n').length;
  return {
    text: 'An import by a name that is put together at run time is not available: import each file by its name',
    location: { file: path, line, column: at - (before.lastIndexOf('\n') + 1), lineText: '' },
  };
}
