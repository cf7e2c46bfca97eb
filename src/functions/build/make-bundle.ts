/**
 * Makes a bundle of a tenant's files, which may be artifacts. esbuild is loaded only where there is source: artifacts alone
 * need no bundling.
 */
import { basename, dirname } from 'node:path';
import { analysed, readArtifact, sourceBeside } from './artifact-files.ts';
import { isPassingError, type Bundle, type BundleResult, type SourceFiles } from './bundle-job.ts';
import { entriesOf, isArtifact } from './sources.ts';

/**
 * @param looked called with every file before it is read, and with every place where a file was not found
 * @param isRaw for an artifact: the code is to be analysed where it is used
 */
export async function makeBundle(
  files: SourceFiles,
  looked: Set<string>,
  isRaw = false,
): Promise<BundleResult> {
  const artifacts = new Map<string, Bundle>();
  const notUsed = new Map<string, string>();
  for (const path of entriesOf(files).filter(isArtifact)) {
    looked.add(path);
    try {
      artifacts.set(path, await readArtifact(path));
    } catch (error) {
      if (isPassingError(error)) return failed(`${path}: ${(error as Error).message}`, looked, true);
      notUsed.set(path, `${basename(path)} is not used: ${(error as Error).message}`);
    }
  }
  const sound = withSource(files, notUsed);
  if (entriesOf(sound).length === 0) {
    const reasons = [...notUsed.values()].join('; ');
    return failed(`${reasons}; there is no source beside it`, looked, false);
  }
  const [first, second] = entriesOf(sound);
  const alone = second === undefined ? artifacts.get(first!) : undefined;
  const made: BundleResult = alone
    ? { kind: 'bundle', bundle: analysed(alone, dirname(first!)) }
    : await (await import('./bundle.ts')).bundle(sound, looked, { artifacts, isRaw });
  if (made.kind !== 'bundle' || notUsed.size === 0) return made;
  // when it has been repaired, it is used
  const inputs = [...made.bundle.inputs, ...notUsed.keys()];
  return { kind: 'bundle', bundle: { ...made.bundle, inputs, notUsed: [...notUsed.values()] } };
}

/** The files, with the source beside each artifact that can't be used. */
function withSource({ routing, rewrite }: SourceFiles, notUsed: ReadonlyMap<string, string>): SourceFiles {
  const replaced = (file: string | null, name: 'routing_rules' | 'rewrite_query'): string | null =>
    file !== null && notUsed.has(file) ? sourceBeside(file, name) : file;
  return { routing: replaced(routing, 'routing_rules'), rewrite: replaced(rewrite, 'rewrite_query') };
}

function failed(message: string, looked: Set<string>, isPassing: boolean): BundleResult {
  return { kind: 'failed', message, details: { place: null, frame: '' }, inputs: [...looked], isPassing };
}
