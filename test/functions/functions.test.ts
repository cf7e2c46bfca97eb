/** User functions as a whole: the sources of rules, refusals, policies, and the succession of versions. */
import assert from 'node:assert/strict';
import { mkdir, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { failuresOf, REMOVED_AT_ONCE, Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const STAY = { kind: 'go', query: null, dbkey: null };
const to = (dbkey: string): object => ({ kind: 'go', query: null, dbkey });
const rule = (dbkey: string): string => `export const routing_rules = () => '${dbkey}';`;

test('the nearest file wins for each function on its own', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts': rule('global'),
      'rewrite_query.ts': 'export const rewrite_query = (u: string, q: string) => `${q} -- global`;',
      'a/routing_rules.ts': rule('own'),
    },
    databases: ['a', 'b', 'global', 'own'],
  });
  assert.deepEqual(await rules.ask('q', 'a'), { kind: 'go', query: 'q -- global', dbkey: 'own' });
  assert.deepEqual(await rules.ask('q', 'b'), { kind: 'go', query: 'q -- global', dbkey: 'global' });
});

test('both functions may live in one file; routing sees the rewritten query', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts': `export const rewrite_query = (u: string, q: string) => q.toUpperCase();
        export const routing_rules = (u: string, q: string) => (q === 'LOWER' ? 'b' : null);`,
    },
  });
  assert.deepEqual(await rules.ask('lower'), { kind: 'go', query: 'LOWER', dbkey: 'b' });
  const { routingFile: routing, rewriteFile: rewrite } = rules.tenants[0]!;
  assert.match(routing, /\/routing_rules\.ts$/);
  assert.equal(rewrite, routing);
});

test("Node's modules are refused, all in one complaint with files and lines", async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts':
        "import 'node:fs';\nimport net from 'net';\nexport const routing_rules = () => String(net);",
    },
  });
  const line = rules.lines.find((each) => each.includes('not loaded'))!;
  assert.match(line, /routing_rules\.ts:1:\d+/);
  assert.match(line, /routing_rules\.ts:2:\d+/);
  assert.match(line, /"node:fs" is not available/);
});

for (const [what, source, pattern] of [
  [
    'an async function',
    'export async function routing_rules() {\n  return null;\n}',
    /routing_rules\.ts:1:\d+.*must not be async/,
  ],
  [
    'an async function with a type of its own',
    '// async function routing_rules\nexport const routing_rules: (u: string) => Promise<null> =\n  async () => null;',
    / routing_rules\.ts:3:3: .*must not be async/,
  ],
  ['a BigInt literal', 'export const routing_rules = () => String(1n);', /routing_rules\.ts:1:\d+/],
  ['a syntax error', 'export const routing_rules = (', /routing_rules\.ts:1:\d+/],
  [
    'an error at the top level',
    "export const routing_rules = () => null;\nthrow new Error('top');",
    /routing_rules\.ts:2:\d+: .*top/,
  ],
  ['something that is no function', 'export const routing_rules = 5;', /routing_rules is not a function/],
] as const) {
  test(`${what} is refused with its place, and each call is a failure`, async (t) => {
    const rules = await Rules.start(t, { files: { 'routing_rules.ts': source } });
    assert.match(rules.lines.find((each) => each.includes('not loaded')) ?? '', pattern);
    assert.equal((await rules.ask('q')).kind, 'reject');
  });
}

test('files that were never loaded may hold both functions, so the stricter policy decides', async (t) => {
  for (const file of ['routing_rules.ts', 'rewrite_query.ts']) {
    for (const guard of ['routing_rules_on_failure', 'rewrite_query_on_failure']) {
      const pass = { routing_rules_on_failure: 'pass', rewrite_query_on_failure: 'pass' } as const;
      const settings = { ...pass, [guard]: 'error' };
      const rules = await Rules.start(t, { files: { [file]: 'export const' }, settings });
      assert.equal((await rules.ask('SELECT 1')).kind, 'reject', `${file}, ${guard}`);
    }
  }
});

test('async functions beside the rules and the word in comments and texts are allowed', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts': `// not an async function routing_rules
        export const text = 'const rewrite_query = async';
        export async function unused(): Promise<void> {}
        export const routing_rules = () => 'b';`,
    },
  });
  assert.deepEqual(await rules.ask('q'), { kind: 'go', query: null, dbkey: 'b' });
});

for (const policy of ['pass', 'error', 'disconnect'] as const) {
  test(`policy ${policy}: an exception, a wrong type, an unknown database and a large query`, async (t) => {
    const rules = await Rules.start(t, {
      files: {
        'routing_rules.ts': `export function routing_rules(u: string, q: string): unknown {
          if (q === 'throw') null!.x;
          return q === 'type' ? 5 : q === 'unknown' ? 'nowhere' : null;
        }`,
      },
      settings: { routing_rules_on_failure: policy, rewrite_query_on_failure: 'pass' },
    });
    const expected = { pass: 'go', error: 'reject', disconnect: 'disconnect' }[policy];
    for (const query of ['throw', 'type', 'unknown'])
      assert.equal((await rules.ask(query)).kind, expected, query);
    assert.equal(rules.functions.tenantOf('a')!.tooLarge(10_000_000)?.kind, expected);
    assert.deepEqual(await rules.ask('fine'), STAY);
    const failures = failuresOf(rules.tenants[0]);
    assert.equal(failures, 4);
  });
}

test('the log shows file, line and the shape of a query, and never its constants', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts':
        "\n\nexport const routing_rules = (u: string, q: string) => (q === 'SELECT 1' ? null : JSON.parse('{'));",
    },
  });
  await rules.ask("SELECT 'my secret'");
  const line = rules.lines.find((each) => each.includes('failed'))!;
  assert.match(line, /threw: routing_rules\.ts:3:\d+: SyntaxError.*\[query SELECT \?\]$/);
  assert.ok(!line.includes('secret'));
});

test('a complaint shows a returned name, but not a query returned in its place', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts':
        "export const routing_rules = (u: string, q: string) => (q === 'SELECT 1' ? null : q);",
    },
  });
  const shown = (text: string): boolean =>
    [...rules.lines, rules.tenants[0]!.lastError].some((line) => line.includes(text));
  await rules.ask("SELECT 'my secret'");
  assert.ok(
    shown(
      'unknown_dbkey: routing_rules (routing_rules.ts) returned a text of 18 characters, which is not in [databases] (a, b)',
    ),
  );
  assert.ok(!shown('secret'));
  await rules.ask('dev.3');
  assert.ok(shown('returned "dev.3", which is not in [databases] (a, b)'));
});

test('the last good version serves until the next good one has been loaded', async (t) => {
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': rule('b') } });
  await rules.write('routing_rules.ts', 'export const routing_rules = (');
  await until('the complaint', () => rules.lines.some((line) => line.includes('stays active')));
  assert.deepEqual(await rules.ask('q'), to('b'));
  // taken back: that is logged too
  const loaded = (): number => rules.lines.filter((line) => line.includes('functions loaded')).length;
  await rules.write('routing_rules.ts', rule('b'));
  await until('the good news', () => loaded() === 2);
  assert.equal(rules.tenants[0]!.lastError, '');
  await rules.write('routing_rules.ts', rule('a'));
  await until(
    'the new version',
    async () => JSON.stringify(await rules.ask('q')) === JSON.stringify(to('a')),
  );
});

test('a rule under a link that is swapped, as with a ConfigMap, is loaded again each time', async (t) => {
  const rules = await Rules.start(t, { files: { 'v1/x': '' } });
  const publish = async (version: string, dbkey: string): Promise<void> => {
    await rules.write(`..${version}/routing_rules.ts`, rule(dbkey));
    await symlink(`..${version}`, join(rules.folder, '..next'));
    await rename(join(rules.folder, '..next'), join(rules.folder, '..data'));
  };
  await publish('one', 'a');
  await symlink('..data/routing_rules.ts', join(rules.folder, 'routing_rules.ts'));
  for (const [version, dbkey] of [
    ['one', 'a'],
    ['two', 'b'],
    ['three', 'a'],
  ] as const) {
    if (version !== 'one') await publish(version, dbkey);
    await until(
      `version ${version}`,
      async () => JSON.stringify(await rules.ask('q')) === JSON.stringify(to(dbkey)),
    );
  }
});

test('a file that is imported, and a package in node_modules, are part of the rule', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts': "import { pick } from './lib/pick.ts';\nexport const routing_rules = pick;",
      'lib/pick.ts': "import where from 'where';\nexport const pick = () => where;",
      'node_modules/where/package.json': '{"name": "where", "main": "index.js"}',
      'node_modules/where/index.js': "module.exports = 'b';",
    },
  });
  assert.deepEqual(await rules.ask('q'), to('b'));
  await rules.write('lib/pick.ts', "export const pick = () => 'a';");
  await until('the change', async () => JSON.stringify(await rules.ask('q')) === JSON.stringify(to('a')));
});

test('a package is bundled in the build that needs no Node', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts': "import { where } from 'where';\nexport const routing_rules = where;",
      'node_modules/where/package.json': '{"exports": {"browser": "./browser.js", "default": "./node.js"}}',
      'node_modules/where/browser.js':
        "exports.where = () => (process.env.NODE_ENV === 'production' ? 'b' : undefined);",
      'node_modules/where/node.js': "require('node:fs');",
    },
  });
  assert.deepEqual(await rules.ask('q'), to('b'));
});

test('functions appear and vanish with their files and folders', async (t) => {
  const rules = await Rules.start(t, { files: { 'keep/x': '' }, settings: REMOVED_AT_ONCE });
  assert.equal(rules.functions.tenantOf('a'), null);
  await mkdir(join(rules.folder, 'a'));
  await rules.write('a/routing_rules.ts', rule('b'));
  await until('the rule', async () => JSON.stringify(await rules.ask('q')) === JSON.stringify(to('b')));
  await rm(join(rules.folder, 'a'), { recursive: true });
  await until('its end', () => rules.functions.tenantOf('a') === null);
});

test('a tenant that keeps hanging is suspended and comes back', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts':
        "export const routing_rules = (u: string, q: string) => { if (q.startsWith('hang')) for (;;); return 'b'; };",
    },
    settings: { user_function_timeout: 20 },
  });
  for (const clientId of [1, 2, 3, 4, 5]) await rules.ask(`hang ${'x'.repeat(clientId)}`, 'a', { clientId });
  assert.equal(rules.tenants[0]!.state, 'suspended');
  const fine = (): ReturnType<Rules['ask']> => rules.ask('fine', 'a', { clientId: 1 });
  assert.equal((await fine()).kind, 'reject');
  await until("the proxy's own query", async () => (await fine()).kind === 'go');
  assert.equal(rules.tenants[0]!.state, 'serving');
});

test('a tenant that prints without end does not fill the log, which counts the lines left out', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.js':
        "export const routing_rules = (u, q) => (q === 'lines' ? console.log('x\\n'.repeat(5000)) : console.log(q));",
    },
  });
  const printed = (): string[] => rules.lines.filter((line) => line.includes('console of'));
  await until('the first second', async () => {
    for (let i = 0; i < 20; i++) await rules.ask('lines');
    return printed().length >= 100;
  });
  await until('a line of the next second', async () => {
    await rules.ask('again');
    return printed().some((line) => line.endsWith('again'));
  });
  assert.ok(printed().length < 400, `${printed().length} lines`);
  assert.ok(printed().some((line) => /\(\d{4,} more lines were left out\)/.test(line)));
});

test('the complaint about a call that was cut off names function, file and option', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'rewrite_query.ts': 'export const rewrite_query = () => null;',
      'routing_rules.ts':
        "export const routing_rules = (u: string, q: string) => { if (q.startsWith('hang')) for (;;); return null; };",
    },
    settings: { user_function_timeout: 20 },
  });
  const decision = await rules.ask("hang 'secret' -- secret");
  assert.equal(
    decision.kind === 'reject' && decision.error.detail,
    'It took longer than user_function_timeout.',
  );
  const message = 'routing_rules (routing_rules.ts) took longer than user_function_timeout (20 ms)';
  assert.equal(rules.tenants[0]!.lastError, message);
  const line = rules.lines.find((each) => each.includes('failed'))!;
  assert.ok(line.endsWith(`failed: deadline: ${message} [query hang ?]`), line);
});

test('a suspended tenant keeps the cause as its last error', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'routing_rules.ts':
        "export const routing_rules = (u: string, q: string) => { if (q.startsWith('hang')) for (;;); return 'b'; };",
    },
    settings: { user_function_timeout: 20 },
  });
  for (const clientId of [1, 2, 3, 4, 5]) await rules.ask(`hang ${'x'.repeat(clientId)}`, 'a', { clientId });
  await rules.ask('fine', 'a', { clientId: 1 });
  const [row] = rules.tenants;
  assert.equal(row!.state, 'suspended');
  assert.match(row!.lastError, /took longer than user_function_timeout/);
});

test('the complaint about a failed trial call shows its arguments', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'routing_rules.ts': 'export const routing_rules = (u: string, q: string) => q.match(/x/)![0];' },
  });
  assert.match(
    rules.lines[0]!,
    /routing_rules\.ts:1:\d+: in the trial call routing_rules\('pgswitchyard', 'SELECT 1', false\): TypeError/,
  );
});

test('a trial call that names an unknown database is a warning when the rule is loaded', async (t) => {
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': rule('replica') } });
  assert.ok(
    rules.lines.some((line) =>
      line.endsWith(
        `in the trial call ('pgswitchyard', 'SELECT 1', false) routing_rules returned "replica", which is not in [databases] (a, b)`,
      ),
    ),
    rules.lines.join('\n'),
  );
  assert.equal(rules.tenants[0]!.state, 'serving');
});

test('a refused version shows as "serving old version" until the file is put back', async (t) => {
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': rule('b') } });
  const state = (): string => rules.tenants[0]!.state;
  assert.equal(state(), 'serving');
  await rules.write('routing_rules.ts', 'export const routing_rules = (');
  await until('the refusal', () => state() === 'serving old version');
  await rules.write('routing_rules.ts', rule('b'));
  await until('the return', () => state() === 'serving');
});

test('a second file beside the first one is not logged as a removal', async (t) => {
  const rules = await Rules.start(t, { files: { 'routing_rules.ts': rule('b') } });
  await rules.write('rewrite_query.ts', "export const rewrite_query = () => 'other';");
  await until('both', async () => {
    const decision = await rules.ask('q');
    return decision.kind === 'go' && decision.query === 'other' && decision.dbkey === 'b';
  });
  await until('the end of the old set', () => rules.tenants.length === 1);
  assert.ok(!rules.lines.some((line) => line.includes('removed')), rules.lines.join('\n'));
});
