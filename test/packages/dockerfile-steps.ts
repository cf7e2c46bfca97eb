/**
 * Carries out a Dockerfile's instructions without a container engine: each stage is a clean Debian, and RUN is a chroot. It
 * knows as much of Docker as our file uses, and refuses everything else.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { DockerfileParser, type Copy, type Entrypoint, type From, type Instruction } from 'dockerfile-ast';
import type { Scope } from '../support/scope.ts';
import { cleanRoot, runInside } from './clean-root.ts';

/** What the last stage is. */
export interface Image {
  readonly root: string;
  readonly env: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly healthcheck: readonly string[];
}

interface Stage {
  root: string;
  env: Record<string, string>;
  folder: string;
  user: string;
  entrypoint: string[];
  healthcheck: string[];
}

/** The base images: what each adds to a minimal Debian. */
type BaseImages = Readonly<Record<string, (root: string) => void>>;

export interface BuildOptions {
  readonly file: string;
  /** the folder that COPY reads, less what FILE.dockerignore leaves out */
  readonly context: string;
  readonly bases: BaseImages;
  /** what BuildKit knows: TARGETARCH and its like */
  readonly platform: Readonly<Record<string, string>>;
  /** for RUN, besides what the file says: what this machine's network asks for */
  readonly mounts: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
}

export function buildImage(scope: Scope, options: BuildOptions): Image {
  const stages = new Map<string, Stage>();
  let stage: Stage | null = null;
  for (const instruction of DockerfileParser.parse(readFileSync(options.file, 'utf8')).getInstructions()) {
    if (instruction.getKeyword() === 'FROM') {
      const from = instruction as From;
      const prepare = options.bases[from.getImage() ?? ''];
      if (prepare === undefined) throw new Error(`no base image ${from.getImage()}`);
      const none = { env: {}, folder: '/', user: '', entrypoint: [], healthcheck: [] };
      stage = { root: cleanRoot(scope), ...none };
      prepare(stage.root);
      stages.set(from.getBuildStage() ?? 'last', stage);
    } else carryOut(instruction, stage!, stages, options);
  }
  return stage!;
}

function carryOut(
  instruction: Instruction,
  stage: Stage,
  stages: Map<string, Stage>,
  options: BuildOptions,
): void {
  const words = instruction.getArguments().map(String);
  switch (instruction.getKeyword()) {
    case 'ARG':
      stage.env[words[0]!] = options.platform[words[0]!]!;
      return;
    case 'WORKDIR':
      stage.folder = words[0]!;
      mkdirSync(join(stage.root, stage.folder), { recursive: true });
      return;
    case 'COPY':
      return copy(instruction as Copy, stage, stages, options);
    case 'RUN': {
      const env = { ...options.env, ...stage.env };
      const script = instruction.getRawArgumentsContent()!;
      runInside(stage.root, ['sh', '-c', script], { env, folder: stage.folder, mounts: options.mounts });
      return;
    }
    case 'ENV':
      for (const word of words) {
        const [, name, value] = /^([^=]+)=(.*)$/.exec(word)!;
        stage.env[name!] = value!;
      }
      return;
    case 'USER':
      stage.user = words[0]!;
      return;
    case 'ENTRYPOINT':
      stage.entrypoint = stringsOf(instruction as Entrypoint);
      return;
    case 'HEALTHCHECK':
      stage.healthcheck = JSON.parse(/CMD (\[.*\])/.exec(instruction.getTextContent())![1]!) as string[];
      return;
    case 'LABEL':
    case 'EXPOSE':
    case 'VOLUME':
    case 'STOPSIGNAL':
      return;
    default:
      throw new Error(`${instruction.getKeyword()} is not known here`);
  }
}

function stringsOf(instruction: Entrypoint): string[] {
  return instruction.getJSONStrings().map((each) => each.getJSONValue());
}

function copy(instruction: Copy, stage: Stage, stages: Map<string, Stage>, options: BuildOptions): void {
  const flags = Object.fromEntries(instruction.getFlags().map((flag) => [flag.getName(), flag.getValue()]));
  const words = instruction.getArguments().map(String);
  const target = resolve(stage.folder, words.at(-1)!);
  const into = words.at(-1)!.endsWith('/') || words.at(-1) === '.';
  for (const source of words.slice(0, -1)) {
    if (flags['from'] === undefined) {
      for (const path of source === '.' ? contextOf(options) : [source])
        copyOne(
          join(options.context, path),
          join(stage.root, target, source === '.' ? path : basename(path)),
        );
      continue;
    }
    const from = join(stages.get(flags['from']!)!.root, source);
    const to = join(stage.root, target);
    // a folder's content goes into the target
    const isFolder = source.endsWith('/');
    mkdirSync(isFolder ? to : dirname(to), { recursive: true });
    const owner = flags['chown'] ?? '0:0';
    execFileSync('chown', ['-R', owner, from]);
    execFileSync('cp', [
      '-a',
      isFolder ? `${from}.` : from,
      into && !isFolder ? join(to, basename(from)) : to,
    ]);
  }
}

/** The paths that FILE.dockerignore lets in; it names each. */
function contextOf({ file, context }: BuildOptions): string[] {
  const lines = readFileSync(`${file}.dockerignore`, 'utf8').split('\n');
  const allowed = lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
  return allowed.filter((path) => existsSync(join(context, path)));
}

function copyOne(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true });
}
