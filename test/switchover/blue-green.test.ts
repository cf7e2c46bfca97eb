/** A table plays the part of a topology query that reports a blue/green deployment, as RDS does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { until } from '../support/wait.ts';

const TABLES = `CREATE TABLE deployment (endpoint text, port int, role text, status text);
  CREATE TABLE ledger (n int);`;

test('blue/green: transactions wait while it is in progress and continue on green', async (t) => {
  const blue = await Cluster.start(t, { sql: TABLES });
  const green = await Cluster.start(t, { sql: TABLES });
  /** Both environments report the deployment. */
  const report = async (status: string): Promise<void> => {
    for (const each of [blue, green]) {
      await each.sql('DELETE FROM deployment');
      await each.sql('INSERT INTO deployment VALUES ($1, $2, $3, $4), ($5, $6, $7, $4)', [
        blue.host,
        blue.port,
        'BLUE_GREEN_DEPLOYMENT_SOURCE',
        status,
        green.host,
        green.port,
        'BLUE_GREEN_DEPLOYMENT_TARGET',
      ]);
    }
  };
  await report('AVAILABLE');
  const bouncer = await Bouncer.start(t, {
    databases: { dev: `${blue.connectionString()} topology_query='SELECT * FROM deployment'` },
    settings: {
      pool_mode: 'transaction',
      auth_user: 'postgres',
      topology_refresh: 60,
      polling_frequency: 0.1,
    },
  });
  const client = await bouncer.connect();
  const portNow = async (): Promise<number> =>
    (await client.query<{ port: number }>('SELECT inet_server_port() AS port')).rows[0]!.port;
  assert.equal(await portNow(), blue.port);
  await bouncer.waitForLog(new RegExp(`:${green.port} is a writer`));
  // green takes its own writes all the time, and is not the writer because of that
  assert.equal(await portNow(), blue.port);

  await report('SWITCHOVER_INITIATED');
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  assert.equal(await portNow(), blue.port);

  const open = await bouncer.connect();
  await open.query('BEGIN; INSERT INTO ledger VALUES (1)');
  await report('SWITCHOVER_IN_PROGRESS');
  await bouncer.waitForLog(/blue\/green switchover in progress; holding new transactions/);
  const held = client.query('INSERT INTO ledger VALUES (2)');
  await until('the client to wait', async () =>
    (await bouncer.admin('SHOW POOLS')).some((row) => row['database'] === 'dev' && row['cl_waiting'] === 1),
  );
  // what has begun may end
  await open.query('COMMIT');

  await report('SWITCHOVER_IN_POST_PROCESSING');
  await held;
  await bouncer.waitForLog(/the blue\/green switchover is done/);
  assert.deepEqual(await blue.sql('SELECT n FROM ledger'), [{ n: 1 }]);
  assert.deepEqual(await green.sql('SELECT n FROM ledger'), [{ n: 2 }]);
  assert.equal(await portNow(), green.port);

  await report('SWITCHOVER_COMPLETED');
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  assert.equal(await portNow(), green.port);
  const [row] = await bouncer.admin('SHOW SWITCHOVERS');
  assert.equal(row?.['detected_by'], 'blue/green switchover in progress');
  assert.equal(row['to'], `127.0.0.1:${green.port}`);

  // The deployment is deleted. Blue still exists, and still claims to be the writer.
  for (const each of [blue, green]) await each.sql('UPDATE deployment SET role = NULL, status = NULL');
  await bouncer.admin('NOTIFY TOPOLOGY dev');
  await until('the topology to be read', async () =>
    (await bouncer.admin('SHOW TOPOLOGY')).every((each) => each['label'] === ''),
  );
  assert.equal(await portNow(), green.port);
});
