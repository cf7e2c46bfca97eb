/**
 * The built program and the packages it needs at run time, in one folder: what the container image and the Debian package
 * hold. `node scripts/assemble.ts FOLDER [ARCHITECTURE]` makes it for this machine's architecture, or for x64 (amd64) or arm64.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Names of architectures, Docker's and Debian's among them, and Node's for each. */
const ARCHITECTURES: Readonly<Record<string, string>> = { amd64: 'x64', x64: 'x64', arm64: 'arm64' };

interface LockEntry {
  readonly dev?: boolean;
  readonly link?: boolean;
}
interface Lock {
  readonly packages: Readonly<Record<string, LockEntry>>;
}

/** @throws Error if the architecture is none that there are native modules for, or a step fails */
export function assemble(folder: string, architecture: string = process.arch): void {
  const cpu = ARCHITECTURES[architecture];
  if (cpu === undefined)
    throw new Error(`the program cannot be built for "${architecture}": amd64 and arm64 are`);
  execFileSync(process.execPath, [join(root, 'scripts', 'build.ts'), folder], { stdio: 'inherit' });
  installPackages(folder, cpu);
  pruneIsolatedVm(join(folder, 'node_modules', 'isolated-vm'), `linux-${cpu}`);
}

/** Installs what package-lock.json names, less what only a checkout needs. Install scripts are not needed, and not run. */
function installPackages(folder: string, cpu: string): void {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock;
  const ownNode = ownNodePackages();
  const packages = Object.fromEntries(
    Object.entries(lock.packages).filter(
      ([path, entry]) =>
        path.startsWith('node_modules/') &&
        entry.dev !== true &&
        entry.link !== true &&
        !ownNode.has(path.slice('node_modules/'.length)),
    ),
  );
  const { name, version, dependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const own = {
    name,
    version,
    lockfileVersion: 3,
    packages: { '': { name, version, dependencies }, ...packages },
  };
  const lockFile = join(folder, 'package-lock.json');
  writeFileSync(lockFile, JSON.stringify(own));
  const target = ['--os=linux', `--cpu=${cpu}`, '--libc=glibc'];
  const quiet = ['--no-audit', '--no-fund', '--loglevel=error'];
  const args = ['install', '--omit=dev', '--ignore-scripts', '--no-bin-links', ...target, ...quiet];
  execFileSync('npm', args, { cwd: folder, stdio: 'inherit' });
  // bin/pgswitchyard takes a folder with this file for a checkout
  rmSync(lockFile);
}

/** The packages that bring a checkout its Node. */
function ownNodePackages(): ReadonlySet<string> {
  const { optionalDependencies } = JSON.parse(
    readFileSync(join(root, 'scripts', 'node', 'package.json'), 'utf8'),
  ) as { optionalDependencies: Record<string, string> };
  return new Set(Object.keys(optionalDependencies));
}

/** The package brings binaries for all platforms, and its own source. One binary is loaded. */
function pruneIsolatedVm(folder: string, platform: string): void {
  const builds = join(folder, 'prebuilds');
  if (!existsSync(join(builds, platform))) throw new Error(`isolated-vm has no binary for ${platform}`);
  for (const each of readdirSync(builds))
    if (each !== platform) rmSync(join(builds, each), { recursive: true });
  for (const each of readdirSync(folder))
    if (each === 'src' || each.endsWith('.tgz')) rmSync(join(folder, each), { recursive: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [, , folder, architecture] = process.argv;
  if (folder === undefined) throw new Error('usage: node scripts/assemble.ts FOLDER [ARCHITECTURE]');
  assemble(resolve(folder), architecture);
}
