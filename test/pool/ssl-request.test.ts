/** Wrong answers to an SSLRequest, and the reasons that the log gives for them, in pgbouncer's words. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { errorFields, RawClient, startup } from '../support/raw.ts';

const ANSWERS = [
  { answer: '', reason: 'server conn crashed?' },
  { answer: 'HTTP/1.1 400 Bad Request', reason: 'bad sslreq answer' },
  { answer: 'SR', reason: 'received unencrypted data after SSL response' },
];

test('a wrong answer to an SSLRequest ends the attempt with a reason', async (t) => {
  for (const { answer, reason } of ANSWERS) {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.end(answer));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const bouncer = await Bouncer.start(t, {
      databases: { db: `host=127.0.0.1 port=${port}` },
      settings: { server_login_retry: 3600 },
    });
    const early = await RawClient.connect(bouncer);
    t.after(() => early.destroy());
    early.send(startup({ user: 'postgres', database: 'db' }));
    await bouncer.waitForLog(/S-0x\w+: db\/postgres@\S+ closing because: /);
    assert.match(
      bouncer.log(),
      new RegExp(`S-0x\\w+: \\S+ closing because: ${reason.replace('?', '\\?')} \\(age=`),
    );

    const late = await RawClient.connect(bouncer);
    late.send(startup({ user: 'postgres', database: 'db' }));
    const error = (await late.readToEnd()).find((frame) => frame.type === 'E')!;
    assert.equal(
      errorFields(error)['M'],
      `server login has been failing, cached error: ${reason} (server_login_retry)`,
    );
  }
});
