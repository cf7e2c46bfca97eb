/** The console's statements about clusters and about tenants' functions. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStatement } from '../../src/admin/grammar.ts';

test('SWITCHOVER takes a database, a node and a time to wait', () => {
  const kind = 'switchover';
  assert.deepEqual(parseStatement('SWITCHOVER dev TO 10.0.0.2:5432'), {
    kind,
    database: 'dev',
    node: '10.0.0.2:5432',
    wait: 0,
  });
  assert.deepEqual(parseStatement('switchover "my db" to [fe80::1]:5432\n WAIT 60;'), {
    kind,
    database: 'my db',
    node: '[fe80::1]:5432',
    wait: 60,
  });
  for (const text of [
    'SWITCHOVER dev TO n WAIT',
    'SWITCHOVER dev TO n WAIT x',
    'SWITCHOVER dev TO n WAIT -1',
  ])
    assert.deepEqual(parseStatement(text), { kind: 'unknown' });
});

test('a verb with FUNCTIONS takes one tenant, and what the verb allows after it', () => {
  const functions = (text: string): unknown => {
    const statement = parseStatement(text);
    return statement.kind === 'functions'
      ? [statement.verb, statement.tenant, statement.arguments]
      : statement;
  };
  const cases: readonly (readonly [string, string, string, object])[] = [
    ['RELOAD FUNCTIONS acme', 'reload', 'acme', {}],
    [' pause functions "(operator)" ;', 'pause', '(operator)', {}],
    ['PAUSE FUNCTIONS acme PASS', 'pause', 'acme', { as: 'pass' }],
    ['pause functions acme error;', 'pause', 'acme', { as: 'error' }],
    ['Resume Functions "a""b"', 'resume', 'a"b', {}],
    ['ROLLBACK FUNCTIONS acme', 'rollback', 'acme', {}],
    ['ROLLBACK FUNCTIONS acme TO 12', 'rollback', 'acme', { to: 12 }],
    ['PROMOTE FUNCTIONS acme', 'promote', 'acme', {}],
    ['SHADOW FUNCTIONS acme', 'shadow', 'acme', {}],
    ["SHADOW FUNCTIONS acme FROM 'a''b/c'", 'shadow', 'acme', { from: "a'b/c" }],
    ['SHADOW FUNCTIONS acme OFF', 'shadow', 'acme', { isOff: true }],
    ['CANARY FUNCTIONS acme 5%', 'canary', 'acme', { percent: 5 }],
    ['CANARY FUNCTIONS acme 100 % PROMOTE', 'canary', 'acme', { percent: 100, promotes: true }],
    ['CANARY FUNCTIONS acme off', 'canary', 'acme', { isOff: true }],
  ];
  for (const [text, ...expected] of cases) assert.deepEqual(functions(text), expected, text);
  // a database of that name
  assert.deepEqual(parseStatement('PAUSE functions'), {
    kind: 'command',
    verb: 'pause',
    argument: 'functions',
  });
  for (const text of [
    'KILL FUNCTIONS acme',
    'PAUSE FUNCTIONS a b',
    'PAUSE FUNCTIONS a-b',
    'RELOAD FUNCTIONS a PASS',
    'ROLLBACK FUNCTIONS a TO',
    'ROLLBACK FUNCTIONS a TO -1',
    'ROLLBACK FUNCTIONS a TO 1234567890',
    'SHADOW FUNCTIONS a FROM b',
    'CANARY FUNCTIONS a',
    'CANARY FUNCTIONS a 101%',
    'CANARY FUNCTIONS a 5',
  ])
    assert.deepEqual(parseStatement(text), { kind: 'unknown' }, text);
});

test('four SHOW commands name a tenant', () => {
  const kind = 'show tenant';
  const shown = (text: string, table: string, tenant = 'acme'): void =>
    assert.deepEqual(parseStatement(text), { kind, table, tenant });
  shown('SHOW FUNCTION VERSIONS acme', 'function versions');
  shown('show function log "(operator)";', 'function log', '(operator)');
  shown('SELECT SHADOW acme', 'shadow');
  shown('SHOW CANARY acme', 'canary');
  for (const text of ['SHOW FUNCTION VERSIONS', 'SHOW SHADOW', 'SHOW FUNCTION acme'])
    assert.notEqual(parseStatement(text).kind, kind, text);
});
