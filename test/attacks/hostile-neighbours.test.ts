/**
 * Several clients of one tenant, and several tenants in one sandbox process: none of them makes a query of another pass
 * unjudged, fail, or wait for more than its turn.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { failuresOf, Rules } from '../support/rules.ts';
import { until, within } from '../support/wait.ts';

/** Rejects writes; hangs, ends its process or exhausts memory if the query says so. */
const GUARD = `import { reject } from 'pgswitchyard';
export function rewrite_query(u, q) {
  if (q.includes('loop')) for (;;);
  if (q.includes('stuck')) BigInt('9'.repeat(15000000));
  if (q.includes('eat')) { const all = []; for (;;) all.push(new Array(1000).fill(all.length)); }
  if (/insert/i.test(q)) reject('read-only', { code: '25006' });
  return null;
}`;
const STAY = { kind: 'go', query: null, dbkey: null };
const POLICIES = ['pass', 'error', 'disconnect'] as const;
const PATIENCE_MS = 30_000;

for (const policy of POLICIES) {
  for (const poison of policy === 'pass' ? ['loop', 'stuck', 'eat'] : ['loop']) {
    test(`policy ${policy}: a client that sends "${poison}" again and again changes no decision for others`, async (t) => {
      const rules = await Rules.start(t, {
        files: { 'a/rewrite_query.js': GUARD },
        settings: { user_function_timeout: 50, rewrite_query_on_failure: policy },
      });
      const own = policy === 'disconnect' ? 'disconnect' : 'reject';
      let going = true;
      t.after(() => {
        going = false;
      });
      let poisoned = 0;
      const attack = async (clientId: number): Promise<void> => {
        while (going) {
          const decision = await rules.ask(`select ${poison} /* ${poisoned++} */`, 'a', { clientId });
          assert.equal(decision.kind, own);
        }
      };
      const attacks = [attack(1), attack(1), attack(2)];
      for (let i = 0; i < 8; i++) {
        const [read, write] = await within(
          'the answers for others',
          Promise.all([
            rules.ask('select 1', 'a', { clientId: 10 + i }),
            rules.ask(`insert into t values (${i})`, 'a', { clientId: 10 + i }),
          ]),
          PATIENCE_MS,
        );
        assert.deepEqual(read, STAY);
        assert.ok(write.kind === 'reject' && write.error.code === '25006', JSON.stringify(write));
        assert.equal(rules.tenants[0]!.state, 'serving');
      }
      going = false;
      await within('the end of the attack', Promise.all(attacks), PATIENCE_MS);
      assert.ok(poisoned >= 3);
    });
  }
}

test('connections that send one costly query each and come back are run apart together', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'a/rewrite_query.js': GUARD },
    settings: { user_function_timeout: 50 },
  });
  let going = true;
  t.after(() => {
    going = false;
  });
  let clientId = 1_000;
  const attack = async (): Promise<void> => {
    while (going) {
      const query = `select loop ${'x'.repeat(clientId % 50)} /* ${clientId} */`;
      await rules.ask(query, 'a', { clientId: clientId++, address: '10.0.0.66' });
    }
  };
  const attacks = Array.from({ length: 8 }, attack);
  for (let i = 0; i < 50; i++) {
    const as = { clientId: i, address: '10.0.0.1' };
    const [read, write] = await Promise.all([rules.ask('select 1', 'a', as), rules.ask('insert', 'a', as)]);
    assert.deepEqual(read, STAY);
    assert.ok(write.kind === 'reject' && write.error.code === '25006', JSON.stringify(write));
  }
  // Another client from that address is judged as well.
  const other = await rules.ask('insert', 'a', { clientId: 1, address: '10.0.0.66' });
  assert.ok(other.kind === 'reject' && other.error.code === '25006', JSON.stringify(other));
  going = false;
  await within('the end of the attack', Promise.all(attacks), PATIENCE_MS);
});

for (const policy of POLICIES) {
  test(`policy ${policy}: functions that are broken for everybody are suspended, and nothing passes unjudged meanwhile`, async (t) => {
    const rules = await Rules.start(t, {
      files: {
        'a/rewrite_query.js':
          "export function rewrite_query(u, q) { if (q === 'SELECT 1') return null; for (;;); }",
      },
      settings: { user_function_timeout: 20, rewrite_query_on_failure: policy },
    });
    const kinds = ['select a', 'select b, c', 'insert into t select d', 'update t', 'delete'];
    for (const [i, query] of kinds.entries()) await rules.ask(query, 'a', { clientId: i });
    assert.equal(rules.tenants[0]!.state, 'suspended');
    const asked = ['insert', 'select 1', 'select c', 'ROLLBACK'].map((query, clientId) =>
      rules.ask(query, 'a', { clientId }),
    );
    const [rollback, ...refused] = (await Promise.all(asked)).toReversed();
    assert.deepEqual(rollback, STAY);
    for (const decision of refused) {
      assert.ok(decision.kind === 'reject' && decision.error.code === '53000', JSON.stringify(decision));
      assert.match(decision.error.message, /suspended/);
    }
    // A client without a costly call is judged nevertheless: this is the rule's own failure on that very query.
    const other = await rules.ask('select x', 'a', { clientId: 77 });
    assert.ok(other.kind !== 'go' && other.error.code === '38000', JSON.stringify(other));
    assert.equal(other.kind, policy === 'disconnect' ? 'disconnect' : 'reject');
    // The proxy's own query is answered, and then clients' queries are judged again.
    await until(
      'the next attempt',
      async () => (await rules.ask('SELECT 1', 'a', { clientId: 1 })).kind === 'go',
    );
    assert.equal(rules.tenants[0]!.state, 'serving');
  });
}

test('a warning says once for each version which queries can pass a rule that rejects', async (t) => {
  const said = (rules: Rules): number => rules.lines.filter((line) => / can reject /.test(line)).length;
  const rejecting = { 'a/rewrite_query.js': GUARD };
  const passing = await Rules.start(t, {
    files: { ...rejecting, 'b/rewrite_query.js': 'export const rewrite_query = () => null;' },
    settings: { rewrite_query_on_failure: 'pass' },
  });
  assert.equal(said(passing), 1);
  assert.match(
    passing.lines.find((line) => / can reject /.test(line)) ?? '',
    /WARNING .*rewrite_query_on_failure = pass lets queries through that they throw on/,
  );
  await passing.write('a/rewrite_query.js', GUARD.replace('read-only', 'reading only'));
  await until('the next version', () => said(passing) === 2);
  const guarding = await Rules.start(t, { files: rejecting });
  assert.equal(said(guarding), 0);
  for (const rules of [passing, guarding])
    assert.equal(rules.functions.tenantOf('a')!.tooLarge(65_537)?.kind, 'reject');
});

test(
  'tenants that fill a process together are separated, and no other is blamed',
  { timeout: 300_000 },
  async (t) => {
    const hogs = Array.from({ length: 7 }, (_, i) => `hog${i}`);
    const keeps = `const kept = []; export function rewrite_query(u, q) {
    if (q === 'keep' && kept.length < 45) kept.push(new Array(131072).fill(0.5 + kept.length));
    if (q === 'use') return String(new Array(2000000).fill(0.5).length);
    return null;
  }`;
    const rules = await Rules.start(t, {
      files: Object.fromEntries([...hogs, 'good'].map((name) => [`${name}/rewrite_query.js`, keeps])),
      databases: [...hogs, 'good'],
      settings: { user_function_timeout: 1_000 },
    });
    for (let i = 0; i < 45; i++) {
      const kept = await Promise.all(hogs.map((name) => rules.ask('keep', name)));
      assert.deepEqual(
        kept,
        hogs.map(() => STAY),
      );
      assert.deepEqual(await rules.ask('use', 'good'), { kind: 'go', query: '2000000', dbkey: null });
    }
    // On a busy machine they may have to leave because of their time before they do because of their memory.
    assert.ok(rules.lines.some((line) => /take (?:much (?:memory|time)|long for a call)/.test(line)));
    for (const row of rules.tenants) assert.equal(failuresOf(row), 0, `${row.name}: ${row.lastError}`);
    assert.deepEqual(
      rules.lines.filter((line) => /^(?:ERROR|WARNING)/.test(line)),
      [],
    );
  },
);

test('a call that gets no buffer is run again apart from its neighbours, which may have taken the memory', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'a/rewrite_query.js':
        "export function rewrite_query(u, q) { if (q === 'SELECT 1') return null; console.log('asked ' + q); throw new RangeError('Array buffer allocation failed'); }",
    },
  });
  const decisions = await Promise.all(['x', 'y'].map((query) => rules.ask(query)));
  for (const decision of decisions) assert.ok(decision.kind === 'reject' && decision.error.code === '38000');
  for (const query of ['x', 'y'])
    assert.equal(rules.lines.filter((line) => line.endsWith(`asked ${query}`)).length, 2);
  assert.equal(failuresOf(rules.tenants[0]), 2);
});

test('a rule that takes nearly all of its time gets a process of its own; others wait for their turn only', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'slow/rewrite_query.js':
        'export function rewrite_query() { const end = Date.now() + 60; while (Date.now() < end); return null; }',
      'good/rewrite_query.js': 'export const rewrite_query = () => null;',
    },
    databases: ['slow', 'good'],
    settings: { user_function_timeout: 2_000 },
  });
  let going = true;
  t.after(() => {
    going = false;
  });
  let slow = 0;
  const work = async (): Promise<void> => {
    while (going) {
      assert.deepEqual(await rules.ask('select 1', 'slow'), STAY);
      slow++;
    }
  };
  const all = Array.from({ length: 40 }, work);
  let most = 0;
  const separated = (): boolean =>
    rules.lines.some((line) => /slow take (?:much time|long for a call)/.test(line));
  await until('its own process', async () => {
    const before = slow;
    assert.deepEqual(await rules.ask('select 1', 'good'), STAY);
    most = Math.max(most, slow - before);
    return separated();
  });
  // The running one, the next one, and one that was answered in the same turn.
  assert.ok(most <= 3, `${most} calls of the other set came first`);
  going = false;
  await Promise.all(all);
  assert.equal(failuresOf(rules.tenants.find((each) => each.name.endsWith('slow'))), 0);
});

test('long results of many clients come one after the other, and none is lost', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'a/rewrite_query.js': "export const rewrite_query = (u, q) => q + '\\u4e00'.repeat(900_000);" },
    settings: { user_function_timeout: 2_000 },
  });
  const decisions = await Promise.all(Array.from({ length: 40 }, (_, i) => rules.ask(`${i}`)));
  for (const [i, decision] of decisions.entries()) {
    assert.ok(decision.kind === 'go' && decision.query!.length === 900_000 + String(i).length);
    assert.ok(decision.query!.startsWith(String(i)));
  }
  assert.deepEqual(
    rules.lines.filter((line) => /^(?:ERROR|WARNING)/.test(line)),
    [],
  );
});

test('printing is limited for each batch and each second, from within toJSON as well', async (t) => {
  const rules = await Rules.start(t, {
    files: {
      'a/rewrite_query.js': `
        const deep = (n) => ({ toJSON() { for (let i = 0; i < 50; i++) console.log(deep(n - 1), 'x'.repeat(100000)); return 'y'.repeat(100000); } });
        export function rewrite_query(u, q) {
          if (q === 'SELECT 1') return null;
          for (let i = 0; i < 200; i++) console.log(deep(q.length), deep(2), 'z'.repeat(1000000));
          return null;
        }`,
    },
    settings: { user_function_timeout: 1_000 },
  });
  const from = performance.now();
  for (let i = 0; i < 10; i++) await Promise.all(['a', 'b', 'c'].map((query) => rules.ask(query)));
  const seconds = Math.ceil((performance.now() - from) / 1_000) + 1;
  const printed = rules.lines.filter((line) => line.includes('console of'));
  const length = printed.reduce((sum, line) => sum + line.length, 0);
  assert.ok(printed.length > 0);
  assert.ok(length < seconds * 80_000, `${length} characters in ${seconds} s`);
});

test('a top level that hangs only when it is loaded again delays its neighbours once', async (t) => {
  const rules = await Rules.start(t, {
    files: { 'good/routing_rules.js': "export const routing_rules = () => 'b';" },
    databases: ['good', 'bad', 'b'],
  });
  const hangsFrom = Date.now() + 4_000;
  await rules.write(
    'bad/routing_rules.js',
    `if (Date.now() > ${hangsFrom}) for (;;); export const routing_rules = () => null;`,
  );
  const processOf = (name: string): number | undefined => rules.functions.tenantOf(name)?.version?.host.pid;
  await until('the version that behaves', () => rules.functions.tenantOf('bad')?.version !== undefined);
  assert.equal((await rules.ask('q', 'good')).kind, 'go');
  await until('the time when it hangs', () => Date.now() > hangsFrom);
  const hanging = rules.ask('q', 'bad', { clientId: 1, patienceMs: 10_000 });
  await until('a process of its own', () => ![undefined, processOf('good')].includes(processOf('bad')));
  assert.equal((await rules.ask('q', 'good', { clientId: 2 })).kind, 'go');
  const refused = await hanging;
  assert.ok(refused.kind === 'reject' && refused.error.code === '53000', JSON.stringify(refused));
});

/** By what a tenant does to the process that it shares: a rule that does it if the query says so. */
const HARM = {
  'spins to its deadline': 'for (;;);',
  'is stuck in a built-in': "BigInt('9'.repeat(15000000));",
  'exhausts its memory': 'const all = []; for (;;) all.push(new Array(1000).fill(all.length));',
  'exhausts its memory at once':
    "let text = 'x'; for (;;) text = [text, text, text].join('') + Math.random();",
  'takes all buffers': 'const all = []; for (;;) all.push(new ArrayBuffer(8_000_000));',
  'leaves endless microtasks': 'const next = () => Promise.resolve().then(next); next(); return null;',
  'takes nearly all of its time': 'const end = Date.now() + 90; while (Date.now() < end);',
};

/** The call itself may have its answer. */
const ANSWERED = new Set(['leaves endless microtasks', 'takes nearly all of its time']);

for (const [harm, body] of Object.entries(HARM)) {
  test(`a tenant that ${harm} leaves its neighbours, none of whose guards is skipped`, async (t) => {
    const guards = ['g1', 'g2', 'g3', 'g4'];
    const guard = `import { reject } from 'pgswitchyard';
      export function rewrite_query(u, q) { if (q === 'insert') reject('read-only', { code: '25006' }); return null; }`;
    const rules = await Rules.start(t, {
      files: {
        ...Object.fromEntries(guards.map((name) => [`${name}/rewrite_query.js`, guard])),
        'bad/rewrite_query.js': `export function rewrite_query(u, q) { if (q.startsWith('harm')) { ${body} } return null; }`,
      },
      databases: [...guards, 'bad'],
      settings: { rewrite_query_on_failure: 'pass', user_function_memory_limit: 16 },
    });
    const processOf = (name: string): number | undefined => rules.functions.tenantOf(name)!.version!.host.pid;
    const judge = async (): Promise<void> => {
      for (const name of guards) {
        const decision = await within('the guard', rules.ask('insert', name), PATIENCE_MS);
        assert.ok(decision.kind === 'reject' && decision.error.code === '25006', JSON.stringify(decision));
      }
    };
    await judge();
    await rules.ask('select 1', 'bad');
    for (let i = 0; i < 3; i++) {
      const harming = [1, 2].map((clientId) => rules.ask(`harm ${i}`, 'bad', { clientId: clientId + 2 * i }));
      await Promise.all([judge(), judge()]);
      for (const decision of await within('its own answer', Promise.all(harming), PATIENCE_MS))
        assert.ok(decision.kind === 'reject' || ANSWERED.has(harm), decision.kind);
    }
    for (const name of guards) {
      assert.notEqual(processOf(name), processOf('bad'));
      const row = rules.tenants.find((each) => each.databases.includes(name));
      assert.equal(failuresOf(row), 0, row!.lastError);
    }
  });
}

test('calls whose shared process is killed from outside again and again are judged all the same', async (t) => {
  const names = ['a', 'b'];
  const rules = await Rules.start(t, {
    files: Object.fromEntries(names.map((name) => [`${name}/rewrite_query.js`, GUARD])),
    databases: names,
    settings: { rewrite_query_on_failure: 'pass' },
  });
  for (let i = 0; i < 5; i++) {
    const asked = names.flatMap((name) => [1, 2, 3].map(() => rules.ask('insert', name)));
    for (const name of names) {
      const pid = rules.functions.tenantOf(name)!.version!.host.pid;
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    }
    for (const decision of await within('the answers', Promise.all(asked), PATIENCE_MS))
      assert.ok(decision.kind === 'reject' && decision.error.code === '25006', JSON.stringify(decision));
  }
});
