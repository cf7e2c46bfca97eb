/**
 * Scripts that are bundled from this project's own source. The published package has them ready-made. A checkout makes each one
 * when it is first needed, and keeps it until one of its files changes: esbuild takes longer than all else that a start does.
 */
import { mkdirSync, readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { BuildOptions } from 'esbuild';
import { bundle, bundleSync, type Bundled } from './esbuild.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/** bin/pgswitchyard keeps compiled code there, too. Whoever can write to it can change the source as well. */
const CACHE = join(ROOT, 'node_modules', '.cache', 'pgswitchyard');

/** The published package holds JavaScript only, a checkout source only. */
export const IS_PACKAGE = import.meta.filename.endsWith('.js');
export const EXTENSION = IS_PACKAGE ? 'js' : 'ts';

/** A script in the cache. */
interface Kept {
  /** how it was made */
  readonly recipe: string;
  readonly text: string;
  /** by path below the root, as `stampOf` returns it */
  readonly stamps: Readonly<Record<string, string>>;
}

export class OwnScript {
  /** its file in the published package, below the root */
  readonly name: string;
  readonly #keptFile: string;
  readonly #options: BuildOptions;
  #text: string | null = null;

  constructor(name: string, options: BuildOptions, cache = CACHE) {
    this.name = name;
    this.#keptFile = join(cache, `${name.replaceAll('/', '-')}.json`);
    this.#options = { ...options, absWorkingDir: ROOT };
  }

  /** The script. In a checkout, the first request after a change takes some ms. */
  get text(): string {
    const begun = Date.now();
    this.#text ??= this.#found() ?? this.#keep(bundleSync(this.#options), begun);
    return this.#text;
  }

  /** Builds it without blocking this thread. */
  async prepare(): Promise<void> {
    const begun = Date.now();
    this.#text ??= this.#found() ?? this.#keep(await bundle(this.#options), begun);
  }

  #found(): string | null {
    if (IS_PACKAGE) return readFileSync(join(ROOT, this.name), 'utf8');
    try {
      const { recipe, text, stamps } = JSON.parse(readFileSync(this.#keptFile, 'utf8')) as Kept;
      const isSame =
        recipe === this.#recipe && Object.entries(stamps).every(([path, stamp]) => stamp === stampOf(path));
      return isSame && typeof text === 'string' ? text : null;
    } catch {
      return null;
    }
  }

  /** @param begun when it was begun, by Date.now() */
  #keep({ text, inputs }: Bundled, begun: number): string {
    const draft = `${this.#keptFile}.${process.pid}`;
    try {
      const stamps = Object.fromEntries(inputs.map((path) => [path, stampOf(path)]));
      // changed meanwhile: the text may be older
      if (inputs.some((path) => statSync(join(ROOT, path)).mtimeMs >= begun)) return text;
      mkdirSync(dirname(this.#keptFile), { recursive: true });
      writeFileSync(draft, JSON.stringify({ recipe: this.#recipe, text, stamps } satisfies Kept));
      renameSync(draft, this.#keptFile);
    } catch {
      // nothing is kept where the cache can't be written to
      removeIfPossible(draft);
    }
    return text;
  }

  get #recipe(): string {
    return JSON.stringify([this.#options, stampOf(join('node_modules', 'esbuild', 'package.json'))]);
  }
}

/** Changes with a file's contents. @throws if it is not there */
function stampOf(path: string): string {
  const { mtimeMs, size } = statSync(join(ROOT, path));
  return `${mtimeMs} ${size}`;
}

function removeIfPossible(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // it is not there
  }
}
