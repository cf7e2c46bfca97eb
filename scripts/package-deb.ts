/**
 * `npm run package:deb [-- --out=FOLDER --version=VERSION --arch=amd64|arm64]`: the Debian package, which brings its own Node. It
 * needs dpkg-deb, and the Node of that architecture in node_modules (scripts/node).
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { assemble } from './assemble.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const templates = join(root, 'deploy', 'debian');
const MAINTAINER = 'the authors of pgswitchyard <root@localhost>';
/** Debian's architectures and Node's. */
const NODE_ARCH: Readonly<Record<string, string>> = { amd64: 'x64', arm64: 'arm64' };

const { values } = parseArgs({
  options: {
    out: { type: 'string', default: 'dist' },
    version: { type: 'string' },
    arch: { type: 'string', default: process.arch === 'x64' ? 'amd64' : process.arch },
  },
});
const made = packageDeb(resolve(values.out), values.arch, values.version);
console.log(made);

/** @param version other than package.json's @returns the path of the package */
function packageDeb(out: string, arch: string, version: string | undefined): string {
  const staging = mkdtempSync(join(tmpdir(), 'pgswitchyard-deb-'));
  try {
    chmodSync(staging, 0o755);
    const program = join(staging, 'usr/lib/pgswitchyard/packaged');
    const itsVersion = addProgram(program, arch, version);
    addManual(staging, program);
    addFiles(staging, itsVersion);
    addControl(staging, { VERSION: itsVersion, ARCHITECTURE: arch, MAINTAINER });
    execFileSync('chmod', ['-R', 'u+rwX,go+rX,go-w', staging]);
    mkdirSync(out, { recursive: true });
    const file = join(out, `pgswitchyard_${itsVersion}_${arch}.deb`);
    execFileSync('dpkg-deb', ['--root-owner-group', '-Zzstd', '--build', staging, file], {
      stdio: 'inherit',
    });
    return file;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** The program, its packages and Node. @returns its version */
function addProgram(folder: string, arch: string, version: string | undefined): string {
  const cpu = NODE_ARCH[arch];
  if (cpu === undefined) throw new Error(`no Debian package is made for "${arch}": amd64 and arm64 are`);
  assemble(folder, arch);
  const node = join(root, 'node_modules', `node-linux-${cpu}`, 'bin', 'node');
  cpSync(node, join(folder, 'node'), { dereference: true });
  const manifest = join(folder, 'package.json');
  const fields = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  if (version !== undefined) {
    fields.version = version;
    writeFileSync(manifest, `${JSON.stringify(fields, null, 2)}\n`);
  }
  return fields.version;
}

/** Moves what is for readers to where Debian has it. */
function addManual(staging: string, program: string): void {
  const manual = join(staging, 'usr/share/doc/pgswitchyard');
  mkdirSync(manual, { recursive: true });
  for (const each of ['deploy', 'docs', 'README.md']) renameSync(join(program, each), join(manual, each));
  renameSync(join(program, 'LICENSE'), join(manual, 'copyright'));
  writeFileSync(
    join(manual, 'changelog.gz'),
    gzipSync(readFileSync(join(program, 'CHANGELOG.md')), { level: 9 }),
  );
  rmSync(join(program, 'CHANGELOG.md'));
}

function addFiles(staging: string, version: string): void {
  const add = (path: string, source: string | Buffer, mode = 0o644): void => {
    const target = join(staging, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, source);
    chmodSync(target, mode);
  };
  const template = (name: string): string => readFileSync(join(templates, name), 'utf8');
  add('usr/bin/pgswitchyard', template('pgswitchyard.sh'), 0o755);
  add('etc/pgswitchyard/pgbouncer.ini', template('pgbouncer.ini'));
  add('etc/pgswitchyard/userlist.txt', template('userlist.txt'));
  add('etc/logrotate.d/pgswitchyard', template('pgswitchyard.logrotate'));
  mkdirSync(join(staging, 'etc/pgswitchyard/user-functions'));
  const page = template('pgswitchyard.1').replace('#VERSION#', version).replace('#OPTIONS#', manOptions());
  add('usr/share/man/man1/pgswitchyard.1.gz', gzipSync(page, { level: 9 }));
  const units = join(root, 'deploy', 'systemd');
  for (const unit of readdirSync(units))
    add(`usr/lib/systemd/system/${unit}`, readFileSync(join(units, unit)));
}

/** The options of the command line, as --help has them, in the form of a manual page. */
function manOptions(): string {
  const help = execFileSync(process.execPath, [join(root, 'bin', 'pgswitchyard'), '--help'], {
    encoding: 'utf8',
  });
  const rows = [...help.matchAll(/^ {2}( {3}|-\w,) --(\S+) +(.*)$/gm)];
  return rows
    .map(([, short, long, what]) => {
      const names = [short!.trim(), `--${long}`].filter((name) => name !== '').join(' ');
      return `.TP\n.B ${names.replaceAll('-', '\\-')}\n${what}`;
    })
    .join('\n');
}

function addControl(staging: string, fields: Readonly<Record<string, string>>): void {
  const size = execFileSync('du', ['-sk', staging], { encoding: 'utf8' }).split('\t')[0]!;
  const control = join(staging, 'DEBIAN');
  mkdirSync(control);
  for (const name of ['control', 'postinst', 'prerm', 'postrm']) {
    const text = readFileSync(join(templates, name), 'utf8').replaceAll(
      /#([A-Z]+)#/g,
      (_, field: string) => ({ ...fields, SIZE: size })[field]!,
    );
    writeFileSync(join(control, name), text, { mode: name === 'control' ? 0o644 : 0o755 });
  }
  const configuration = ['/etc/pgswitchyard/pgbouncer.ini', '/etc/pgswitchyard/userlist.txt'];
  writeFileSync(
    join(control, 'conffiles'),
    `${[...configuration, '/etc/logrotate.d/pgswitchyard'].join('\n')}\n`,
  );
}
