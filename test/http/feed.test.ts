/** What open consoles are sent, without a proxy: changes only, made once, and never more than a browser takes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SSEStreamingApi } from 'hono/streaming';
import { Feed, type Audience } from '../../src/http/web/feed.ts';
import type { Answer } from '../../src/http/web/statement.ts';
import { writeLive } from '../../src/http/web/streams.ts';
import { excerptOf } from '../../src/http/web/source-lines.ts';

const ADMIN: Audience = { user: 'boss', rights: 'admin' };

function answer(...rows: string[][]): Answer {
  return { columns: ['name', 'n'], rows, isCut: false, tag: 'SHOW', notices: [], error: null };
}

function failOnError(error: Error): void {
  throw error;
}

/** The JSON of an event. */
function dataOf(event: string | null): unknown {
  return event === null ? null : JSON.parse(/^data: (.*)$/m.exec(event)![1]!);
}

test('a table is made once for all consoles with equal rights, and not at all while nobody looks', async () => {
  let made = 0;
  const feed = new Feed(() => Promise.resolve(answer([String(++made)])), failOnError);
  await feed.make();
  assert.equal(made, 0);
  const first = (await feed.watch('t', ADMIN))!;
  const second = (await feed.watch('t', { user: 'chief', rights: 'admin' }))!;
  assert.equal(made, 1);
  assert.equal(first, second);
  await feed.make();
  assert.equal(made, 2);
  const own = (await feed.watch('t', { user: 'ops', rights: 'tenant' }))!;
  const others = (await feed.watch('t', { user: 'other', rights: 'tenant' }))!;
  assert.notEqual(own, others);
  for (const channel of [first, second, own, others]) feed.unwatch(channel);
  await feed.make();
  assert.equal(made, 4);
});

test('many actions in a moment cost no more than one, and other work goes on between two tables', async (t) => {
  let made = 0;
  const turns: number[] = [];
  const feed = new Feed(() => {
    made++;
    setImmediate(() => turns.push(made));
    return Promise.resolve(answer(['a', String(made)]));
  }, failOnError);
  await feed.watch('t', ADMIN);
  await feed.watch('u', ADMIN);
  made = 0;
  await nextTurn();
  turns.length = 0;
  t.mock.timers.enable({ apis: ['setTimeout'] });
  for (let i = 0; i < 1_000; i++) feed.soon();
  const { next } = feed;
  t.mock.timers.tick(1_000);
  await next;
  assert.equal(made, 2);
  assert.deepEqual(turns, [1, 2]);
});

test('after the first time only the rows that have changed are sent', async () => {
  let now = answer(['a', '1'], ['b', '1'], ['c', '1']);
  const feed = new Feed(() => Promise.resolve(now), failOnError);
  const channel = (await feed.watch('t', ADMIN))!;
  assert.deepEqual(dataOf(channel.since(0)), { topic: 't', content: now });
  assert.equal(channel.since(1), null);
  await feed.make();
  assert.equal(channel.since(1), null);
  now = answer(['a', '1'], ['b', '2'], ['c', '1']);
  await feed.make();
  assert.deepEqual(dataOf(channel.since(1)), { topic: 't', count: 3, rows: [[1, ['b', '2']]] });
  now = answer(['a', '1'], ['b', '2'], ['c', '1'], ['d', '1']);
  await feed.make();
  assert.deepEqual(dataOf(channel.since(2)), { topic: 't', count: 4, rows: [[3, ['d', '1']]] });
  now = answer(['a', '1']);
  await feed.make();
  assert.deepEqual(dataOf(channel.since(3)), { topic: 't', count: 1, rows: [] });
  // a version was missed
  assert.deepEqual(dataOf(channel.since(2)), { topic: 't', content: now });
});

test('a topic that can’t be made stays as it was', async () => {
  let fails = false;
  const errors: string[] = [];
  const feed = new Feed(
    () => (fails ? Promise.reject(new Error('no')) : Promise.resolve(answer(['a']))),
    (error) => errors.push(error.message),
  );
  const channel = (await feed.watch('t', ADMIN))!;
  fails = true;
  await feed.make();
  assert.deepEqual(errors, ['no']);
  assert.equal(channel.since(1), null);
});

test('topics are bounded in number, and those of one audience do not take the room of others', async () => {
  const feed = new Feed(() => Promise.resolve(answer()), failOnError);
  const opened = async (audience: Audience): Promise<number> => {
    let count = 0;
    while ((await feed.watch(`t${count}`, audience)) !== null) count++;
    return count;
  };
  assert.equal(await opened({ user: 'ops', rights: 'tenant' }), 16);
  assert.equal(await opened(ADMIN), 64);
  assert.equal(await opened({ user: 'watch', rights: 'watcher' }), 64);
  let all = 144;
  for (let i = 0; i < 20; i++) all += await opened({ user: `ops${i}`, rights: 'tenant' });
  assert.equal(all, 256);
});

test('a browser that does not read gets one event, and later the present state, however much has happened', async () => {
  let at = 0;
  const feed = new Feed(() => Promise.resolve(answer([String(at)], ['same'], ['same'])), failOnError);
  const channels = [(await feed.watch('t', ADMIN))!];
  const written: string[] = [];
  let take = Promise.withResolvers<void>();
  const stream = {
    write: async (text: string) => {
      written.push(text);
      await take.promise;
    },
  } as unknown as SSEStreamingApi;
  const ending = new AbortController();
  const done = writeLive(stream, ending.signal, { feed, channels, mayGoOn: () => true });
  for (at = 1; at < 50; at++) await feed.make();
  assert.equal(written.length, 1);
  take.resolve();
  take = Promise.withResolvers();
  await nextTurn();
  await feed.make();
  await nextTurn();
  assert.equal(written.length, 2);
  assert.deepEqual((dataOf(written[1]!) as { content: Answer }).content.rows[0], ['49']);
  take.resolve();
  ending.abort();
  await done;
});

test('the lines around a failure, at the edges of a file too', () => {
  const text = Array.from({ length: 9 }, (_, i) => `line ${i + 1}`).join('\n');
  const files = [{ path: '/rules/acme/lib/a.ts', sha256: '', text }];
  const at = (file: string, line: number): unknown => {
    const found = excerptOf(files, { file, line, column: 1 });
    return found === null ? null : [found.from, found.lines.length];
  };
  assert.deepEqual(at('lib/a.ts', 5), [2, 7]);
  assert.deepEqual(at('lib/a.ts', 1), [1, 4]);
  assert.deepEqual(at('../acme/lib/a.ts', 9), [6, 4]);
  assert.equal(at('lib/a.ts', 10), null);
  assert.equal(at('lib/a.ts', 0), null);
  assert.equal(at('b.ts', 1), null);
});
