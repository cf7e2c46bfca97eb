/** The messages between the proxy and a bundler process, which has one job at a time. */
import type { Details } from './places.ts';
import type { Purity } from './purity/purity.ts';
import type { MapIndex } from './source-map.ts';

/** The files that hold a tenant's functions; null: no file is named after that function. Both may be the same file. */
export interface SourceFiles {
  readonly routing: string | null;
  readonly rewrite: string | null;
}

/** A file that a bundle was made of. */
export interface HashedFile {
  /** absolute */
  readonly path: string;
  /** of its contents, in hexadecimal */
  readonly sha256: string;
}

export interface Bundle {
  /** a script that sets `__pgswitchyard` */
  readonly code: string;
  readonly map: MapIndex;
  /** absolute paths of all its files and of every package.json that led to one */
  readonly inputs: readonly string[];
  /** the same files, as they were read */
  readonly files: readonly HashedFile[];
  /** of the code: equal hashes mean equal code */
  readonly hash: string;
  readonly purity: Purity;
  /** it was deployed in this form, and nothing was bundled */
  readonly isArtifact: boolean;
  /** artifacts that could not be used, each with the reason, so that the source beside them was */
  readonly notUsed: readonly string[];
}

export type BundleJob =
  | { readonly kind: 'bundle'; readonly files: SourceFiles }
  /** checks an artifact that another proxy has made (received.ts) */
  | { readonly kind: 'received'; readonly artifact: Uint8Array }
  /** asks for the places of async functions in the author's own files */
  | { readonly kind: 'async places'; readonly inputs: readonly string[]; readonly folder: string };

/** Sent while a job runs: files that will be read next. One of them may end the bundler. */
export interface Looking {
  readonly kind: 'looking';
  readonly paths: readonly string[];
}

export type BundleResult =
  | { readonly kind: 'bundle'; readonly bundle: Bundle }
  | {
      readonly kind: 'failed';
      /** all mistakes, on one line, with file, line and column */
      readonly message: string;
      /** place of the first mistake, code frames of all */
      readonly details: Details;
      /** files that were read or not found: a change there may repair the rule */
      readonly inputs: readonly string[];
      /** the machine lacked a resource: the files may be correct */
      readonly isPassing: boolean;
    }
  | { readonly kind: 'async places'; readonly places: readonly string[] };

/** Codes of errors that say nothing about a rule: the same build may succeed a moment later. */
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

/** The same errors in esbuild's words. */
const PASSING_TEXT =
  /too many open files|resource temporarily unavailable|cannot allocate memory|device or resource busy|input\/output error|stale (?:NFS )?file handle|connection timed out/i;

export function isPassingError(error: unknown): boolean {
  return PASSING_CODES.has((error as NodeJS.ErrnoException | undefined)?.code);
}

export function isPassingText(text: string): boolean {
  return PASSING_TEXT.test(text.slice(0, 10_000));
}
