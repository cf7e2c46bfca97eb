import type { Details } from './places.ts';
import type { MapIndex } from './source-map.ts';

/** What the proxy and a bundler process tell each other, one job at a time. */

/** The files of a function set; null: it has no such function of its own. Both may be the same file. */
export interface SourceFiles {
  readonly routing: string | null;
  readonly rewrite: string | null;
}

export interface Bundle {
  /** a script that sets `__pgswitchyard` */
  readonly code: string;
  readonly map: MapIndex;
  /** every file that is in it, or says where another one is, absolute */
  readonly inputs: readonly string[];
  /** of the code: equal hashes are equal versions */
  readonly hash: string;
}

export type BundleJob =
  | { readonly kind: 'bundle'; readonly files: SourceFiles }
  /** where async functions are in the author's own files */
  | { readonly kind: 'async places'; readonly inputs: readonly string[]; readonly folder: string };

/** What a bundler says while a job is running: files that it is about to read. One of them may be its end. */
export interface Looking {
  readonly kind: 'looking';
  readonly paths: readonly string[];
}

export type BundleResult =
  | { readonly kind: 'bundle'; readonly bundle: Bundle }
  | {
      readonly kind: 'failed';
      /** all that is wrong, on one line, with file, line and column */
      readonly message: string;
      /** of the first of it, and the code frames of all */
      readonly details: Details;
      /** what was read, or looked for in vain: a change there may mend it */
      readonly inputs: readonly string[];
      /** the machine was short of something, and the files may be all right */
      readonly isPassing: boolean;
    }
  | { readonly kind: 'async places'; readonly places: readonly string[] };

/** Codes of errors that say nothing about a rule: the same may work a moment later. */
const PASSING_CODES: ReadonlySet<unknown> = new Set([
  'EMFILE',
  'ENFILE',
  'EAGAIN',
  'ENOMEM',
  'EBUSY',
  'EIO',
  'ESTALE',
  'EINTR',
  'ETIMEDOUT',
]);

/** The same errors as esbuild tells them. */
const PASSING_TEXT =
  /too many open files|resource temporarily unavailable|cannot allocate memory|device or resource busy|input\/output error|stale (?:NFS )?file handle|connection timed out/i;

export function isPassingError(error: unknown): boolean {
  return PASSING_CODES.has((error as NodeJS.ErrnoException | undefined)?.code);
}

export function isPassingText(text: string): boolean {
  return PASSING_TEXT.test(text.slice(0, 10_000));
}
