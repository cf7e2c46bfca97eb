/** HBA lines and ident maps. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Hba, identMapper, type HbaConnection } from '../../src/auth/hba.ts';
import { Diagnostics } from '../../src/config/diagnostics.ts';
import { parseHba, parseIdent } from '../../src/config/hba.ts';

function hba(...lines: string[]): Hba {
  const diagnostics = new Diagnostics();
  const rules = parseHba(lines.join('\n'), '/etc/hba.conf', diagnostics);
  return new Hba(rules);
}

const CONNECTION: HbaConnection = {
  user: 'alice',
  database: 'sales',
  address: '192.0.2.7',
  tls: false,
  replication: false,
};

/** The matching line; null: none. */
function lineFor(rules: Hba, more: Partial<HbaConnection> = {}): number | null {
  return rules.find({ ...CONNECTION, ...more })?.line ?? null;
}

test('the first matching rule applies', () => {
  const rules = hba('host sales bob all trust', 'host sales all all md5', 'host all all all reject');
  assert.deepEqual(rules.find(CONNECTION), {
    method: 'md5',
    map: null,
    options: new Map(),
    file: '/etc/hba.conf',
    line: 2,
  });
  assert.equal(lineFor(rules, { user: 'bob' }), 1);
  assert.equal(lineFor(rules, { database: 'store' }), 3);
  assert.equal(lineFor(rules, { address: null }), null);
  assert.equal(lineFor(hba()), null);
});

test('methods and their options are parsed and matched', () => {
  const rules = hba(
    'local all peered peer map=users',
    'hostssl all certified all cert map=certificates',
    'host all spoken all password',
    'host all listed all ldap ldapserver=ldap.example.com ldapprefix="uid="',
  );
  const find = (more: Partial<HbaConnection>) => rules.find({ ...CONNECTION, ...more });
  const peer = find({ user: 'peered', address: null });
  assert.deepEqual([peer?.method, peer?.map], ['peer', 'users']);
  const certificate = find({ user: 'certified', tls: true });
  assert.deepEqual([certificate?.method, certificate?.map], ['cert', 'certificates']);
  // Named so in the file, and plain in auth_type.
  assert.equal(find({ user: 'spoken' })?.method, 'plain');
  assert.equal(find({ user: 'listed' })?.options.get('ldapserver'), 'ldap.example.com');
});

test('rules distinguish the kinds of connection', () => {
  const rules = hba('local all all trust', 'hostssl all all all trust', 'hostnossl all all all trust');
  assert.equal(lineFor(rules, { address: null }), 1);
  assert.equal(lineFor(rules, { tls: true }), 2);
  assert.equal(lineFor(rules, { tls: false }), 3);
  assert.equal(lineFor(hba('host all all all trust'), { tls: true }), 1);
});

test('addresses', async (t) => {
  const cases: [string, string, boolean][] = [
    ['192.0.2.7/32', '192.0.2.7', true],
    ['192.0.2.7', '192.0.2.7', true],
    ['192.0.2.7/32', '192.0.2.8', false],
    ['192.0.2.0/24', '192.0.2.255', true],
    ['192.0.2.0/25', '192.0.2.255', false],
    ['192.0.2.0 255.255.255.0', '192.0.2.200', true],
    ['0.0.0.0/0', '203.0.113.1', true],
    ['0.0.0.0/0', '2001:db8::1', false],
    ['::/0', '2001:db8::1', true],
    ['::/0', '192.0.2.7', false],
    ['2001:db8::/32', '2001:db8:ffff::1', true],
    ['2001:db8::/32', '2001:db9::1', false],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['all', '2001:db8::1', true],
    ['all', '192.0.2.7', true],
    // An IPv4 client of a socket for both families.
    ['192.0.2.0/24', '::ffff:192.0.2.7', true],
    ['::/0', '::ffff:192.0.2.7', false],
    // Bits after the prefix do not count.
    ['192.0.2.99/24', '192.0.2.7', true],
  ];
  for (const [rule, address, expected] of cases) {
    await t.test(`${rule} and ${address}`, () => {
      assert.equal(lineFor(hba(`host all all ${rule} trust`), { address }), expected ? 1 : null);
    });
  }
});

test('names', () => {
  const fits = (databases: string, users: string, more: Partial<HbaConnection> = {}): boolean =>
    lineFor(hba(`host ${databases} ${users} all trust`), more) === 1;
  assert.ok(fits('store,sales', 'bob,alice'));
  assert.ok(!fits('store', 'alice'));
  assert.ok(fits('sameuser', 'all', { database: 'alice' }));
  assert.ok(!fits('sameuser', 'all'));
  // An alias is known by its own name and by that of its database.
  assert.ok(fits('dev', 'all', { database: 'dev@writer', entry: 'dev' }));
  assert.ok(fits('"dev@writer"', 'all', { database: 'dev@writer', entry: 'dev' }));
  assert.ok(!fits('dev', 'all', { database: 'dev@writer' }));
  // A quoted word has no special meaning.
  assert.ok(!fits('"all"', 'all'));
  assert.ok(fits('"all"', 'all', { database: 'all' }));
  assert.ok(!fits('all', '"all"'));
  assert.ok(fits('"sameuser"', 'all', { database: 'sameuser' }));
  // For users there is only one special word.
  assert.ok(fits('all', 'replication', { user: 'replication' }));
  assert.ok(!fits('all', 'sameuser', { database: 'alice' }));
});

test('physical replication is matched by its own word only', () => {
  const rules = hba('host all all all md5', 'host replication all all trust');
  assert.equal(lineFor(rules, { replication: true }), 2);
  assert.equal(lineFor(rules, { database: 'replication' }), 1);
  assert.equal(lineFor(hba('host replication all all trust'), { database: 'replication' }), null);
  assert.equal(lineFor(hba('host "replication" all all trust'), { replication: true }), null);
  assert.equal(lineFor(hba('host sales,replication bob all trust'), { replication: true }), null);
});

test('ident maps allow the mapped names only', () => {
  const maps = parseIdent(
    ['users  root  alice', 'users  www  bob', 'users  admin  all', 'others  eve  alice'].join('\n'),
    '/etc/ident.conf',
    new Diagnostics(),
  );
  const may = (system: string, user: string, map = 'users'): boolean =>
    identMapper(maps.get(map), user)(system);
  assert.ok(may('root', 'alice'));
  assert.ok(!may('root', 'bob'));
  assert.ok(!may('alice', 'alice'));
  assert.ok(may('admin', 'anybody'));
  assert.ok(!may('eve', 'alice'));
  assert.ok(may('eve', 'alice', 'others'));
  assert.ok(!may('root', 'root', 'missing'));
});
