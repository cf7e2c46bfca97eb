/** `pgswitchyard rules build`: bundles user functions into an artifact, which is deployed in the place of their source. */
import { statSync } from 'node:fs';
import { realpath, rename, unlink, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { asyncPlaces } from '../functions/build/async-places.ts';
import { analysed } from '../functions/build/artifact-files.ts';
import { encodeArtifact } from '../functions/build/artifact.ts';
import type { Bundle, SourceFiles } from '../functions/build/bundle-job.ts';
import { makeBundle } from '../functions/build/make-bundle.ts';
import { entriesOf, inFolder, isArtifact, isThere, SOURCE_EXTENSIONS } from '../functions/build/sources.ts';
import { tryBundle, type TriedBundle } from '../functions/tenants/try-bundle.ts';
import { programVersion } from '../platform/program-version.ts';
import { printable } from '../telemetry/printable.ts';

const USAGE = `Usage:
  pgswitchyard rules build FOLDER [-o FILE]
  pgswitchyard rules build FILE [FILE] [-o FILE]

Bundles routing_rules.* and rewrite_query.* of a folder, or the given files, with everything that they import, tries the
result like the proxy does, and writes an artifact: FOLDER/functions.artifact, or FOLDER/routing_rules.artifact or
FOLDER/rewrite_query.artifact if there is one of the two. The proxy uses it in the place of the source. From FILE.next.ts it
makes FILE.next.artifact, and from two of them functions.next.artifact: a candidate.

  -o, --output=FILE   the file to write

The exit code is 0, or 1 if the functions have a mistake or nothing could be written.
`;

/** A command line that makes no sense, or functions with a mistake. */
class CommandError extends Error {}

/** @param args what follows `rules` @returns the exit code */
export async function rulesCommand(args: readonly string[]): Promise<number> {
  try {
    const [verb, ...rest] = args;
    if (verb === '--help' || verb === '-h') {
      process.stdout.write(USAGE);
      return 0;
    }
    if (verb !== 'build') throw new CommandError(`unknown command: rules ${printable(verb ?? '')}\n${USAGE}`);
    await build(rest);
    return 0;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    process.stderr.write(`pgswitchyard: ${error.message.trimEnd()}\n`);
    return 1;
  }
}

async function build(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { output: { type: 'string', short: 'o' }, help: { type: 'boolean', short: 'h' } },
    allowPositionals: true,
  });
  if (values.help) return void process.stdout.write(USAGE);
  const files = sourcesOf(positionals);
  const raw = await bundled(files);
  const folder = dirname(entriesOf(files)[0]!);
  const bundle = analysed(raw, folder);
  const { findings, conditions } = await tried(bundle, files);
  const output = resolve(values.output ?? outputFor(files));
  const artifact = encodeArtifact(await relocated(raw, folder), {
    builtAtMs: Date.now(),
    program: programVersion(),
    node: process.versions.node,
    note: { checkedWith: conditions, findings },
  });
  await replace(output, artifact);
  const { length: count } = bundle.files;
  process.stdout.write(
    `${output}: version ${bundle.hash}, ${count} ${count === 1 ? 'file' : 'files'}, ${artifact.length} bytes\n`,
  );
}

/** The functions that the command line names. */
function sourcesOf(named: readonly string[]): SourceFiles {
  if (named.length === 0 || named.length > 2)
    throw new CommandError(`name a folder, or one or two files\n${USAGE}`);
  const [first = '', second] = named.map((path) => resolve(path));
  if (second === undefined && isFolder(first)) {
    const find = (name: string): string | null => inFolder(first, name, SOURCE_EXTENSIONS);
    const files = { routing: find('routing_rules'), rewrite: find('rewrite_query') };
    if (entriesOf(files).length > 0) return files;
    throw new CommandError(`${printable(first)}: there is neither routing_rules.* nor rewrite_query.* in it`);
  }
  const paths = named.map((path) => resolve(path));
  for (const path of paths) {
    if (!isThere(path)) throw new CommandError(`${printable(path)}: no such file`);
    if (isArtifact(path)) throw new CommandError(`${printable(path)}: it is an artifact already`);
  }
  const [rewrite = null, ...more] = paths.filter((path) => basename(path).startsWith('rewrite_query.'));
  const [routing = null, ...others] = paths.filter((path) => path !== rewrite);
  if (more.length > 0 || others.length > 0)
    throw new CommandError('of two files, one must be called rewrite_query.*, and the other one not');
  return { routing, rewrite };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

/** An artifact of a candidate is a candidate: it must not take the place of the files that serve. */
function outputFor({ routing, rewrite }: SourceFiles): string {
  const [first = '', second] = [routing, rewrite].filter((file) => file !== null).map(stemOf);
  const folder = dirname(routing ?? rewrite ?? '');
  if (second === undefined) return join(folder, `${first}.artifact`);
  const isNext = [first, second].some((stem) => stem.endsWith('.next'));
  return join(folder, isNext ? 'functions.next.artifact' : 'functions.artifact');
}

function stemOf(file: string): string {
  return basename(file).replace(/\.[^.]*$/, '');
}

async function bundled(files: SourceFiles): Promise<Bundle> {
  const result = await makeBundle(files, new Set(), true);
  if (result.kind === 'bundle') return result.bundle;
  if (result.kind !== 'failed') throw new CommandError('nothing was bundled');
  const { message, details } = result;
  throw new CommandError(`${message}${details.frame === '' ? '' : `\n\n${details.frame}`}`);
}

async function tried(bundle: Bundle, files: SourceFiles): Promise<Extract<TriedBundle, { kind: 'sound' }>> {
  const result = await tryBundle(bundle, files);
  if (result.kind === 'sound') return result;
  const isAsync = / must not be async: /.test(result.message);
  const places = isAsync ? await asyncPlaces(bundle.inputs, dirname(entriesOf(files)[0]!)) : [];
  throw new CommandError([...places, result.message].join(': '));
}

/** Paths relative to the folder: the artifact is deployed elsewhere. */
async function relocated(bundle: Bundle, folder: string): Promise<Bundle> {
  const from = await realpath(folder);
  const files = bundle.files.map(({ path, sha256 }) => ({ path: relative(from, path), sha256 }));
  return { ...bundle, files };
}

/** A proxy that looks at the file meanwhile finds the old one or the new one, never a part. */
async function replace(path: string, contents: Uint8Array): Promise<void> {
  const draft = `${path}.${process.pid}`;
  const last = statSync(path, { throwIfNoEntry: false });
  // a device such as /dev/null would become a plain file
  if (last?.isFile() === false) throw new CommandError(`${printable(path)} is not a plain file`);
  try {
    await writeFile(draft, contents);
    await rename(draft, path);
  } catch (error) {
    await unlink(draft).catch(() => {});
    throw new CommandError(`${printable(path)} can't be written: ${(error as Error).message}`);
  }
}
