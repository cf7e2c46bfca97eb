/** Metrics and health checks over HTTP. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { get } from 'node:https';
import { connect, createServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { after, test, type TestContext } from 'node:test';
import { tlsFile } from '../auth/tls-settings.ts';
import { Bouncer, type BouncerOptions } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { noFfi } from '../support/ffi.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });

interface Web {
  readonly bouncer: Bouncer;
  readonly port: number;
  /** status and body */
  ask(path: string, headers?: Record<string, string>): Promise<readonly [number, string]>;
}

async function prepare(t: TestContext, options: BouncerOptions = {}): Promise<Web> {
  const port = await freePort();
  const bouncer = await Bouncer.prepare(t, {
    databases: { db: cluster.connectionString() },
    ...options,
    settings: { http_listen_port: port, ...options.settings },
  });
  const ask = async (
    path: string,
    headers: Record<string, string> = {},
  ): Promise<readonly [number, string]> => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
    return [answer.status, await answer.text()];
  };
  return { bouncer, port, ask };
}

async function start(t: TestContext, options: BouncerOptions = {}): Promise<Web> {
  const web = await prepare(t, options);
  await web.bouncer.start();
  return web;
}

/** As prometheus-community/pgbouncer_exporter names them, without the prefix. */
const EXPORTERS =
  `up version_info config_max_client_connections config_max_user_connections databases users pools free_clients
used_clients login_clients free_servers used_servers cached_dns_names cached_dns_zones in_flight_dns_queries
databases_pool_size databases_reserve_pool databases_max_connections databases_current_connections databases_paused
databases_disabled stats_queries_pooled_total stats_queries_duration_seconds_total stats_received_bytes_total
stats_sent_bytes_total stats_client_wait_seconds_total stats_sql_transactions_pooled_total
stats_server_in_transaction_seconds_total stats_client_parses_total stats_server_parses_total stats_binds_total
pools_client_active_connections pools_client_active_cancel_connections pools_client_waiting_connections
pools_client_waiting_cancel_connections pools_server_active_connections pools_server_active_cancel_connections
pools_server_being_canceled_connections pools_server_idle_connections pools_server_used_connections
pools_server_testing_connections pools_server_login_connections pools_client_maxwait_seconds`.split(/\s/);

test('dashboards for pgbouncer_exporter find every metric under their prefix', async (t) => {
  const { bouncer, ask } = await start(t, { settings: { metrics_prefix: 'pgbouncer' } });
  await bouncer.sql('select 1');
  const [status, text] = await ask('/metrics');
  assert.equal(status, 200);
  for (const name of EXPORTERS) assert.match(text, new RegExp(`^# TYPE pgbouncer_${name} `, 'm'), name);
  assert.match(text, /^pgbouncer_stats_queries_pooled_total\{database="db"\} 1$/m);
  assert.match(text, /^pgbouncer_pools_server_idle_connections\{database="db",user="postgres"\} 1$/m);
  assert.match(text, /^pgbouncer_query_duration_seconds_count\{database="db"\} 1$/m);
  assert.match(text, /^pgbouncer_login_duration_seconds_count\{database="db"\} 1$/m);
});

test('OpenMetrics is printed for scrapers that ask for it', async (t) => {
  const { ask } = await start(t);
  const [, text] = await ask('/metrics', { accept: 'application/openmetrics-text;version=1.0.0' });
  assert.match(text, /# TYPE pgswitchyard_stats_binds counter\n/);
  assert.match(text, /\n# EOF\n$/);
});

test("the proxy's own errors are counted by class of SQLSTATE", async (t) => {
  const { bouncer, ask } = await start(t);
  await assert.rejects(bouncer.sql('select 1', { database: 'missing' }));
  const [, text] = await ask('/metrics');
  assert.match(text, /^pgswitchyard_errors_sent_total\{class="08"\} 1$/m);
});

const RULE = `export function rewrite_query(username, query) {
  if (query.includes('secret')) reject('no');
  if (query.includes('broken')) throw new Error('broken');
  return query.replace('two', '2');
}`;

test('calls of user functions are timed by tenant and outcome', async (t) => {
  const { bouncer, ask } = await start(t, { files: { 'user-functions/rewrite_query.ts': RULE } });
  await bouncer.sql('select 1');
  await bouncer.sql('select two');
  await assert.rejects(bouncer.sql("select 'secret'"));
  await bouncer.sql("select 'broken'").catch(() => {});
  const [, text] = await ask('/metrics');
  for (const outcome of ['unchanged', 'changed', 'rejected', 'threw'])
    assert.match(
      text,
      new RegExp(`_function_call_duration_seconds_count\\{.*outcome="${outcome}"\\} 1$`, 'm'),
    );
  assert.match(
    text,
    /_function_call_duration_seconds_bucket\{le="\+Inf",tenant=".*",folder=".*",outcome="threw"\} 1$/m,
  );
});

test('descriptors and their limit are shown', async (t) => {
  const { ask } = await start(t);
  const [, text] = await ask('/metrics');
  const [, open] = /^pgswitchyard_open_descriptors (\d+)$/m.exec(text) ?? [];
  const [, most] = /^pgswitchyard_max_descriptors (\d+)$/m.exec(text) ?? [];
  assert.ok(Number(open) > 3 && Number(most) > Number(open));
});

test('/metrics wants the token of http_metrics_token_file, which may change', async (t) => {
  const { bouncer, ask } = await prepare(t, { files: { token: 'first\n' } });
  bouncer.settings['http_metrics_token_file'] = `${bouncer.folder}/token`;
  await bouncer.writeFiles();
  await bouncer.start();
  const statusFor = async (token: string): Promise<number> =>
    (await ask('/metrics', { authorization: `Bearer ${token}` }))[0];
  assert.equal((await ask('/metrics'))[0], 401);
  assert.deepEqual([await statusFor('first'), await statusFor('wrong')], [200, 401]);
  assert.equal((await ask('/livez'))[0], 200);
  await bouncer.writeFile('token', 'second one\n');
  assert.equal(await statusFor('first'), 401);
  await bouncer.writeFile('token', '');
  assert.equal(await statusFor('first'), 503);
  await bouncer.waitForLog(/http_metrics_token_file: ".*" can't be read, or is empty/);
});

test('/readyz fails while the proxy drains, and /livez does not', async (t) => {
  const { bouncer, ask } = await start(t);
  const client = await bouncer.connect();
  assert.deepEqual(await ask('/readyz'), [200, 'ok\n']);
  assert.deepEqual(await ask('/startupz'), [200, 'ok\n']);
  bouncer.signal('SIGTERM');
  await until('the proxy not to be ready', async () => (await ask('/readyz'))[0] === 503);
  assert.match((await ask('/readyz'))[1], /^the proxy is draining$/m);
  assert.deepEqual(await ask('/livez'), [200, 'ok\n']);
  await client.query('select 1');
  await client.end();
});

test('/readyz looks at the databases of http_ready_databases', async (t) => {
  const { bouncer, ask } = await start(t, {
    databases: { db: cluster.connectionString(), gone: `host=127.0.0.1 port=${await freePort()}` },
    settings: { query_wait_timeout: '0.5' },
  });
  await assert.rejects(bouncer.sql('select 1', { database: 'gone' }));
  for (const [wanted, status] of [
    ['', 200],
    ['db', 200],
    ['db, gone', 503],
    ['gone', 503],
    ['-', 200],
  ] as const) {
    await bouncer.reload({ http_ready_databases: wanted });
    const [actual, text] = await ask('/readyz');
    assert.equal(actual, status, wanted);
    if (status === 503)
      assert.match(text, /^The last attempt to connect to a server of database "gone" failed: /);
  }
});

test('/readyz fails while http_ready_databases names a database that there is not', async (t) => {
  const { bouncer, ask } = await start(t, { settings: { http_ready_databases: 'db, misspelt' } });
  assert.deepEqual(await ask('/readyz'), [503, 'http_ready_databases: there is no database misspelt\n']);
  await bouncer.reload({ http_ready_databases: 'db' });
  assert.deepEqual(await ask('/readyz'), [200, 'ok\n']);
});

test('/readyz fails when no database can be reached, and recovers', async (t) => {
  const other = await Cluster.start(t);
  const { bouncer, ask } = await start(t, {
    databases: { db: other.connectionString() },
    settings: { server_login_retry: '0.1', query_wait_timeout: 2 },
  });
  await other.stop();
  await assert.rejects(bouncer.sql('select 1'));
  assert.equal((await ask('/readyz'))[0], 503);
  await other.restart();
  await until('a server', () =>
    bouncer.sql('select 1').then(
      () => true,
      () => false,
    ),
  );
  assert.equal((await ask('/readyz'))[0], 200);
});

test('HTTP over TLS with the certificate for clients', async (t) => {
  const { port } = await start(t, {
    settings: {
      http_tls_sslmode: 'require',
      client_tls_key_file: tlsFile('server.key'),
      client_tls_cert_file: tlsFile('server.crt'),
    },
  });
  const status = await new Promise((resolve, reject) => {
    get(
      {
        port,
        host: '127.0.0.1',
        path: '/livez',
        ca: readFileSync(tlsFile('ca.crt')),
        checkServerIdentity: () => undefined,
      },
      (answer) => resolve(answer.statusCode),
    ).on('error', reject);
  });
  assert.equal(status, 200);
});

test('a port that is taken is an error at the start', async (t) => {
  const { bouncer, port } = await prepare(t);
  const taken = createServer().listen(port, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  await assert.rejects(bouncer.start(), /failed to listen for HTTP on 127\.0\.0\.1:\d+: .*EADDRINUSE/);
});

test('a token file that is missing is logged once, however often somebody asks', async (t) => {
  const { bouncer, ask } = await start(t, { settings: { http_metrics_token_file: '/nowhere/token' } });
  for (let i = 0; i < 5; i++) assert.equal((await ask('/metrics'))[0], 503);
  assert.equal(bouncer.logCount(/http_metrics_token_file: .* can't be read/), 1);
});

test('a request with a head that is too long is refused', async (t) => {
  const { ask } = await start(t);
  assert.equal((await ask('/livez', { 'x-long': 'x'.repeat(10_000) }))[0], 431);
  assert.deepEqual(await ask('/livez'), [200, 'ok\n']);
});

test('scrapers that never read their answers leave the others alone, and hold little memory', async (t) => {
  const databases = Object.fromEntries(
    Array.from({ length: 200 }, (_, i) => [`database_${i}`, cluster.connectionString()]),
  );
  const { ask, port } = await start(t, { databases });
  const residentMb = async (): Promise<number> => {
    const [, text] = await ask('/metrics');
    return Number(/^pgswitchyard_resident_memory_bytes (\S+)$/m.exec(text)![1]) / 1e6;
  };
  const before = await residentMb();
  const scrape = 'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n';
  const deaf = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const socket = connect(port, '127.0.0.1').pause();
      t.after(() => socket.destroy());
      await once(socket, 'connect');
      // many requests at once on each connection
      socket.write(scrape.repeat(100));
      return socket;
    }),
  );
  assert.equal(deaf.length, 20);
  for (let i = 0; i < 20; i++) assert.equal((await ask('/livez'))[0], 200);
  const after = await residentMb();
  assert.ok(after - before < 150, `${before} MB before, ${after} MB after`);
});

test('an address with all the connections that it may have keeps no health check of another out', async (t) => {
  const { port } = await start(t);
  const opened = await Promise.all(
    Array.from({ length: 130 }, async () => {
      const socket = connect(port, '127.0.0.1');
      t.after(() => socket.destroy());
      const ended = once(socket, 'close');
      await Promise.race([once(socket, 'connect'), ended]).catch(() => {});
      return socket;
    }),
  );
  await until('the refusal of the others', () => opened.filter(({ closed }) => closed).length === 66);
  const probe = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' });
  probe.end('GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const answer = (await probe.toArray()).join('');
  assert.match(answer, /^HTTP\/1\.1 200 /);
});

test('of many slow readers of /metrics only the last ones are waited for', async (t) => {
  const databases = Object.fromEntries(
    Array.from({ length: 300 }, (_, i) => [`database_${i}`, cluster.connectionString()]),
  );
  const { port, ask } = await start(t, { databases });
  const deaf: Socket[] = [];
  for (let i = 0; i < 12; i++) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n');
    // the head of the answer is there: the rest waits
    await once(socket, 'readable');
    deaf.push(socket);
  }
  await until('the end of the oldest', () => {
    for (const socket of deaf.slice(0, 4)) socket.resume();
    return deaf.slice(0, 4).every(({ closed }) => closed);
  });
  assert.ok(deaf.slice(4).every(({ closed }) => !closed));
  assert.equal((await ask('/metrics'))[0], 200);
});

test('unknown addresses and methods are 404', async (t) => {
  const { ask, port } = await start(t);
  assert.deepEqual(await ask('/nonsense'), [404, 'not found\n']);
  assert.equal((await fetch(`http://127.0.0.1:${port}/metrics`, { method: 'POST' })).status, 404);
});

test('a process that takes over gets the HTTP port too', { skip: noFfi }, async (t) => {
  const { bouncer, ask } = await start(t, { settings: { pidfile: '' } });
  const next = await bouncer.successor(t, ['-R']);
  assert.deepEqual(await ask('/readyz'), [200, 'ok\n']);
  assert.ok(next.isRunning);
});
