/** `pgswitchyard fleet init`, and proxies that find tables of another version, or none. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { until } from '../support/wait.ts';
import { fleetOf, initFleet, prepareMember, statesIn } from './support.ts';

const scope = { after };
const store = await Cluster.start(scope, {
  sql: `CREATE ROLE owner LOGIN; CREATE ROLE fleet LOGIN; CREATE ROLE stranger LOGIN`,
});

/** A proxy whose store is a database of its own. */
async function memberOf(database: string, user: string): Promise<Bouncer> {
  await store.sql(`CREATE DATABASE ${database} OWNER owner`);
  await store.sql(`REVOKE ALL ON DATABASE ${database} FROM public`);
  await store.sql(`GRANT CONNECT ON DATABASE ${database} TO fleet, stranger`);
  const options = {
    databases: { control: `host=${store.host} port=${store.port} dbname=${database} user=${user}` },
  };
  return await prepareMember(scope, store, { name: 'one', store, options });
}

test('it makes the tables, may run again, and several times at once', async () => {
  const member = await memberOf('many', 'owner');
  const results = await Promise.all(Array.from({ length: 4 }, () => initFleet(member)));
  assert.deepEqual(
    results.map(({ code, stderr }) => [code, stderr]),
    results.map(() => [0, '']),
  );
  const made = results.filter(({ stdout }) => /were made: version 1/.test(stdout));
  assert.equal(made.length, 1);
  assert.match(
    (await initFleet(member)).stdout,
    /the tables of the fleet in database "many" are of version 1/,
  );
});

test('a proxy without tables says what to run, goes on, and joins once they are there', async () => {
  const member = await memberOf('later', 'fleet');
  await member.start();
  await member.waitForLog(/the store is away: it has no tables for a fleet: run "pgswitchyard fleet init"/);
  assert.deepEqual(await member.sql('SELECT 1 AS one', { database: 'data' }), [{ one: 1 }]);
  assert.match((await fleetOf(member))[0]!.store, /^away: it has no tables .*; only this proxy is shown$/);
  const { code, stdout, stderr } = await initFleet(member, ['--user', 'owner']);
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /user "fleet" has the rights of a proxy/);
  await until('it to join', async () => (await fleetOf(member))[0]!.store === 'up');
  assert.equal(member.logCount(/the store is away/), 1);
  await member.admin('RECONNECT data');
  await until('its audit line', async () => (await member.admin('SHOW FLEET_AUDIT')).length === 1);
  await member.stop();
});

test('a user without rights is told so', async () => {
  const member = await memberOf('strange', 'stranger');
  assert.equal((await initFleet(member)).code, 1);
  await initFleet(
    await prepareMember(scope, store, {
      name: 'two',
      store,
      options: { databases: { control: `host=${store.host} port=${store.port} dbname=strange user=owner` } },
    }),
  );
  await member.start();
  await member.waitForLog(/its user has no rights in the schema pgswitchyard/);
  await member.stop();
});

test('newer tables are used if they say that they can be, and refused otherwise', async () => {
  const member = await memberOf('newer', 'owner');
  await initFleet(member);
  const control = { host: store.host, port: store.port, user: 'postgres', database: 'newer' };
  const { Client } = await import('pg');
  const client = new Client(control);
  await client.connect();
  await client.query(
    `INSERT INTO pgswitchyard.migrations (version, compatible_with, program) VALUES (7, 1, '9.0')`,
  );
  await member.start();
  await until('it to join', async () => (await statesIn(member)) === 'one serving');
  await until('the store', async () => (await fleetOf(member))[0]!.store === 'up');
  await member.stop();
  await client.query('UPDATE pgswitchyard.migrations SET compatible_with = 5 WHERE version = 7');
  await member.start();
  await member.waitForLog(
    /its tables are of version 7, and this program knows version 1: update pgswitchyard/,
  );
  await member.stop();
  const { code, stderr } = await initFleet(member);
  assert.equal(code, 1);
  assert.match(stderr, /version 7.*update pgswitchyard/);
  await client.end();
});

test('without a store in the configuration, and with a wrong command line, it says so', async () => {
  const alone = await Bouncer.prepare(scope);
  assert.match((await initFleet(alone)).stderr, /fleet_store is not set/);
  assert.match((await initFleet(alone, ['--nonsense'])).stderr, /nonsense/);
});

test('`config check` reports a store that is in no entry', async () => {
  const member = await prepareMember(scope, store, {
    name: 'three',
    store,
    settings: { fleet_store: 'postgres:database=gone' },
  });
  const [program, command] = member.commandLine();
  const checked = promisify(execFile)(program, [command!, 'config', 'check', member.configFile]);
  await assert.rejects(checked, /fleet_store names the database "gone", which is not in \[databases\]/);
});
