/** How names of servers become addresses: caching, failures, and names in doubt. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { openSocket } from '../../src/pool/socket.ts';
import { Resolver, ResolveError, type Lookup } from '../../src/pool/resolver.ts';

interface Asked {
  readonly host: string;
  answer(addresses: readonly string[]): void;
  fail(code: string): void;
}

/** A resolver whose lookups are answered by hand, on a clock that is set by hand. */
function setUp(
  t: TestContext,
  ttl = 15_000,
): { resolver: Resolver; asked: Asked[]; changes: string[]; pass(ms: number): void } {
  const asked: Asked[] = [];
  const changes: string[] = [];
  let now = 1_000_000;
  t.mock.method(performance, 'now', () => now);
  const lookup: Lookup = (host) =>
    new Promise((resolve, reject) => {
      asked.push({
        host,
        answer: resolve,
        fail: (code) => reject(Object.assign(new Error(`getaddrinfo ${code} ${host}`), { code })),
      });
    });
  const resolver = new Resolver({
    ttls: () => ({ dns_max_ttl: ttl, dns_nxdomain_ttl: 5_000 }),
    onChange: (host, addresses) => changes.push(`${host}: ${addresses.join(' ')}`),
    lookup,
  });
  return {
    resolver,
    asked,
    changes,
    pass(ms) {
      now += ms;
    },
  };
}

test('concurrent callers share one lookup, and its addresses are used in turn', async (t) => {
  const { resolver, asked } = setUp(t);
  const both = [resolver.resolve('db'), resolver.resolve('db')];
  assert.equal(asked.length, 1);
  assert.equal(resolver.pending, 1);
  asked[0]!.answer(['10.0.0.1', '10.0.0.2', '10.0.0.1']);
  assert.deepEqual(await Promise.all(both), [
    ['10.0.0.1', '10.0.0.2'],
    ['10.0.0.2', '10.0.0.1'],
  ]);
  assert.equal((await resolver.resolve('db'))[0], '10.0.0.1');
  assert.equal(asked.length, 1);
  assert.equal(resolver.pending, 0);
});

test('a name whose server is in doubt is looked up again, at most once a second', async (t) => {
  const { resolver, asked, changes, pass } = setUp(t);
  const first = resolver.resolve('db');
  asked[0]!.answer(['10.0.0.1']);
  await first;
  pass(999);
  resolver.doubt('db');
  resolver.doubt('never asked for');
  assert.equal(asked.length, 1);
  pass(1);
  resolver.doubt('db');
  resolver.doubt('db');
  assert.equal(asked.length, 2);
  assert.ok(resolver.leadsTo('db', '10.0.0.1'));
  asked[1]!.answer(['10.0.0.2']);
  assert.deepEqual(await resolver.resolve('db'), ['10.0.0.1']);
  assert.deepEqual(await resolver.resolve('db'), ['10.0.0.2']);
  assert.deepEqual(changes, ['db: 10.0.0.2']);
  assert.ok(!resolver.leadsTo('db', '10.0.0.1'));
  assert.ok(resolver.leadsTo('10.0.0.1', '10.0.0.1'));
  pass(1000);
  resolver.pin('db');
  resolver.doubt('db');
  assert.equal(asked.length, 2);
});

test('addresses are used for dns_max_ttl, and vanished ones are reported after it', async (t) => {
  const { resolver, asked, changes, pass } = setUp(t);
  const first = resolver.resolve('db');
  asked[0]!.answer(['10.0.0.1', '10.0.0.2']);
  await first;
  pass(14_999);
  await resolver.resolve('db');
  assert.deepEqual(resolver.hosts(performance.now()), [
    { host: 'db', ttlSeconds: 0, addresses: ['10.0.0.1', '10.0.0.2'] },
  ]);
  pass(1);
  const second = resolver.resolve('db');
  asked[1]!.answer(['10.0.0.2', '10.0.0.3']);
  assert.deepEqual([...(await second)].toSorted(), ['10.0.0.2', '10.0.0.3']);
  assert.deepEqual(changes, ['db: 10.0.0.2 10.0.0.3']);
});

test('a failure is remembered for dns_nxdomain_ttl', async (t) => {
  const { resolver, asked, pass } = setUp(t);
  const first = resolver.resolve('nowhere');
  asked[0]!.fail('ENOTFOUND');
  await assert.rejects(first, new ResolveError('getaddrinfo ENOTFOUND nowhere'));
  await assert.rejects(resolver.resolve('nowhere'), ResolveError);
  assert.equal(asked.length, 1);
  pass(5_000);
  const again = resolver.resolve('nowhere');
  asked[1]!.answer(['10.0.0.9']);
  assert.deepEqual(await again, ['10.0.0.9']);
});

test('the old addresses are used while lookups fail', async (t) => {
  const { resolver, asked, changes, pass } = setUp(t);
  const first = resolver.resolve('db');
  asked[0]!.answer(['10.0.0.1']);
  await first;
  pass(15_000);
  const second = resolver.resolve('db');
  asked[1]!.fail('EAI_AGAIN');
  assert.deepEqual(await second, ['10.0.0.1']);
  assert.deepEqual(changes, []);
});

test('a lookup that never ends delays its own name for a moment, and no other name', async (t) => {
  const { resolver, asked, pass } = setUp(t);
  const first = resolver.resolve('db');
  asked[0]!.answer(['10.0.0.1']);
  await first;
  pass(15_000);
  const stale = resolver.resolve('db');
  const other = resolver.resolve('other');
  asked[2]!.answer(['10.0.0.7']);
  assert.deepEqual(await other, ['10.0.0.7']);
  assert.deepEqual(await stale, ['10.0.0.1']);
});

test('maintenance looks up names in use again and forgets the others', async (t) => {
  const { resolver, asked, changes, pass } = setUp(t);
  const known = [resolver.resolve('used'), resolver.resolve('unused')];
  for (const each of asked) each.answer(['10.0.0.1']);
  await Promise.all(known);
  resolver.maintain(new Set(['used']), performance.now());
  assert.equal(asked.length, 2);
  pass(15_000);
  resolver.maintain(new Set(['used']), performance.now());
  assert.deepEqual(
    asked.slice(2).map(({ host }) => host),
    ['used'],
  );
  asked[2]!.answer(['10.0.0.2']);
  await resolver.resolve('used');
  assert.deepEqual(changes, ['used: 10.0.0.2']);
  assert.deepEqual(
    resolver.hosts(performance.now()).map(({ host }) => host),
    ['used'],
  );
});

test("the system's lookup reads the hosts file, also for many callers at once", async () => {
  const resolver = new Resolver({
    ttls: () => ({ dns_max_ttl: 0, dns_nxdomain_ttl: 0 }),
    onChange: () => {},
  });
  const names = ['localhost', 'LOCALHOST', 'Localhost', 'localHost', 'localhosT'];
  for (const [address] of await Promise.all(names.map((name) => resolver.resolve(name)))) {
    assert.ok(address === '127.0.0.1' || address === '::1', String(address));
  }
});

test('after an address that refuses, the next one is tried', async (t) => {
  const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const resolver = new Resolver({
    ttls: () => ({ dns_max_ttl: 1000, dns_nxdomain_ttl: 1000 }),
    onChange: () => {},
    lookup: () => Promise.resolve(['127.0.0.2', '127.0.0.1']),
  });
  for (let i = 0; i < 2; i++) {
    const { socket } = await openSocket(
      { host: 'db', port },
      resolver,
      { tcp_socket_buffer: 0 },
      AbortSignal.timeout(5000),
    );
    assert.equal(socket.remoteAddress, '127.0.0.1');
    socket.destroy();
  }
  const nowhere = openSocket(
    { host: 'db', port: 1 },
    resolver,
    { tcp_socket_buffer: 0 },
    AbortSignal.timeout(5000),
  );
  await assert.rejects(nowhere, /connect failed: .*ECONNREFUSED/);
});

test('a pinned name keeps its addresses until it is unpinned, and is looked up again then', async (t) => {
  const { resolver, asked, changes, pass } = setUp(t);
  const first = resolver.resolve('db');
  asked[0]!.answer(['10.0.0.1']);
  assert.deepEqual(await first, ['10.0.0.1']);
  resolver.pin('db');
  pass(60_000);
  resolver.maintain(new Set(['db']), performance.now());
  assert.deepEqual(await resolver.resolve('db'), ['10.0.0.1']);
  assert.equal(asked.length, 1);
  resolver.unpin('db');
  const second = resolver.resolve('db');
  assert.equal(asked.length, 2);
  asked[1]!.answer(['10.0.0.2']);
  assert.deepEqual(await second, ['10.0.0.2']);
  assert.deepEqual(changes, ['db: 10.0.0.2']);
});
