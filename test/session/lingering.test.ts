/**
 * The end of a connection whose client does not read, or resets: its descriptor is given back, and no error of the proxy is
 * logged.
 */
import assert from 'node:assert/strict';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { tlsFile } from '../auth/tls-settings.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { RawClient } from '../support/raw.ts';
import { until } from '../support/wait.ts';

const cluster = await Cluster.start({ after });
const bouncer = await Bouncer.start(
  { after },
  {
    databases: { dev: cluster.connectionString(), '*': cluster.connectionString() },
    settings: {
      pool_mode: 'transaction',
      max_client_conn: 40,
      client_login_timeout: 1,
      client_tls_sslmode: 'allow',
      client_tls_cert_file: tlsFile('server.crt'),
      client_tls_key_file: tlsFile('server.key'),
    },
  },
);
const unix = { path: join(bouncer.folder, `.s.PGSQL.${bouncer.port}`) };
const USER = { user: 'postgres', database: 'dev' };
const CONSOLE = { user: 'pgbouncer', database: 'pgbouncer' };
const admin = await bouncer.connect(CONSOLE);
await bouncer.sql('select 1');

/** The number of sockets that the proxy has open. */
function socketCount(): number {
  const folder = `/proc/${bouncer.pid}/fd`;
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)).startsWith('socket:');
    } catch {
      return false;
    }
  }).length;
}

/** The pool has its one server and there are no other clients: any other socket belongs to a client that has left. */
async function socketsWithOneServer(): Promise<number> {
  await bouncer.sql('select 1');
  return socketCount();
}

const noProc = process.platform === 'linux' ? false : 'there is no /proc';

async function encrypted(parameters: Record<string, string>): Promise<RawClient> {
  const client = await RawClient.connect(bouncer);
  client.send(raw.sslRequest());
  await client.readBytes(1);
  await client.startTls();
  client.send(raw.startup(parameters));
  await client.readUntil('Z');
  return client;
}

const UNREAD = raw.query(`select repeat('x', 1000) from generate_series(1, 50000)`);

/** Waits for a result of which much is unsent, because the client does not read. */
async function getStuck(client: RawClient, name: string): Promise<void> {
  client.socket.pause();
  client.send(UNREAD);
  await until(`${name}: the result to be stuck`, async () => (await rowOf(name)).send_avail > 0);
}

interface SocketRow {
  application_name: string;
  send_avail: number;
  id: number;
}

async function rowOf(name: string): Promise<SocketRow> {
  const { rows } = await admin.query<SocketRow>('SHOW SOCKETS');
  return rows.find(({ application_name: each }) => each === name)!;
}

/** Ways for a connection to end before all its bytes were read. */
const ENDS: Record<string, (client: RawClient, name: string) => Promise<unknown>> = {
  Terminate: async (client, name) => {
    await getStuck(client, name);
    client.send(raw.terminate());
  },
  'half-closed': async (client, name) => {
    await getStuck(client, name);
    client.end();
  },
  KILL_CLIENT: async (client, name) => {
    await getStuck(client, name);
    await admin.query(`KILL_CLIENT ${(await rowOf(name)).id}`);
  },
  'an error': (client) => {
    client.socket.pause();
    client.send(raw.message('@'));
    return Promise.resolve();
  },
};

test('the descriptor of a client that has left without reading is given back', { skip: noProc }, async () => {
  const before = await socketsWithOneServer();
  const clients: RawClient[] = [];
  for (const [kind, connect] of Object.entries({
    tcp: (name: string) => RawClient.login(bouncer, { ...USER, application_name: name }),
    unix: (name: string) => RawClient.login(unix, { ...USER, application_name: name }),
    tls: (name: string) => encrypted({ ...USER, application_name: name }),
  })) {
    for (const [what, act] of Object.entries(ENDS)) {
      const client = await connect(`${kind} ${what}`);
      clients.push(client);
      await act(client, `${kind} ${what}`);
    }
  }
  await until('the descriptors to be given back', async () => (await socketsWithOneServer()) <= before);
  for (const client of clients) client.destroy();
});

test(
  'the console: an unread table, a handshake without an end, a login that waits',
  { skip: noProc },
  async () => {
    const before = socketCount();
    const clients: RawClient[] = [];
    const watcher = await RawClient.login(unix, CONSOLE);
    watcher.socket.pause();
    watcher.send(...new Array<Buffer>(100).fill(raw.query('SHOW CONFIG')), raw.terminate());
    watcher.end();
    clients.push(watcher);
    for (const half of [Buffer.alloc(0), raw.sslRequest(), Buffer.from([0x16, 3, 1, 2, 0, 1])]) {
      const client = await RawClient.connect(bouncer);
      client.socket.pause();
      client.send(half);
      clients.push(client);
    }
    await until('the descriptors to be given back', () => socketCount() <= before);
    for (const client of clients) client.destroy();
  },
);

test('a client that left an unread result counts in max_client_conn until its descriptor is given back', async () => {
  await bouncer.reload({ max_client_conn: 3 });
  const client = await RawClient.login(unix, { ...USER, application_name: 'leaving' });
  await getStuck(client, 'leaving');
  client.send(raw.terminate());
  await until('the client to be gone', async () => {
    const { rows } = await admin.query<{ database: string }>('SHOW CLIENTS');
    return rows.every(({ database }) => database !== 'dev');
  });
  const others = [await RawClient.connect(unix), await RawClient.connect(unix)];
  for (const each of others) each.send(raw.startup(USER));
  const answers = await Promise.all(others.map((each) => each.readFrame()));
  const refusals = answers.filter(({ type }) => type === 'E').map((each) => raw.errorFields(each)['M']);
  assert.deepEqual(refusals, ['no more connections allowed (max_client_conn)']);
  for (const each of [client, ...others]) each.destroy();
  await until('it not to count any more', () =>
    bouncer.sql('select 1').then(
      () => true,
      () => false,
    ),
  );
  await bouncer.reload({ max_client_conn: 40 });
});

test('a client that resets right after any part of its start-up is not an error of the proxy', async () => {
  bouncer.markLog();
  const cancel = raw.cancelRequest(1, Buffer.alloc(4));
  for (const bytes of [
    raw.startup(USER),
    raw.startup({ ...USER, database: 'other' }),
    raw.startup({ ...USER, replication: 'database' }),
    raw.startup({ ...USER, replication: 'true' }),
    raw.startup(CONSOLE),
    raw.startup({ ...USER, user: 'nobody' }),
    raw.sslRequest(),
    cancel,
    raw.startup(USER).subarray(0, 6),
    Buffer.concat([raw.startup(USER), raw.query('select 1')]),
    Buffer.concat([raw.startup(USER), raw.terminate()]),
  ]) {
    for (let i = 0; i < 20; i++) {
      for (const target of [bouncer, unix]) {
        const client = await RawClient.connect(target);
        client.send(bytes);
        // closing a Unix socket with unread bytes resets it
        const end = (): void => (target === unix ? client.destroy() : client.reset());
        if (i % 2 === 0) end();
        else setImmediate(end);
      }
    }
  }
  await until('all to be gone', async () => {
    const { rows } = await admin.query<{ list: string; items: number }>('SHOW LISTS');
    return rows.find(({ list }) => list === 'used_clients')?.items === 1;
  });
  assert.equal(bouncer.logCount(/internal error/), 0, bouncer.log());
});
