/**
 * Clean Debian systems made with debootstrap, and commands run inside them by chroot. Root is needed, and Debian's mirror
 * once.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Scope } from '../support/scope.ts';

const RELEASE = 'bookworm';
/** kept between runs: it takes a minute to make */
const CACHED = join(tmpdir(), `pgswitchyard-${RELEASE}`);

/** Why these tests can't run here; null: they can. */
export function missingForRoots(): string | null {
  if (process.getuid?.() !== 0) return 'root is needed for chroot';
  const found = spawnSync('sh', ['-c', 'command -v debootstrap unshare chroot'], { encoding: 'utf8' });
  return found.status === 0 ? null : 'debootstrap is not installed';
}

/** A new copy of a minimal Debian. @returns its folder, which is removed when the scope ends */
export function cleanRoot(scope: Scope): string {
  if (!existsSync(CACHED)) {
    const making = mkdtempSync(`${CACHED}-`);
    execFileSync('debootstrap', ['--variant=minbase', RELEASE, making], { stdio: 'ignore' });
    renameSync(making, CACHED);
  }
  const root = mkdtempSync(join(tmpdir(), 'pgswitchyard-root-'));
  scope.after(() => rmSync(root, { recursive: true, force: true }));
  execFileSync('cp', ['-a', `${CACHED}/.`, root]);
  for (const file of ['/etc/resolv.conf', '/etc/hosts']) copyFileSync(file, join(root, file));
  return root;
}

/** How a command runs in a root. */
export interface Inside {
  /** USER or UID:GID; root without it */
  readonly user?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly folder?: string;
  /** path inside -> folder outside */
  readonly mounts?: Readonly<Record<string, string>>;
  /** whether the root file system can't be written to, except for the mounts */
  readonly isReadOnly?: boolean;
  /** whether the command is process 1 of processes of its own */
  readonly isContainer?: boolean;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function wrapped(root: string, command: readonly string[], inside: Inside): string[] {
  const { user, env = {}, folder = '/', mounts = {}, isReadOnly = false, isContainer = false } = inside;
  // the root has device files of its own: a command inside must not reach the machine's
  const steps = [`mount --bind ${root} ${root}`];
  steps.push(isContainer ? `mount -t proc proc ${root}/proc` : `mount --rbind /proc ${root}/proc`);
  for (const [to, from] of Object.entries(mounts))
    steps.push(`mkdir -p ${root}${to}`, `mount --bind ${from} ${root}${to}`);
  if (isReadOnly) steps.push(`mount -o remount,ro,bind ${root}`);
  const userspec = user === undefined ? '' : `--userspec=${user} --groups=`;
  steps.push(`exec chroot ${userspec} ${root} env -i -C ${folder} "$@"`);
  const variables = Object.entries({ PATH, ...env }).map(([name, value]) => `${name}=${value}`);
  const spaces = isContainer ? ['--mount', '--pid', '--fork', '--kill-child'] : ['--mount'];
  return [...spaces, 'sh', '-ec', steps.join('\n'), 'sh', ...variables, ...command];
}

/** Runs a command to its end. @returns its stdout @throws Error with its stderr if it fails */
export function runInside(root: string, command: readonly string[], inside: Inside = {}): string {
  const { status, stdout, stderr } = spawnSync('unshare', wrapped(root, command, inside), {
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (status !== 0) throw new Error(`${command.join(' ')} exits with ${status}:\n${stdout}${stderr}`);
  return stdout;
}

/** Starts a command; it is killed when the scope ends. */
export function startInside(
  scope: Scope,
  root: string,
  command: readonly string[],
  inside: Inside,
  options: SpawnOptions = {},
): ChildProcess {
  const child = spawn('unshare', wrapped(root, command, inside), { stdio: 'pipe', ...options });
  scope.after(() => void child.kill('SIGKILL'));
  return child;
}

/** A clean Debian with processes of its own that live on after the command that started them, as on a machine. */
export class Machine {
  readonly root: string;
  readonly #pid: number;

  private constructor(root: string, pid: number) {
    this.root = root;
    this.#pid = pid;
  }

  static async start(scope: Scope): Promise<Machine> {
    const root = cleanRoot(scope);
    // a shell as process 1 collects processes that have ended
    const script = 'echo up; while :; do sleep 1; done';
    const child = startInside(scope, root, ['sh', '-c', script], { isContainer: true });
    await once(child.stdout!, 'data');
    const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
    return new Machine(root, Number(children));
  }

  /** Runs a command to its end. @returns its stdout @throws Error with all its output if it fails */
  run(command: readonly string[], { user }: Pick<Inside, 'user'> = {}): string {
    const userspec = user === undefined ? [] : [`--userspec=${user}`];
    const inside = [
      'chroot',
      ...userspec,
      this.root,
      'env',
      '-i',
      `PATH=${PATH}`,
      'DEBIAN_FRONTEND=noninteractive',
    ];
    const args = ['-t', String(this.#pid), '-m', '-p', ...inside, ...command];
    const { status, stdout, stderr } = spawnSync('nsenter', args, { encoding: 'utf8', timeout: 300_000 });
    if (status !== 0) throw new Error(`${command.join(' ')} exits with ${status}:\n${stdout}${stderr}`);
    return stdout;
  }

  /** Whether a path exists; links are not followed. */
  has(path: string): boolean {
    return lstatSync(join(this.root, path), { throwIfNoEntry: false }) !== undefined;
  }

  read(path: string): string {
    return readFileSync(join(this.root, path), 'utf8');
  }

  write(path: string, text: string): void {
    writeFileSync(join(this.root, path), text);
  }
}
