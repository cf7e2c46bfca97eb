/** The files that one build has read so far, and the reason if it is lost. */
import { BUNDLE } from '../limits.ts';
import { endlessManifest } from './source-file.ts';

const MB = 1024 * 1024;

export class Reading {
  readonly #looked: Set<string>;
  /** folders whose package.json has been looked at */
  readonly #folders = new Set<string>();
  #imports = 0;
  #files = 0;
  #bytes = 0;
  #failed = 0;
  #isOverLimit = false;
  #isPassing = false;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param looked is given every file that is looked at */
  constructor(looked: Set<string>) {
    this.#looked = looked;
  }

  /** Every file that was read, and every place where one was looked for in vain, absolute. */
  get looked(): Iterable<string> {
    return this.#looked;
  }

  /** The machine was short of something: the files may be all right. */
  get isPassing(): boolean {
    return this.#isPassing;
  }

  /** The build fails in any case: nothing more needs to be found out. */
  get isLost(): boolean {
    return this.#failed >= BUNDLE.maxErrors || this.#isOverLimit;
  }

  /** One after the other: esbuild asks about thousands of imports at once, and the first ones may lose the build. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work);
    this.#turn = turn.catch(() => {});
    return turn;
  }

  /** A file is about to be read, or was not there. */
  noteLook(path: string): void {
    this.#looked.add(path);
  }

  /** @param isPassing an error says that the machine was short of something */
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

  /** @returns why all files together are too large with this one; null: they are not */
  countBytes(path: string, bytes: number): string | null {
    this.#bytes += bytes;
    if (this.#bytes <= BUNDLE.maxBytes) return null;
    const limit = `${BUNDLE.maxBytes / MB} MB`;
    return this.#refuse(`the files that are imported are larger than ${limit} together, with ${path}`);
  }

  /** The package.json of a folder, or of one above it, that esbuild would read without end; null: there is none. */
  endlessManifest(place: string): string | null {
    return endlessManifest(place, this.#folders);
  }

  #refuse(message: string): string {
    this.#isOverLimit = true;
    return message;
  }
}
