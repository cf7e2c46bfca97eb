/** Names of servers that change their addresses. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';

const cluster = await Cluster.start({ after });
const entry = (host: string): string => `host=${host} port=${cluster.port} dbname=postgres`;

test('names are looked up once and shown, and their failures are reported', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { good: entry('localhost'), bad: entry('no-such-name.invalid') },
    settings: { server_login_retry: 0, query_wait_timeout: 2 },
  });
  const [bad, good] = await Promise.allSettled([
    bouncer.sql('select 1', { database: 'bad' }),
    bouncer.sql<{ n: number }>('select 1 as n', { database: 'good' }),
  ]);
  assert.equal(good.status, 'fulfilled');
  assert.equal(bad.status, 'rejected');
  assert.match(String(bad.reason), /query_wait_timeout/);
  assert.match(
    bouncer.log(),
    /S-0x\w+: bad\/postgres@no-such-name.invalid:\d+ closing because: server DNS lookup failed \(age=/,
  );
  const hosts = await bouncer.admin<{ hostname: string; ttl: string; addrs: string }>('SHOW DNS_HOSTS');
  const row = hosts.find(({ hostname }) => hostname === 'localhost');
  assert.match(row?.addrs ?? '', /127\.0\.0\.1:0/);
  assert.ok(Number(row?.ttl) > 0 && Number(row?.ttl) <= 15);
  const lists = await bouncer.admin<{ list: string; items: number }>('SHOW LISTS');
  assert.equal(lists.find(({ list }) => list === 'dns_names')?.items, 2);
});
