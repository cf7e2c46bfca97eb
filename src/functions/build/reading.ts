/** The files that one build has read so far, and the reason if it must fail. */
import { BUNDLE } from '../limits.ts';
import { endlessManifest } from './source-file.ts';

const MB = 1024 * 1024;

export class Reading {
  readonly #looked: Set<string>;
  readonly #hashes = new Map<string, string>();
  /** folders whose package.json has been checked */
  readonly #folders = new Set<string>();
  #imports = 0;
  #files = 0;
  #bytes = 0;
  #failed = 0;
  #isOverLimit = false;
  #isPassing = false;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param looked called with every file that is looked at */
  constructor(looked: Set<string>) {
    this.#looked = looked;
  }

  /** Absolute paths of every file that was read, and of every place where a file was not found. */
  get looked(): Iterable<string> {
    return this.#looked;
  }

  /** The machine lacked a resource: the files may be correct. */
  get isPassing(): boolean {
    return this.#isPassing;
  }

  /** The build will fail in any case: nothing more needs to be checked. */
  get isLost(): boolean {
    return this.#failed >= BUNDLE.maxErrors || this.#isOverLimit;
  }

  /** One after the other: esbuild asks about thousands of imports at once, and the first ones may make the build fail. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** A file is about to be read, or was not found. */
  noteLook(path: string): void {
    this.#looked.add(path);
  }

  /** A file has been read. */
  noteHash(path: string, sha256: string): void {
    this.#hashes.set(path, sha256);
  }

  /** The hash of a file that has been read; undefined: it has not. */
  hashOf(path: string): string | undefined {
    return this.#hashes.get(path);
  }

  /** @param isPassing an error shows that the machine lacked a resource */
  notePassing(isPassing: boolean): void {
    this.#isPassing ||= isPassing;
  }

  /** An import leads nowhere. */
  countFailure(): void {
    this.#failed++;
  }

  /** @returns why this import is one too many; null: it is not */
  countImport(importer: string): string | null {
    if (++this.#imports <= BUNDLE.maxImports) return null;
    return this.#refuse(`more than ${BUNDLE.maxImports} imports: ${importer} has the one that is too many`);
  }

  /** @returns why this file is one too many; null: it is not */
  countFile(path: string): string | null {
    if (++this.#files <= BUNDLE.maxFiles) return null;
    return this.#refuse(
      `more than ${BUNDLE.maxFiles} files are imported: ${path} is the one that is too many`,
    );
  }

  /** @returns why this file makes all files together too large; null: it does not */
  countBytes(path: string, bytes: number): string | null {
    this.#bytes += bytes;
    if (this.#bytes <= BUNDLE.maxBytes) return null;
    const limit = `${BUNDLE.maxBytes / MB} MB`;
    return this.#refuse(`the files that are imported are larger than ${limit} together, with ${path}`);
  }

  /** The package.json of a folder, or of one above it, that esbuild would read without end; null: none. */
  endlessManifest(place: string): string | null {
    return endlessManifest(place, this.#folders);
  }

  #refuse(message: string): string {
    this.#isOverLimit = true;
    return message;
  }
}
