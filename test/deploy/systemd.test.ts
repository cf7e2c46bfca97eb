/** The units of deploy/systemd: what systemd's own tools say, and what the pages state about them. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isOptionName } from '../../src/config/options.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const UNITS = join(ROOT, 'deploy', 'systemd');
const SERVICES = ['pgswitchyard.service', 'pgswitchyard@.service'];

const analyze = (args: string[]) => spawnSync('systemd-analyze', args, { encoding: 'utf8' });
const version = Number(/^systemd (\d+)/.exec(analyze(['--version']).stdout ?? '')?.[1] ?? 0);
// --offline came with 250
const skip = version >= 250 ? false : 'systemd-analyze is not here, or too old';

const lines = (unit: string): string[] => readFileSync(join(UNITS, unit), 'utf8').split('\n');

test('systemd-analyze finds no mistake in the units', { skip }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'units-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const unit of [...SERVICES, 'pgswitchyard.socket']) {
    // the program and its manual page are not installed here
    const text = readFileSync(join(UNITS, unit), 'utf8')
      .replace('/usr/bin/pgswitchyard', '/bin/true')
      .replace(/^Documentation=.*\n/m, '');
    writeFileSync(join(folder, unit), text);
  }
  for (const unit of ['pgswitchyard.service', 'pgswitchyard@a.service', 'pgswitchyard.socket']) {
    const { stdout, stderr } = analyze(['verify', join(folder, unit)]);
    const about = (stdout + stderr).split('\n').filter((line) => line.includes('pgswitchyard'));
    assert.deepEqual(about, [], unit);
  }
});

test('the exposure that systemd-analyze sees is the one that the page states', { skip }, () => {
  const page = readFileSync(join(ROOT, 'docs', 'deploy', 'debian.md'), 'utf8');
  const stated = Number(/systemd-analyze\s+security`[^]*?(\d\.\d)\s+of\s+10/.exec(page)?.[1]);
  for (const unit of SERVICES) {
    const { stdout } = analyze(['security', '--offline=true', join(UNITS, unit)]);
    const seen = Number(/Overall exposure level .*: (\d+\.\d)/.exec(stdout)?.[1]);
    assert.ok(seen <= stated, `${unit}: ${seen}`);
  }
});

test('both services are confined alike', () => {
  const confinement = (unit: string): string[] => {
    const all = lines(unit);
    return all.slice(all.indexOf('AmbientCapabilities='));
  };
  assert.deepEqual(confinement(SERVICES[0]!), confinement(SERVICES[1]!));
});

test('the variables of the units are options', () => {
  const names = SERVICES.flatMap(lines).map((line) => /^Environment=PGSWITCHYARD_(\w+)=/.exec(line)?.[1]);
  const set = names.filter((name) => name !== undefined);
  assert.ok(set.length > 0);
  for (const name of set) assert.ok(isOptionName(name.toLowerCase()), name);
});
