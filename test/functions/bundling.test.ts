/**
 * The effects of one tenant's files on the bundlers that all tenants share: these must recover, at no cost to other tenants.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
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
  loop?: string;
  complaint?: RegExp;
}

/** Without a complaint, the rule must be loaded. */
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
    complaint: / routing_rules\.ts:1:8: .*f\.ts can't be read/,
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

const importsOf = (count: number, what: (i: number) => string): string =>
  Array.from({ length: count }, (_, i) => `import ${JSON.stringify(what(i))};`).join(
    count > 2_000 ? '\n' : '',
  );

/** Limits, each with its message. */
Object.assign(TRAPS, {
  'a thousand imports on one line of 0.5 MB that lead nowhere': {
    files: {
      'routing_rules.ts': `${importsOf(1_000, (i) => `./nowhere${i}`)} ${GOOD} /*${'x'.repeat(5e5)}*/`,
    },
    complaint: /Could not resolve ".\/nowhere0"/,
  },
  'sixty thousand packages that are not there': {
    files: { 'routing_rules.ts': `${importsOf(60_000, (i) => `package${i}`)}\n${GOOD}` },
    complaint: /more than 20000 imports: they are in .*routing_rules\.ts/,
  },
  'two thousand and one files': {
    files: {
      'routing_rules.ts': `${importsOf(2_001, (i) => `./one.ts?${i}`)}\n${GOOD}`,
      'one.ts': '',
    },
    complaint: /more than 2000 files are imported: .* is the one that is too many/,
  },
  'files that are larger than 32 MB together': {
    files: {
      'routing_rules.ts': `${importsOf(3, (i) => `./${i}.js`)}\n${GOOD}`,
      ...Object.fromEntries([0, 1, 2].map((i) => [`${i}.js`, `/*${`${'x'.repeat(999)}\n`.repeat(12e3)}*/`])),
    },
    complaint: /the files that are imported are larger than 32 MB together, with .*\d\.js/,
  },
  'a bundle of more than 8 MB': {
    files: {
      'routing_rules.ts': `import all from './all.json'; ${GOOD} console.log(all);`,
      'all.json': `["${'x'.repeat(9e6)}"]`,
    },
    complaint: /all\.json: the bundle is larger than 8 MB/,
  },
  'a line of more than a million characters': {
    files: { 'routing_rules.ts': `\n${GOOD}//${'x'.repeat(1e6)}` },
    complaint: /routing_rules\.ts: line 2 is longer than 1000000 characters/,
  },
  'an import that may be any file of a folder': {
    files: {
      'routing_rules.ts': 'export const routing_rules = (u, q) => require(`./data/${q}.json`);',
      'data/x.json': '{}',
    },
    complaint: / routing_rules\.ts:1:\d+: .*put together at run time/,
  },
  'an import that may be any file of a folder, in disguise': {
    files: {
      'routing_rules.ts': 'export const routing_rules = (u, q) => require(/**/("./data/" + q + ".json"));',
      'data/x.json': '{}',
    },
    complaint: /an import of "\.\/data\/.*" is not available|Could not resolve require/,
  },
  'addresses of the web, data and file URLs': {
    files: {
      'routing_rules.ts': `import 'https://x.y/z.js'; import 'data:text/javascript,1'; import 'file:///etc/passwd'; ${GOOD}`,
    },
    complaint: /"https:.*is a URL[^]*"data:.*is a URL[^]*"file:.*is a URL/,
  },
  'a folder, a loop of links and a WebAssembly module': {
    files: {
      'routing_rules.ts': `import './folder'; import './x.wasm'; import './loop.ts'; ${GOOD}`,
      'folder/x.ts': '',
      'x.wasm': '',
    },
    loop: 'loop.ts',
    complaint: /Could not resolve "\.\/folder"[^]*x\.wasm can't be imported/,
  },
  'an inner package.json that is not written': {
    files: {
      'routing_rules.ts': `import 'p/lib/x.js'; ${GOOD}`,
      'node_modules/p/lib/x.js': '',
      'node_modules/p/package.json': '{}',
    },
    fifo: 'node_modules/p/lib/package.json',
    complaint: /p\/lib\/package\.json can't be read/,
  },
} satisfies Record<string, Trap>);

for (const [what, { files = {}, fifo, link, loop, complaint }] of Object.entries(TRAPS)) {
  test(`${what} delays no other tenant`, async (t) => {
    const rules = await Rules.start(t, {
      files: { 'good/routing_rules.ts': GOOD },
      databases: ['a', 'b', 'good'],
    });
    await mkdir(join(rules.folder, 'a'));
    if (fifo !== undefined) {
      await mkdir(dirname(join(rules.folder, 'a', fifo)), { recursive: true });
      execFileSync('mkfifo', [join(rules.folder, 'a', fifo)]);
    }
    if (loop !== undefined) await symlink(loop, join(rules.folder, 'a', loop));
    if (link !== undefined) await symlink('/dev/zero', join(rules.folder, 'a', link));
    // the rule last: half of its inputs is another mistake
    for (const [name, text] of Object.entries(files).toReversed()) await rules.write(`a/${name}`, text);
    if (complaint === undefined) {
      await until('the rule', async () => JSON.stringify(await rules.ask('x')) === JSON.stringify(TO_B));
    } else {
      await until('the complaint', () => rules.lines.some((line) => complaint.test(line)));
      // no author's line without an end
      for (const line of rules.lines) assert.ok(line.length < 10_000, `${line.length} characters`);
    }
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

test('another bundler takes over when the process of one ends', async (t) => {
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

test('rules that end the bundler are refused, and others that are built at the same time are not', async (t) => {
  // in a process of its own, whose stderr gets the bundler's last output
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
      ['a', 'serving old version'],
      ['good', 'serving'],
    ],
  );
  // the files that it was reading when it ended are watched
  const complaint = async (): Promise<unknown> => (await bouncer.admin('SHOW FUNCTIONS'))[0]!['last_error'];
  assert.notEqual(await complaint(), '');
  await bouncer.writeFile('user-functions/a/deep.json', '[]');
  await until('the rule with its JSON mended', async () => (await complaint()) === '');
});

for (const [what, text, complaint] of [
  [
    'a package that is not installed',
    "import '@no/left-pad/lib';",
    /: routing_rules\.ts:1:8: Could not resolve "@no\/left-pad\/lib": the package is not installed: run "npm install @no\/left-pad" in the folder of the rule, or in one above it$/,
  ],
  [
    'a BigInt literal',
    'const one = 1n;',
    /: routing_rules\.ts:1:13: BigInt literals are not allowed in a user function: their arithmetic can't be interrupted$/,
  ],
  [
    'an await at the top level',
    'await 1;',
    /: routing_rules\.ts:1:1: Top-level await is not allowed in a user function: it has to answer at once$/,
  ],
  [
    'two mistakes',
    "import './one.ts'; import './two.ts';",
    /: routing_rules\.ts:1:8: Could not resolve "\.\/one\.ts"; routing_rules\.ts:1:27: Could not resolve "\.\/two\.ts"$/,
  ],
] as const) {
  test(`${what}: the complaint is one line, with its place`, async (t) => {
    const rules = await Rules.start(t, { files: { 'routing_rules.ts': `${text} ${GOOD}` } });
    assert.match(rules.lines.join(), complaint);
    const [row] = rules.tenants;
    assert.match(row!.lastError, new RegExp(complaint.source.replace(/^: /, '^')));
    assert.ok(row!.lastErrorAtMs !== null);
  });
}
