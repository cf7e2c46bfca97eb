/** Connection strings in [databases], [users] and [peers]. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseDatabase, parsePeer, parseUser } from '../../src/config/connection-string.ts';
import { parsePairs } from '../../src/config/pairs.ts';
import type { EntryContext } from '../../src/config/connection-string.ts';
import { Diagnostics, formatDiagnostic } from '../../src/config/diagnostics.ts';

function context(): EntryContext & { problems(): string[] } {
  const diagnostics = new Diagnostics();
  return {
    place: { file: 'f.ini', line: 7 },
    diagnostics,
    problems: () => diagnostics.all.map(formatDiagnostic),
  };
}

test('pairs: blanks round the =, quotes, doubled quotes and the escaped quote', () => {
  assert.deepEqual(parsePairs(`host = a  port=1\tpassword='it''s \\'mine\\' \\\\ a;#b' user=x`), [
    ['host', 'a'],
    ['port', '1'],
    ['password', `it's 'mine' \\\\ a;#b`],
    ['user', 'x'],
  ]);
  assert.deepEqual(parsePairs(''), []);
  assert.deepEqual(parsePairs("a='x=y z'"), [['a', 'x=y z']]);
});

test('a quoted value may end with a backslash where pgbouncer lets it', () => {
  assert.deepEqual(parsePairs(`password='abc\\' dbname='x'`), [
    ['password', 'abc\\'],
    ['dbname', 'x'],
  ]);
});

test('empty and unterminated values are refused', () => {
  assert.throws(() => parsePairs('host='), /empty value for host/);
  assert.throws(() => parsePairs("host='' port=1"), /empty value for host/);
  assert.throws(() => parsePairs("host='abc"), /unterminated quoted value for host/);
  assert.throws(() => parsePairs('host'), /expected key=value/);
});

test('any value round-trips in quotes', () => {
  const value = fc.string({ minLength: 1 }).filter((text) => !text.includes('\\') && !text.includes('\n'));
  fc.assert(
    fc.property(value, value, (a, b) => {
      const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;
      assert.deepEqual(parsePairs(`connect_query=${quote(a)} password=${quote(b)}`), [
        ['connect_query', a],
        ['password', b],
      ]);
    }),
  );
});

test('a database: hosts, aliases, times in ms, rule files beside the ini file', () => {
  const at = context();
  const database = parseDatabase(
    'db',
    `host=a,b port=6000 reserve_pool=3 server_lifetime=60 pool_size=x routing_rules_file=r.ts pool_mode=transaction
      connect_query='select 1' topology_query='select endpoint from t'`,
    '/etc/pool',
    at,
  );
  assert.deepEqual(at.problems(), []);
  assert.deepEqual(database?.hosts, ['a', 'b']);
  assert.equal(database?.port, 6000);
  assert.equal(database?.reserve_pool_size, 3);
  assert.equal(database?.server_lifetime, 60000);
  assert.equal(database?.pool_size, 0, 'atoi makes 0 of garbage');
  assert.equal(database?.routing_rules_file, '/etc/pool/r.ts');
  assert.equal(database?.pool_mode, 'transaction');
  assert.equal(database?.connect_query, 'select 1');
  assert.equal(database?.topology_query, 'select endpoint from t');
  assert.equal(database?.load_balance_hosts, 'round-robin');
});

test('a database without anything is its own name on the Unix socket', () => {
  const database = parseDatabase('db', '', '/', context());
  assert.deepEqual(database?.hosts, []);
  assert.equal(database?.port, 5432);
  assert.equal(database?.dbname, null);
});

test('mistakes name the entry, the key and the nearest known key', () => {
  const at = context();
  parseDatabase('db', 'hots=a port=70000 pool_mode=Session', '/', at);
  assert.deepEqual(at.problems(), [
    'f.ini:7: db: unrecognized connection parameter: hots (did you mean host?)',
    'f.ini:7: db: port: invalid port: 70000',
    'f.ini:7: db: pool_mode: invalid value "Session", one of session, transaction, statement',
  ]);
});

test('a negative number says that it is not set, as in pgbouncer', () => {
  const at = context();
  const database = parseDatabase(
    'db',
    'pool_size=3 pool_size=-1 min_pool_size=-1 query_wait_timeout=-1',
    '/',
    at,
  );
  assert.equal(database?.pool_size, null);
  assert.equal(database?.min_pool_size, null);
  assert.equal(database?.query_wait_timeout, null);
  assert.equal(parseUser('u', 'max_user_connections=-1', at)?.max_user_connections, null);
  assert.deepEqual(at.problems(), []);
});

test('the name pgbouncer is reserved', () => {
  const at = context();
  assert.equal(parseDatabase('pgbouncer', 'host=a', '/', at), null);
  assert.deepEqual(at.problems(), ['f.ini:7: pgbouncer: database name "pgbouncer" is reserved']);
});

test('users and peers', () => {
  const at = context();
  const user = parseUser('u', 'pool_mode=session max_user_connections=4 query_timeout=2', at);
  assert.equal(user?.query_timeout, 2000);
  assert.equal(user?.max_user_connections, 4);
  assert.equal(user?.pool_size, null);
  assert.deepEqual(parsePeer('2', 'host=/tmp/b', at), { id: 2, host: '/tmp/b', port: 6432, pool_size: null });
  assert.deepEqual(at.problems(), []);
  parsePeer('zwei', 'host=a', at);
  parsePeer('3', 'port=1', at);
  assert.deepEqual(at.problems(), [
    'f.ini:7: zwei: peer_id zwei is invalid (1 to 65535)',
    'f.ini:7: 3: host is required for a peer',
  ]);
});
