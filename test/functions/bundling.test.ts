/** What a set's files do to the bundler that all sets share: it must come back, and cost the others nothing. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const TO_B = { kind: 'go', query: null, dbkey: 'b' };
const GOOD = "export const routing_rules = () => 'b';";
const SECRET = 'the-password';

interface Trap {
  files?: Record<string, string>;
  fifo?: string;
  link?: string;
  complaint?: RegExp;
}

/** Without a complaint, the rule is to be loaded. */
const TRAPS: Record<string, Trap> = {
  'a source map that has no end': {
    files: { 'routing_rules.ts': `${GOOD}\n//# sourceMappingURL=/dev/zero` },
  },
  'a source map that is not written': {
    files: { 'routing_rules.ts': `${GOOD}\n/*# sourceMappingURL=./f */` },
    fifo: 'f',
  },
  'a rule that is not written': { fifo: 'routing_rules.ts', complaint: /routing_rules\.ts can't be read/ },
  'an import that is not written': {
    files: { 'routing_rules.ts': `import './f.ts'; ${GOOD}` },
    fifo: 'f.ts',
    complaint: /f\.ts can't be read[^]*routing_rules\.ts:1:7/,
  },
  'a tsconfig.json that is not written': { files: { 'routing_rules.ts': GOOD }, fifo: 'tsconfig.json' },
  'a tsconfig.json that extends a secret': {
    files: {
      'routing_rules.ts': GOOD,
      'tsconfig.json': '{ "extends": "./userlist.txt" }',
      'userlist.txt': `"app" "${SECRET}"`,
    },
  },
  'a package.json that is not written': {
    files: { 'routing_rules.ts': GOOD },
    fifo: 'package.json',
    complaint: /package\.json can't be read/,
  },
  'a package.json that has no end': {
    files: { 'routing_rules.ts': GOOD },
    link: 'package.json',
    complaint: /package\.json can't be read/,
  },
  'an import that is too large': {
    files: {
      'routing_rules.ts': `import all from './all.json'; ${GOOD} all;`,
      'all.json': `["${'x'.repeat(17e6)}"]`,
    },
    complaint: /all\.json can't be read: it is larger than 16 MB/,
  },
};

for (const [what, { files = {}, fifo, link, complaint }] of Object.entries(TRAPS)) {
  test(`${what} keeps nobody waiting`, async (t) => {
    const rules = await Rules.start(t, {
      files: { 'good/routing_rules.ts': GOOD },
      databases: ['a', 'b', 'good'],
    });
    await mkdir(join(rules.folder, 'a'));
    if (fifo !== undefined) execFileSync('mkfifo', [join(rules.folder, 'a', fifo)]);
    if (link !== undefined) await symlink('/dev/zero', join(rules.folder, 'a', link));
    for (const [name, text] of Object.entries(files)) await rules.write(`a/${name}`, text);
    if (complaint === undefined) {
      await until('the rule', async () => JSON.stringify(await rules.ask('x')) === JSON.stringify(TO_B));
    } else await until('the complaint', () => rules.lines.some((line) => complaint.test(line)));
    await rules.write('good/routing_rules.ts', "export const routing_rules = () => 'a';");
    await until('the change of another set', async () => {
      const decision = await rules.ask('x', 'good');
      return decision.kind === 'go' && decision.dbkey === 'a';
    });
    assert.ok(!rules.lines.some((line) => line.includes(SECRET)));
  });
}

/** The process that bundles. */
function bundler(): number {
  for (const task of readdirSync('/proc/self/task')) {
    for (const pid of readFileSync(`/proc/self/task/${task}/children`, 'latin1').split(' ').filter(Boolean)) {
      if (readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('bundler-process')) return Number(pid);
    }
  }
  throw new Error('there is none');
}

test('another bundler takes over when the process of the present one ends', async (t) => {
  if (process.platform !== 'linux') return t.skip('reads /proc');
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': GOOD } });
  for (const dbkey of ['a', 'b', 'a']) {
    process.kill(bundler(), 'SIGKILL');
    await rules.write('routing_rules.ts', `export const routing_rules = () => '${dbkey}';`);
    await until(`the rule for ${dbkey}`, async () => {
      const decision = await rules.ask('x');
      return decision.kind === 'go' && decision.dbkey === dbkey;
    });
  }
  assert.ok(!rules.lines.some((line) => line.startsWith('ERROR')));
});

test('rules over which the bundler ends are refused, and those that it had at the same time are not', async (t) => {
  // in a process of its own, whose stderr gets what the bundler has to say about its end
  const nowhere = 'host=127.0.0.1 port=1';
  const bouncer = await Bouncer.start(t, {
    databases: { a: nowhere, good: nowhere },
    files: { 'user-functions/a/routing_rules.ts': GOOD },
  });
  await bouncer.waitForLog(/user functions loaded: .*\/a\/routing_rules\.ts/);
  await Promise.all([
    bouncer.writeFile('user-functions/a/routing_rules.ts', `import deep from './deep.json'; ${GOOD} deep;`),
    bouncer.writeFile('user-functions/a/deep.json', '['.repeat(1e6) + ']'.repeat(1e6)),
    bouncer.writeFile('user-functions/good/routing_rules.ts', GOOD),
  ]);
  await bouncer.waitForLog(/esbuild ended while it worked on these files/);
  await bouncer.waitForLog(/user functions loaded: .*\/good\/routing_rules\.ts/);
  const sets = await bouncer.admin('SHOW FUNCTIONS');
  assert.deepEqual(
    sets.map(({ databases, state }) => [databases, state]),
    [
      ['a', 'serving'],
      ['good', 'serving'],
    ],
  );
});
