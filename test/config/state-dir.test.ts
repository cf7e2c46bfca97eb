/** user_functions_state_dir: a folder that can't be used is reported with its line, and a missing one is not created. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { Diagnostics, formatDiagnostic } from '../../src/config/diagnostics.ts';
import { configFromText } from '../../src/config/load.ts';
import { checkStateDir } from '../../src/config/state-dir.ts';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';

test('the folder is beside the configuration file, unless the option says otherwise', () => {
  const dirOf = (line: string): string =>
    configFromText(`[pgbouncer]\n${line}\n`, '/nowhere/p.ini').settings.user_functions_state_dir;
  assert.equal(dirOf(''), '/nowhere/pgswitchyard-state');
  assert.equal(dirOf('user_functions_state_dir ='), '');
});

test('what can’t be used is told with file, line and what to do', async (t) => {
  const folder = await temporaryFolder('state-dir');
  t.after(() => rm(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'file'), '');
  mkdirSync(join(folder, 'open'));
  chmodSync(join(folder, 'open'), 0o777);
  mkdirSync(join(folder, 'own'));
  const problem = (name: string): string => {
    const diagnostics = new Diagnostics();
    checkStateDir(join(folder, name), { file: 'p.ini', line: 7 }, diagnostics, process.getuid!());
    return diagnostics.all.map(formatDiagnostic).join('\n').replaceAll(folder, '');
  };
  const line = 'p.ini:7: user_functions_state_dir: ';
  assert.equal(problem('file'), `${line}"/file" is not a folder (name another path)`);
  assert.equal(problem('open'), `${line}others may write to "/open" (take that right away: chmod go-w)`);
  assert.match(
    problem('none/state'),
    /^p\.ini:7: user_functions_state_dir: can't create "\/none\/state": .* \(create it/,
  );
  assert.equal(problem('own'), '');
  assert.equal(problem('later'), '');
  assert.ok(!existsSync(join(folder, 'later')));
  const diagnostics = new Diagnostics();
  checkStateDir(join(folder, 'own'), { file: 'p.ini', line: 7 }, diagnostics, process.getuid!() + 1);
  assert.match(
    formatDiagnostic(diagnostics.all[0]!),
    /belongs to another user \(give it to the proxy's user: chown\)/,
  );
});
