/** fleet_store: the forms that it may have, and the place that each one means. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import { storeTarget, type StoreTarget } from '../../src/fleet/target.ts';

const DATABASES = `
plain = host=db1 port=5433
full = host=db1,db2 port=5433 dbname=control user=fleet password=secret sslnegotiation=direct
local = dbname=control
abstract = host=@socket`;

function targetOf(store: string, more = '', databases = DATABASES): StoreTarget | null {
  return storeTarget(
    configFromText(
      `[databases]${databases}\n[pgbouncer]\nfleet_store = ${store}\nunix_socket_dir = /run\n${more}`,
    ),
  );
}

test('without fleet_store there is no store', () => {
  assert.equal(targetOf(''), null);
});

for (const [store, expected] of [
  [
    'postgres:database=plain',
    { hosts: ['db1:5433'], database: 'plain', user: 'pgswitchyard', password: null, sslmode: 'prefer' },
  ],
  [
    'postgres:database=full',
    {
      hosts: ['db1:5433', 'db2:5433'],
      database: 'control',
      user: 'fleet',
      password: 'secret',
      sslnegotiation: 'direct',
    },
  ],
  ['postgres:database=full user=other', { user: 'other', password: null }],
  ['postgres:database=full user=other password=mine', { user: 'other', password: 'mine' }],
  ['postgres:database=local', { hosts: ['/run:5432'], database: 'control' }],
  ['postgres:host=h', { hosts: ['h:5432'], database: 'pgswitchyard' }],
  [
    "postgres:host=h,i port=1 dbname=d user=u password='p w' sslmode=require",
    { hosts: ['h:1', 'i:1'], database: 'd', user: 'u', password: 'p w', sslmode: 'require' },
  ],
  ['postgres://u:p%40%3A@h:1/d', { hosts: ['h:1'], database: 'd', user: 'u', password: 'p@:' }],
  ['postgresql://u@h/d?sslmode=verify-full', { hosts: ['h:5432'], user: 'u', sslmode: 'verify-full' }],
  ['postgres:postgres://u@[::1]:7,h2/d', { hosts: ['::1:7', 'h2:5432'] }],
  ['postgres://%2Frun%2Fpg/d', { hosts: ['/run/pg:5432'] }],
] as const) {
  test(`fleet_store = ${store}`, () => {
    const { hosts, ...target } = targetOf(store)!;
    const shown = { ...target, hosts: hosts.map(({ host, port }) => `${host}:${port}`) };
    assert.partialDeepStrictEqual(shown, expected);
  });
}

for (const [store, complaint] of [
  ['control', /not of a known kind/],
  ['redis:host=h', /not of a known kind/],
  ['postgres:', /needs database/],
  ['postgres:control', /expected key=value/],
  ['postgres:database=a host=b', /needs database/],
  ['postgres:database=a dbname=b', /come from its entry/],
  ['postgres:database=pgbouncer', /console is not a store/],
  ['postgres:databse=a', /unrecognized parameter of the store: databse/],
  ['postgres:host=h port=0', /invalid port/],
  ['postgres:host=h port=99999', /invalid port/],
  ['postgres:host=h sslmode=maybe', /invalid sslmode/],
  ['postgres://u@/d', /no host/],
  ['postgres://u:%zz@h/d', /percent sign/],
  ['postgres://u:pa/ss@h/d', /only as %2F/],
  ['postgres://u:pa?ss@h/d', /only as %2F/],
  ['postgres://h:x/d', /invalid port/],
  ['postgres://h/d?options=x', /unrecognized parameter of the store: options/],
] as const) {
  test(`fleet_store = ${store} is refused`, () => {
    assert.throws(() => targetOf(store), complaint);
  });
}

test('an entry that is missing or has no usable host is reported when the store is looked for', () => {
  assert.throws(() => targetOf('postgres:database=gone'), /"gone", which is not in \[databases\]/);
  assert.throws(() => targetOf('postgres:database=abstract'), /"abstract" has no host/);
});

test('a database that only the entry * matches can be the store', () => {
  assert.equal(targetOf('postgres:database=control', '', '\n* = host=h')?.database, 'control');
});
