/** A client that sends any messages in any pieces gets the same answers through the proxy as from PostgreSQL itself. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { FlakyRelay } from '../support/flaky.ts';
import * as raw from '../support/raw.ts';
import { until } from '../support/wait.ts';
import { errorFields, RawClient, rowValues, type Frame } from '../support/raw.ts';

const cluster = await Cluster.start({ after }, { settings: { log_statement: 'none' } });
for (const name of ['direct', 'proxied']) {
  await cluster.sql(`CREATE DATABASE ${name}`);
  const client = await RawClient.login(cluster, { user: 'postgres', database: name });
  await client.query('CREATE TABLE t (n int CHECK (n < 100))');
  client.destroy();
}
/** A rule that every query waits for, and that gives some of them another form with the same meaning. */
const REWRITE = `
export function rewrite_query(username: string, query: string): string | null {
  return /^select \\d/.test(query) ? '/* judged */ ' + query : null;
}
`;
const relay = await FlakyRelay.start({ after }, cluster);
const bouncer = await Bouncer.start(
  { after },
  {
    databases: {
      proxied: `host=127.0.0.1 port=${relay.port} dbname=proxied`,
      judged: `host=127.0.0.1 port=${relay.port} dbname=proxied user_functions_allow=function_call`,
    },
    files: { 'user-functions/judged/rewrite_query.ts': REWRITE },
    settings: { pool_mode: 'transaction', default_pool_size: 1, max_prepared_statements: 2 },
  },
);

/** OID of pi() */
const PI = 1610;

/** Without arguments, result as text. */
function functionCall(oid: number): Buffer {
  const payload = Buffer.alloc(10);
  payload.writeInt32BE(oid);
  return raw.message('F', payload);
}

const name = fc.constantFrom('a', 'b', 'c');
const sql = fc.constantFrom(
  'select 1',
  'select 1/0',
  'no sql',
  '',
  'insert into t values (1)',
  'begin',
  'commit',
  'rollback',
  'select generate_series(1, 50)',
  'discard all',
  'deallocate all',
);
const many = fc.constantFrom(
  'select 1; select 2',
  'select 1; select 1/0; select 2',
  'begin; select 1',
  'copy (select generate_series(1, 3)) to stdout',
  'select repeat($$x$$, 100000)',
);
const data = fc.array(fc.constantFrom('1\n', '2\n', 'no number\n', '200\n', '\\.\n', '1'), { maxLength: 3 });
const ending = fc.constantFrom(raw.copyDone(), raw.copyFail('no more'));

const message = fc.oneof(
  { weight: 3, arbitrary: fc.oneof(sql, many).map((text) => [raw.query(text)]) },
  { weight: 2, arbitrary: sql.map((text) => [raw.parse('', text)]) },
  { weight: 3, arbitrary: fc.tuple(name, sql).map(([n, text]) => [raw.close('S', n), raw.parse(n, text)]) },
  { weight: 3, arbitrary: fc.constant([raw.bind()]) },
  { weight: 3, arbitrary: name.map((n) => [raw.bind(n)]) },
  { weight: 1, arbitrary: name.map((n) => [raw.bind(n, ['too many'])]) },
  { weight: 1, arbitrary: fc.constant([raw.describe('P')]) },
  { weight: 1, arbitrary: fc.constant([raw.describe('S')]) },
  { weight: 1, arbitrary: name.map((n) => [raw.describe('S', n)]) },
  { weight: 4, arbitrary: fc.constantFrom(0, 1).map((rows) => [raw.execute('', rows)]) },
  { weight: 1, arbitrary: name.map((n) => [raw.close('S', n)]) },
  { weight: 1, arbitrary: fc.constant([raw.close('P')]) },
  { weight: 1, arbitrary: fc.constant([raw.flush()]) },
  { weight: 4, arbitrary: fc.constant([raw.sync()]) },
  { weight: 1, arbitrary: fc.constantFrom(PI, 0).map((oid) => [functionCall(oid)]) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(data, ending)
      .map(([rows, end]) => [raw.query('copy t from stdin'), ...rows.map((row) => raw.copyData(row)), end]),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(data, ending, fc.boolean()).map(([rows, end, early]) => [
      raw.parse('', 'copy t from stdin'),
      raw.bind(),
      raw.execute(),
      ...(early ? [raw.sync()] : []),
      ...rows.map((row) => raw.copyData(row)),
      end,
      raw.sync(),
      // otherwise a later Bind would begin the COPY again, and the messages after it would not be CopyData
      raw.close('S'),
      raw.sync(),
    ]),
  },
);

const BEFORE = raw.query('truncate t');
const AFTER = Buffer.concat([
  raw.sync(),
  raw.query('rollback'),
  raw.query("select 'the end', count(*) from t"),
]);

/** The connection ended in the middle of a server's message, where an error can't be sent. */
const CUT = 'cut';

/** The parts of an answer that a client can distinguish. */
function shown(frame: Frame): string {
  if (frame.type !== 'E' && frame.type !== 'N') return `${frame.type} ${frame.payload.toString('latin1')}`;
  const { S: severity, C: code, M: text } = errorFields(frame);
  return `${frame.type} ${severity} ${code} ${text?.replace(/statement "\w+"/, 'statement NAME')}`;
}

async function answers(client: RawClient, bytes: Buffer, cuts: readonly number[]): Promise<string[]> {
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    const end = Math.min(cut, bytes.length);
    if (end <= at) continue;
    client.socket.write(bytes.subarray(at, end));
    at = end;
    await turn();
  }
  const frames: Frame[] = [];
  for (let isLast = false; ;) {
    let frame: Frame;
    try {
      frame = await client.readFrame();
    } catch (error) {
      if (client.closed) return [...frames.map(shown), CUT];
      throw error;
    }
    frames.push(frame);
    if (frame.type === 'D' && rowValues(frame)[0] === 'the end') isLast = true;
    if (frame.type === 'Z' && isLast) break;
    if (frame.type === 'E' && errorFields(frame)['S'] === 'FATAL') break;
  }
  return frames.map(shown);
}

/** PostgreSQL's error for a statement whose Parse failed, or was skipped after an error. */
const UNMADE = 'E ERROR 26000 prepared statement NAME does not exist';

/** Index of the answer where the proxy has prepared a statement whose Parse had failed, and PostgreSQL has not; -1: none. */
function madeUp(actual: readonly string[], expected: readonly string[]): number {
  const at = expected.findIndex((frame, i) => frame !== actual[i]);
  const hasFailed = expected.slice(0, at).some((frame) => frame.startsWith('E ERROR'));
  return at >= 0 && expected[at] === UNMADE && hasFailed ? at : -1;
}

test('random messages in random pieces get the answers that PostgreSQL itself gives', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(message, { minLength: 1, maxLength: 14 }),
      fc.array(fc.nat({ max: 600 }), { maxLength: 6 }),
      fc.constantFrom(1, 3, 50, 100_000),
      fc.constantFrom('proxied', 'judged'),
      async (messages, cuts, sliceBytes, database) => {
        const bytes = Buffer.concat([BEFORE, ...messages.flat(), AFTER]);
        relay.toClient.sliceBytes = sliceBytes;
        const [direct, proxied] = await Promise.all([
          RawClient.login(cluster, { user: 'postgres', database: 'direct' }),
          RawClient.login(bouncer, { user: 'postgres', database }),
        ]);
        try {
          const sorted = cuts.toSorted((a, b) => a - b);
          const expected = await answers(direct, bytes, []);
          const actual = await answers(proxied, bytes, sorted);
          const from = madeUp(actual, expected);
          if (from >= 0) {
            actual.length = expected.length = from;
          } else if (actual.at(-1) === CUT) {
            assert.match(expected[actual.length - 1] ?? '', /^E ERROR /);
            actual.pop();
            expected.length = actual.length;
          }
          assert.deepEqual(actual, expected);
        } finally {
          direct.destroy();
          proxied.socket.end(raw.terminate());
        }
      },
    ),
    { numRuns: Number(process.env['RUNS'] ?? 100), interruptAfterTimeLimit: 15_000 },
  );
  // the proxy has not closed a server for being out of step
  assert.doesNotMatch(bouncer.log(), /out of step|internal error/);
});

test('a client that leaves at any point in its messages leaves nothing for the next one', async () => {
  relay.toClient.sliceBytes = 100_000;
  // a run that was interrupted by the time limit continues in the background
  await until('nobody to be here', async () =>
    (await bouncer.admin('SHOW CLIENTS')).every(({ database }) => database === 'pgbouncer'),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(message, { minLength: 1, maxLength: 8 }),
      fc.nat(),
      fc.constantFrom('reset', 'end', 'terminate'),
      async (messages, cut, way) => {
        const bytes = Buffer.concat(messages.flat());
        const leaving = await RawClient.login(bouncer, { user: 'postgres', database: 'proxied' });
        leaving.socket.write(bytes.subarray(0, cut % (bytes.length + 1)));
        await turn();
        if (way === 'reset') leaving.reset();
        else {
          if (way === 'terminate') leaving.send(raw.terminate());
          leaving.end();
        }
        const next = await RawClient.login(bouncer, { user: 'postgres', database: 'proxied' });
        const frames = await next.query("select 'mine', now() = statement_timestamp()");
        assert.deepEqual(frames.map((frame) => frame.type).join(''), 'TDCZ');
        assert.deepEqual(rowValues(frames[1]!), ['mine', 't']);
        next.socket.end(raw.terminate());
        leaving.destroy();
      },
    ),
    { numRuns: Number(process.env['RUNS'] ?? 100), interruptAfterTimeLimit: 15_000 },
  );
  assert.doesNotMatch(bouncer.log(), /out of step|internal error/);
});
