/** Artifacts in a folder of rules, in the place of source. Their authors may have put anything there. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { ARTIFACT } from '../limits.ts';
import { ArtifactError, codeHash, decodeArtifact } from './artifact.ts';
import { checkCode } from './artifact-check.ts';
import type { Bundle } from './bundle-job.ts';
import { analyse } from './purity/analyse.ts';
import { NOT_ANALYSED } from './purity/purity.ts';
import { indexMappings } from './source-map.ts';
import { inFolder, isArtifact, SOURCE_EXTENSIONS } from './sources.ts';

/**
 * The bundle in an artifact, not analysed yet. Nothing that the artifact says about its code is taken over.
 * @throws ArtifactError, or another Error if it can't be read
 */
export async function readArtifact(path: string): Promise<Bundle> {
  const file = await contentsOf(path);
  const sha256 = createHash('sha256').update(file).digest('hex');
  return { ...checkedBundle(file), inputs: [path], files: [{ path, sha256 }], isArtifact: true };
}

/**
 * The bundle in the bytes of an artifact, not analysed yet. Nothing that the artifact says about its code is taken over.
 * @throws ArtifactError
 */
export function checkedBundle(file: Buffer): Bundle {
  const { bundle } = decodeArtifact(file);
  checkCode(bundle.code);
  const { sources, mappings } = bundle.map;
  return { ...bundle, map: checkedMap(sources, mappings), purity: NOT_ANALYSED };
}

/** What bundling would have found out about the code. @param folder that places are shown relative to */
export function analysed(bundle: Bundle, folder: string): Bundle {
  // which packages were bundled is not known for certain
  const { code, purity } = analyse(bundle.code, bundle.map, folder, () => false);
  return { ...bundle, code, purity, hash: codeHash(Buffer.from(code)) };
}

/** The name, without its extension, of an artifact for both functions: the one that serves, or a candidate. */
const OF_BOTH = /^functions(\.next)?$/;

/** The source that a damaged artifact may have been built from, in the same folder; null: none. */
export function sourceBeside(artifact: string, name: 'routing_rules' | 'rewrite_query'): string | null {
  if (!isArtifact(artifact)) return artifact;
  const stem = basename(artifact, '.artifact');
  const folder = dirname(artifact);
  const source = stem.replace(OF_BOTH, (_, next: string | undefined) => name + (next ?? ''));
  return inFolder(folder, source, SOURCE_EXTENSIONS);
}

async function contentsOf(path: string): Promise<Buffer> {
  // a FIFO opens at once, without waiting for a writer
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { size, isFile } = await file.stat().then((stat) => ({ size: stat.size, isFile: stat.isFile() }));
    if (!isFile) throw new ArtifactError('it is no regular file');
    if (size > ARTIFACT.maxBytes)
      throw new ArtifactError(`it is larger than ${ARTIFACT.maxBytes / 1024 / 1024} MB`);
    const bytes = Buffer.alloc(size);
    const { bytesRead } = await file.read(bytes, 0, size, 0);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

function checkedMap(sources: readonly string[], mappings: string): Bundle['map'] {
  try {
    return indexMappings(sources, mappings);
  } catch {
    throw new ArtifactError('its source map is wrong');
  }
}
