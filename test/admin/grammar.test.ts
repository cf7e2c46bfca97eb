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

test('RELOAD, PAUSE and RESUME FUNCTIONS take one tenant', () => {
  const kind = 'functions';
  assert.deepEqual(parseStatement('RELOAD FUNCTIONS acme'), { kind, verb: 'reload', tenant: 'acme' });
  assert.deepEqual(parseStatement(' pause functions "(operator)" ;'), {
    kind,
    verb: 'pause',
    tenant: '(operator)',
  });
  assert.deepEqual(parseStatement('Resume Functions "a""b"'), { kind, verb: 'resume', tenant: 'a"b' });
  // a database of that name
  assert.deepEqual(parseStatement('PAUSE functions'), {
    kind: 'command',
    verb: 'pause',
    argument: 'functions',
  });
  for (const text of ['KILL FUNCTIONS acme', 'PAUSE FUNCTIONS a b', 'PAUSE FUNCTIONS a-b'])
    assert.deepEqual(parseStatement(text), { kind: 'unknown' });
});
