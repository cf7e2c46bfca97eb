/** Configuration files, their includes and the files that they name. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { Diagnostics, formatDiagnostic, nearestHint } from '../../src/config/diagnostics.ts';
import { parseHba, parseIdent } from '../../src/config/hba.ts';
import type { HbaRule } from '../../src/config/hba.ts';
import { parseUserlist } from '../../src/config/userlist.ts';

function hba(text: string, file = 'hba.conf'): { rules: readonly HbaRule[]; problems: string[] } {
  const diagnostics = new Diagnostics();
  const rules = parseHba(text, file, diagnostics);
  return { rules, problems: diagnostics.all.map(formatDiagnostic) };
}

test('userlist: doubled quotes, comments, the last entry of a user wins, more fields are ignored', () => {
  const diagnostics = new Diagnostics();
  const users = parseUserlist(
    '; c\n# c\n\n"a" "x"\n"b ""q""" "p""w;#"  "more"\n"a", "y"\n',
    'u',
    diagnostics,
  );
  assert.deepEqual(
    [...users],
    [
      ['a', 'y'],
      ['b "q"', 'p"w;#'],
    ],
  );
  assert.deepEqual(diagnostics.all, []);
});

test('userlist: a broken line is reported without its content', () => {
  const diagnostics = new Diagnostics();
  parseUserlist('a geheim\n"a" "geheim\n', 'u.txt', diagnostics);
  const problems = diagnostics.all.map(formatDiagnostic);
  assert.match(problems[0]!, /^u\.txt:1: broken auth file line/);
  assert.match(problems[1]!, /^u\.txt:2: broken auth file line/);
  assert.doesNotMatch(problems.join(), /geheim/);
});

test('hba: types, lists, quoted names, addresses, masks and options', () => {
  const { rules, problems } = hba(`# comment
local   all, "all" , db  postgres            peer map=m1   # tail
host    sameuser all 10.0.0.0/8              scram-sha-256
hostssl replication "a, b" ::1/128           cert map="m 2"
hostnossl all all 192.168.0.0 255.255.0.0    reject
host all all all trust
host all all fe80:: ffff:: md5
`);
  assert.deepEqual(problems, []);
  assert.equal(rules.length, 6);
  assert.deepEqual(rules[0]!.databases, [
    { text: 'all', quoted: false },
    { text: 'all', quoted: true },
    { text: 'db', quoted: false },
  ]);
  assert.deepEqual(rules[0]!.options, new Map([['map', 'm1']]));
  assert.equal(rules[0]!.address, null);
  assert.equal(rules[0]!.line, 2);
  assert.deepEqual(rules[1]!.address, { kind: 'cidr', family: 4, address: '10.0.0.0', prefix: 8 });
  assert.deepEqual(rules[2]!.users, [{ text: 'a, b', quoted: true }]);
  assert.deepEqual(rules[2]!.options, new Map([['map', 'm 2']]));
  assert.deepEqual(rules[3]!.address, { kind: 'cidr', family: 4, address: '192.168.0.0', prefix: 16 });
  assert.deepEqual(rules[4]!.address, { kind: 'all' });
  assert.deepEqual(rules[5]!.address, { kind: 'cidr', family: 6, address: 'fe80::', prefix: 16 });
});

test('hba: options of ldap are written as in auth_ldap_options, with quoted names and commas', () => {
  const expected = [
    ['ldapserver', 'a b'],
    ['ldapprefix', 'cn='],
    ['ldapsuffix', ', dc=example "x"'],
  ];
  const lines = [
    'host all all all ldap ldapserver="a b" ldapprefix="cn=" ldapsuffix=", dc=example ""x"""',
    'host all all all ldap "ldapserver"="a b", "ldapprefix"="cn=","ldapsuffix"=", dc=example ""x"""  # tail',
    'host all all all ldap, ldapserver="a b" , ldapprefix=cn= ldapsuffix=", dc=example ""x"""\t',
    'host all all all ldap "ldapserver=a b" "ldapprefix=cn=" "ldapsuffix=, dc=example ""x"""',
    'host all all all ldap ldapserver="a b" \\\n  ldapprefix=cn=, ldapsuffix=", dc=example ""x"""',
    '"host" all "all" all "ldap" "ldapserver"="a b",ldapprefix=cn=,ldapsuffix=", dc=example ""x"""',
  ];
  for (const line of lines) {
    const { rules, problems } = hba(`${line}\n`);
    assert.deepEqual(problems, [], line);
    assert.deepEqual([...rules[0]!.options], expected, line);
  }
  assert.deepEqual([...hba('local all all ldap # nothing\n').rules[0]!.options], []);
  for (const [bad, rest] of [
    ['ldapserver', 'ldapserver'],
    ['ldapserver=a "open', '"open'],
    ['ldapserver="a"b', 'ldapserver="a"b'],
    ['="a"', '="a"'],
  ] as const) {
    const { rules, problems } = hba(`host all all all ldap ${bad}\n`);
    assert.equal(rules.length, 0, bad);
    assert.deepEqual(problems, [`hba.conf:1: unexpected "${rest}"; options are name=value`]);
  }
});

test('hba: @file holds names, beside the HBA file', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'hba-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'names'), 'a, b\n"c d" # comment\n\n');
  const { rules, problems } = hba(
    'local @names,x @missing trust\nlocal @names,x all trust\n',
    join(folder, 'hba'),
  );
  assert.equal(problems.length, 1);
  assert.match(problems[0]!, /hba:1: could not read ".*missing": no such file or directory/);
  assert.deepEqual(
    rules[0]!.databases.map((name) => name.text),
    ['a', 'b', 'c d', 'x'],
  );
});

test('hba: every bad line is reported', () => {
  const { rules, problems } = hba(`hostgss all all all trust
host all all 10.0.0.0/33 trust
host all all somewhere trust
host all all all kerberos
host all all all peer
host all all
local all "open trust
host all all all cert
local all all trust nonsense
local samerole all reject
host all bob,+staff all reject
`);
  assert.equal(rules.length, 0);
  assert.deepEqual(
    problems.map((problem) => problem.split(':')[1]),
    ['1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11'],
  );
  assert.match(problems[0]!, /unknown connection type "hostgss"/);
  assert.match(problems[3]!, /unsupported method "kerberos"/);
  assert.match(problems[4]!, /peer is possible on local lines only/);
  assert.match(problems[5]!, /missing address/);
  assert.match(problems[9]!, /"samerole" is not supported/);
  assert.match(problems[10]!, /"\+staff" is not supported/);
});

test('ident maps keep their order; all is special unless quoted', () => {
  const diagnostics = new Diagnostics();
  const maps = parseIdent('m root postgres\nm bob all\nn "x y" "all"\nbroken\n', 'ident', diagnostics);
  assert.deepEqual(maps.get('m'), [
    { line: 1, systemName: 'root', user: 'postgres', anyUser: false },
    { line: 2, systemName: 'bob', user: 'all', anyUser: true },
  ]);
  assert.deepEqual(maps.get('n'), [{ line: 3, systemName: 'x y', user: 'all', anyUser: false }]);
  assert.deepEqual(diagnostics.all.map(formatDiagnostic), [
    'ident:4: expected three fields: map, system name, user',
  ]);
});

test('the nearest name is a hint only when it is near', () => {
  assert.equal(nearestHint('pool_mod', ['pool_mode', 'port']), 'did you mean pool_mode?');
  assert.equal(nearestHint('zzzzzz', ['pool_mode', 'port']), null);
});
