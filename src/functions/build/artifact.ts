/**
 * Artifacts: a bundle with its source map and where it came from, in one file. Each part is checked by its hash when it is
 * read. Versions are kept in this form, and `pgswitchyard rules build` writes it.
 *
 *     pgswitchyard-artifact 1 SHA256-OF-HEADER BYTES-OF-HEADER
 *     {"hash": …, "files": …, "code": {"bytes": …, "sha256": …}, …}
 *     code, mappings of the source map, checkpoints, and in some artifacts the author's files
 */
import { createHash } from 'node:crypto';
import { ARTIFACT, BUNDLE } from '../limits.ts';
import type { Bundle, HashedFile } from './bundle-job.ts';
import type { MapIndex } from './source-map.ts';

/** Why a file is no artifact, or not the one that was written. */
export class ArtifactError extends Error {}

interface Section {
  readonly bytes: number;
  readonly sha256: string;
}

const SECTIONS = ['code', 'mappings', 'checkpoints'] as const;
type Sections = Readonly<Record<(typeof SECTIONS)[number], Section>>;

/** A file that an author has written, as it was when it was bundled. */
export interface SourceText {
  /** absolute */
  readonly path: string;
  readonly text: string;
}

/** The first part of an artifact, which can be read without the rest. */
export interface ArtifactHeader {
  /** of the code, as in Bundle */
  readonly hash: string;
  readonly files: readonly HashedFile[];
  /** of the source map */
  readonly sources: readonly string[];
  readonly purity: Bundle['purity'];
  /** ms since 1970 */
  readonly builtAtMs: number;
  /** the version of pgswitchyard that has bundled it */
  readonly program: string;
  /** the version of Node, without `v` */
  readonly node: string;
  /** what the writer has added: plain data, whose form the reader must check */
  readonly note: unknown;
}

interface WholeHeader extends ArtifactHeader, Sections {
  /** the author's files, as JSON */
  readonly texts?: Section;
}

/** The number of bytes from the start of a file that hold the first line, and in most cases the header. */
export const FIRST_READ_BYTES = 16 * 1024;

const FIRST_LINE = /^pgswitchyard-artifact 1 ([0-9a-f]{64}) ([0-9]{1,8})\n/;

/** @param texts the author's files, if they are to be shown */
export function encodeArtifact(
  bundle: Bundle,
  about: Pick<ArtifactHeader, 'builtAtMs' | 'program' | 'node' | 'note'>,
  texts: readonly SourceText[] = [],
): Buffer {
  const { map, hash, files, purity } = bundle;
  const { buffer, byteOffset, byteLength } = map.checkpoints;
  const parts = {
    code: Buffer.from(bundle.code),
    mappings: Buffer.from(map.mappings),
    checkpoints: Buffer.from(buffer, byteOffset, byteLength),
  };
  const last = texts.length === 0 ? [] : [Buffer.from(JSON.stringify(texts))];
  const sections = {
    ...Object.fromEntries(SECTIONS.map((name) => [name, sectionOf(parts[name])])),
    ...(last[0] !== undefined && { texts: sectionOf(last[0]) }),
  };
  const header = Buffer.from(
    JSON.stringify({ hash, files, sources: map.sources, purity, ...about, ...sections }),
  );
  const line = `pgswitchyard-artifact 1 ${sha256(header)} ${header.length}\n`;
  return Buffer.concat([Buffer.from(line), header, ...SECTIONS.map((name) => parts[name]), ...last]);
}

function sectionOf(bytes: Buffer): Section {
  return { bytes: bytes.length, sha256: sha256(bytes) };
}

/**
 * The extent of the header.
 * @param start the first bytes of the file
 * @throws ArtifactError
 */
export function headerExtent(start: Buffer): { readonly from: number; readonly to: number } {
  const line = FIRST_LINE.exec(start.toString('latin1', 0, 128));
  if (line === null) throw new ArtifactError('it does not begin like an artifact of this program');
  const bytes = Number(line[2]);
  if (bytes > ARTIFACT.maxHeaderBytes) throw new ArtifactError('its header is too large');
  return { from: line[0].length, to: line[0].length + bytes };
}

/**
 * @param start the file up to the end of its header, at least
 * @throws ArtifactError
 */
export function decodeHeader(start: Buffer): ArtifactHeader {
  return wholeHeader(start);
}

/** @throws ArtifactError */
export function decodeArtifact(file: Buffer): { readonly header: ArtifactHeader; readonly bundle: Bundle } {
  const header = wholeHeader(file);
  let at = headerExtent(file).to;
  checkLength(file, header, at);
  const section = (name: keyof Sections): Buffer => {
    const { bytes, sha256: hash } = header[name];
    const part = file.subarray(at, at + bytes);
    at += bytes;
    if (sha256(part) !== hash) throw new ArtifactError(`its ${name} has another hash than its header says`);
    return part;
  };
  const code = section('code');
  if (codeHash(code) !== header.hash)
    throw new ArtifactError('its code has another hash than its header says');
  const mappings = section('mappings').toString('latin1');
  const map = { sources: header.sources, mappings, checkpoints: checkpointsOf(section('checkpoints')) };
  const { files, hash, purity } = header;
  const inputs = files.map(({ path }) => path);
  return {
    header,
    bundle: {
      code: code.toString(),
      map,
      inputs,
      files,
      hash,
      purity,
      isArtifact: false,
      notUsed: [],
    },
  };
}

/** The author's files in an artifact; none: they were not kept. @throws ArtifactError */
export function decodeTexts(file: Buffer): readonly SourceText[] {
  const header = wholeHeader(file);
  checkLength(file, header, headerExtent(file).to);
  if (header.texts === undefined) return [];
  const bytes = file.subarray(file.length - header.texts.bytes);
  if (sha256(bytes) !== header.texts.sha256)
    throw new ArtifactError('its files have another hash than its header says');
  let texts: unknown;
  try {
    texts = JSON.parse(bytes.toString());
  } catch {
    throw new ArtifactError('its files are not JSON');
  }
  if (!isListOf(texts, ARTIFACT.maxFiles, isSourceText))
    throw new ArtifactError('its files lack something, or have another form');
  return texts;
}

function isSourceText(value: unknown): value is SourceText {
  return isRecord(value) && isText(value['path']) && typeof value['text'] === 'string';
}

function checkLength(file: Buffer, header: WholeHeader, from: number): void {
  const rest = header.texts?.bytes ?? 0;
  const total = SECTIONS.reduce((sum, name) => sum + header[name].bytes, from + rest);
  if (total !== file.length) throw new ArtifactError(`it has ${file.length} bytes instead of ${total}`);
}

/** Identifies code in the log and the console. */
export function codeHash(code: Uint8Array): string {
  return sha256(code).slice(0, 12);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function wholeHeader(file: Buffer): WholeHeader {
  const { from, to } = headerExtent(file);
  const text = file.subarray(from, to);
  if (file.length < to) throw new ArtifactError('it ends within its header');
  if (sha256(text) !== FIRST_LINE.exec(file.toString('latin1', 0, 128))![1])
    throw new ArtifactError('its header has another hash than its first line says');
  let header: unknown;
  try {
    header = JSON.parse(text.toString());
  } catch {
    throw new ArtifactError('its header is not JSON');
  }
  if (!isHeader(header)) throw new ArtifactError('its header lacks something, or has it in another form');
  return header;
}

function isHeader(value: unknown): value is WholeHeader {
  if (!isRecord(value)) return false;
  const { hash, files, sources, purity, builtAtMs, program, node } = value;
  return (
    isText(hash) &&
    isText(program) &&
    isText(node) &&
    Number.isSafeInteger(builtAtMs) &&
    isListOf(files, ARTIFACT.maxFiles, isHashedFile) &&
    isListOf(sources, ARTIFACT.maxFiles, isText) &&
    isRecord(purity) &&
    typeof purity['isPure'] === 'boolean' &&
    isText(purity['reason']) &&
    SECTIONS.every((name) => isSection(value[name])) &&
    (value['texts'] === undefined || isSection(value['texts'])) &&
    (value['code'] as Section).bytes <= BUNDLE.maxBundleBytes
  );
}

function isSection(value: unknown): value is Section {
  if (!isRecord(value)) return false;
  const { bytes, sha256: hash } = value;
  return Number.isSafeInteger(bytes) && (bytes as number) >= 0 && isText(hash);
}

/** Whether a value that was read from a file has this form. */
export function isHashedFile(value: unknown): value is HashedFile {
  return isRecord(value) && isText(value['path']) && isText(value['sha256']);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= ARTIFACT.maxText;
}

export function isListOf<T>(
  value: unknown,
  most: number,
  isOne: (each: unknown) => each is T,
): value is readonly T[] {
  return Array.isArray(value) && value.length <= most && value.every(isOne);
}

/** The bytes may begin anywhere in a buffer; an Int32Array may not. */
function checkpointsOf(bytes: Buffer): MapIndex['checkpoints'] {
  const whole = Int32Array.BYTES_PER_ELEMENT * 6;
  if (bytes.length % whole !== 0) throw new ArtifactError('its checkpoints are not whole');
  const checkpoints = new Int32Array(bytes.length / Int32Array.BYTES_PER_ELEMENT);
  Buffer.from(checkpoints.buffer).set(bytes);
  return checkpoints;
}
