/** Records that come from files: nothing about their form is certain. */
import { isRecord, isText, type ArtifactHeader } from '../build/artifact.ts';
import type { HashedFile } from '../build/bundle-job.ts';
import { STORE } from '../limits.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { CheckedWith, TrialFindings, VersionFacts, VersionRecord } from './version-record.ts';

/** Null: the header has no record. */
export function recordFrom(number: number, header: ArtifactHeader): VersionRecord | null {
  const { note, hash, files, builtAtMs: timeMs } = header;
  if (!isRecord(note) || !isRecord(note['key'])) return null;
  const { owner, id } = note['key'];
  const facts = factsFrom(note);
  if (facts === null || !isText(owner) || !isText(id)) return null;
  return { key: { owner, id }, number, hash, timeMs, ...shownFiles(files), ...facts };
}

/** The files of a version that are shown. */
export function shownFiles(files: readonly HashedFile[]): Pick<VersionRecord, 'files' | 'fileCount'> {
  const own = files.filter(({ path }) => !path.includes('/node_modules/'));
  return { files: own.slice(0, STORE.shownFiles), fileCount: files.length };
}

function factsFrom({
  checkedWith,
  findings,
  operators,
  isArtifact,
}: Readonly<Record<string, unknown>>): VersionFacts | null {
  if (!isCheckedWith(checkedWith) || !isFindings(findings)) return null;
  if (!isText(operators) || typeof isArtifact !== 'boolean') return null;
  return { checkedWith, findings, operators, isArtifact };
}

export function isCheckedWith(value: unknown): value is CheckedWith {
  if (!isRecord(value)) return false;
  const { program, node, timeoutMs, memoryLimitMb, maxResult, isolation } = value;
  return (
    isText(program) &&
    isText(node) &&
    [timeoutMs, memoryLimitMb, maxResult].every((number) => Number.isSafeInteger(number)) &&
    (isolation === 'inline' || isolation === 'process')
  );
}

export function isFindings(value: unknown): value is TrialFindings {
  if (!isRecord(value)) return false;
  const { manifest, route } = value;
  return isManifest(manifest) && (route === null || isText(route));
}

function isManifest(value: unknown): value is Manifest {
  if (!isRecord(value) || !isRecord(value['options'])) return false;
  const { pure, sees } = value['options'];
  const flags = [value['routes'], value['rewrites'], pure];
  return flags.every((flag) => typeof flag === 'boolean') && (sees === 'text' || sees === 'shape');
}

/** As in the names of files. */
export function isVersionNumber(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 1 && (value as number) < STORE.endOfNumbers;
}
