/** The console's statements about clusters. */
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
