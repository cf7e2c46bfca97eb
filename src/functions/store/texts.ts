/** The author's files of a version, kept beside its bundle so that they can be shown after they have changed. */
import { createHash } from 'node:crypto';
import type { SourceText } from '../build/artifact.ts';
import type { HashedFile } from '../build/bundle-job.ts';
import { readSource } from '../build/source-file.ts';
import { STORE } from '../limits.ts';
import type { VersionRecord } from './version-record.ts';

/** A file of a version, with its text; null: it is not kept, and has changed since. */
export interface ShownFile extends HashedFile {
  readonly text: string | null;
}

export interface VersionSource {
  readonly record: VersionRecord;
  /** the author's own files, as many as are shown */
  readonly files: readonly ShownFile[];
  /** what was made of all files; null: it is not kept any more */
  readonly code: string | null;
}

/**
 * The texts of files, up to a number of characters: their present ones if they still are what was bundled, or else known ones.
 * @param known of any files, which count only if their hashes say so
 */
export async function textsOf(
  files: readonly HashedFile[],
  known: readonly SourceText[] = [],
): Promise<SourceText[]> {
  const texts: SourceText[] = [];
  let left: number = STORE.sourceBytes;
  for (const file of files) {
    const other = known.find(({ path, text }) => path === file.path && sha256(text) === file.sha256);
    const text = (await currentText(file)) ?? other?.text ?? null;
    if (text === null || text.length > left) continue;
    left -= text.length;
    texts.push({ path: file.path, text });
  }
  return texts;
}

/** Each file with the text that was kept, or else with its present one if that is the same. */
export async function withTexts(
  files: readonly HashedFile[],
  kept: readonly SourceText[],
): Promise<ShownFile[]> {
  const known = new Map(kept.map(({ path, text }) => [path, text]));
  const others = new Map(
    (await textsOf(files.filter(({ path }) => !known.has(path)))).map(({ path, text }) => [path, text]),
  );
  return files.map((file) => ({ ...file, text: known.get(file.path) ?? others.get(file.path) ?? null }));
}

async function currentText({ path, sha256 }: HashedFile): Promise<string | null> {
  const source = await readSource(path).catch(() => null);
  return source === null || source.sha256 !== sha256 ? null : Buffer.from(source.contents).toString();
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
