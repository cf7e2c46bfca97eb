/** Lists that clients can make longer: each step takes constant time, and what nobody uses is forgotten. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { configFromText } from '../../src/config/load.ts';
import { Registry } from '../../src/pool/databases.ts';
import { Fifo } from '../../src/pool/fifo.ts';
import { createLog } from '../../src/telemetry/log.ts';

test('a queue gives what a plain list gives, whatever is added and taken away', () => {
  const step = fc.tuple(fc.constantFrom('add', 'delete', 'first'), fc.nat({ max: 60 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const items = Array.from({ length: 61 }, (_, i) => ({ i }));
      const queue = new Fifo<{ i: number }>();
      let list: { i: number }[] = [];
      for (const [what, i] of steps) {
        const item = what === 'first' ? list[0] : items[i]!;
        if (what === 'add') {
          if (!list.includes(item!)) list.push(item!);
          queue.add(item!);
        } else if (item !== undefined) {
          assert.equal(queue.delete(item), list.includes(item));
          list = list.filter((each) => each !== item);
        }
        assert.equal(queue.first, list[0]);
        assert.equal(queue.size, list.length);
        assert.deepEqual([...queue], list);
      }
    }),
  );
});

function registry(): Registry {
  const config = configFromText('[databases]\n* = host=127.0.0.1\nown = host=127.0.0.1\n[pgbouncer]\n');
  const settings = {
    logfile: '',
    log_format: 'json',
    syslog: false,
    syslog_ident: '',
    syslog_facility: '',
    verbose: 0,
  } as const;
  return new Registry(config, createLog({ settings, quiet: true }));
}

test('databases that clients only name are forgotten, those that are used or paused are not', () => {
  const all = registry();
  const used = all.find('used')!;
  all.pool(used, 'joe');
  all.find('paused')!.paused = true;
  for (let i = 0; i < 20_000; i++) all.find(`made-up-${i}`);
  assert.ok(all.databases.size < 1_100, String(all.databases.size));
  for (const name of ['own', 'used', 'paused', 'made-up-19999']) assert.ok(all.databases.has(name), name);
});

test('a database that was forgotten while its first client logged in is there again with its pool', () => {
  const all = registry();
  const first = all.find('first')!;
  for (let i = 0; i < 5_000; i++) all.find(`made-up-${i}`);
  assert.ok(!all.databases.has('first'));
  all.pool(first, 'joe');
  assert.equal(all.databases.get('first'), first);
});

test('a user without an entry and without a pool is forgotten when the last client leaves', () => {
  const all = registry();
  for (let i = 0; i < 100; i++) {
    all.user(`u${i}`).clientCount++;
    all.userLeft(`u${i}`);
  }
  assert.equal(all.users.size, 0);
  all.user('joe').clientCount++;
  all.pool(all.find('own')!, 'joe');
  all.userLeft('joe');
  assert.equal(all.users.get('joe')?.clientCount, 0);
});
