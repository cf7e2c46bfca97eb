/**
 * What a remembered decision costs in processor time, without a network: from the bytes of a query to its decision.
 * `npm run bench:recall`
 */
import { isUtf8 } from 'node:buffer';
import { Memory, MemoryRoom } from '../src/functions/decide/memory.ts';
import type { ContextValue, Question } from '../src/functions/decide/question.ts';
import { GO } from '../src/functions/decide/policy.ts';
import { lexingOf } from '../src/sql/lexing.ts';

const MB = 1024 * 1024;
const ROUNDS = 2_000_000;

const nodes = [
  { name: 'dev@10.0.0.1:5432', role: 'writer', state: 'serving', lag_bytes: null, lag_seconds: null },
  { name: 'dev@10.0.0.2:5432', role: 'reader', state: 'ready', lag_bytes: 0, lag_seconds: 0 },
] as const;

class BenchQuestion implements Question {
  username = 'app';
  query = '';
  inTransaction = false;
  isBytes = false;
  lexing = lexingOf('on', 'UTF8');
  routeOnly = false;
  entry = 'dev';
  clientId = 1;
  part(field: string): ContextValue {
    return field === 'nodes' ? nodes : 'dev';
  }
  call(): never {
    throw new Error('it is never asked');
  }
}

function measure(what: string, work: (i: number) => void): void {
  for (let i = 0; i < ROUNDS / 10; i++) work(-1 - i);
  const begun = process.cpuUsage();
  for (let i = 0; i < ROUNDS; i++) work(i);
  const { user, system } = process.cpuUsage(begun);
  const ns = ((user + system) * 1000) / ROUNDS;
  console.log(`${what.padEnd(64)} ${ns.toFixed(0).padStart(6)} ns`);
}

function bench(name: string, texts: readonly string[], basis: number): void {
  const memory = new Memory(new MemoryRoom(64 * MB), () => 64 * MB);
  const context = { database: 'dev', login_database: 'dev', databases: ['dev'], nodes };
  for (const query of texts)
    memory.keep({ username: 'app', query, inTransaction: false, entry: 'dev', context }, basis, GO);
  const buffers = texts.map((text) => Buffer.from(text));
  const question = new BenchQuestion();
  let found = 0;
  measure(`${name}: decode`, (i) => {
    const bytes = buffers[Math.abs(i) % buffers.length]!;
    question.query = bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1');
  });
  measure(`${name}: decode and find`, (i) => {
    const bytes = buffers[Math.abs(i) % buffers.length]!;
    question.query = bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1');
    if (memory.find(question) !== null) found++;
  });
  if (found === 0) throw new Error('nothing was found');
}

/** Each query is a new one, and the memory is full. */
function benchMisses(): void {
  const memory = new Memory(new MemoryRoom(64 * MB), () => MB);
  const context = { database: 'dev', login_database: 'dev', databases: ['dev'], nodes };
  const question = new BenchQuestion();
  measure('a miss: look in vain, keep the decision, forget another', (i) => {
    question.query = short(i);
    if (memory.find(question) !== null) throw new Error('it was found');
    memory.keep(
      { username: 'app', query: question.query, inTransaction: false, entry: 'dev', context },
      0,
      GO,
    );
  });
}

const short = (i: number): string => `SELECT abalance FROM pgbench_accounts WHERE aid = ${i};`;
const long = (i: number): string => `${short(i)} -- ${'x'.repeat(2_000)}`;
const NODES = 8;
bench('one text of 60 bytes', [short(1)], 0);
bench('one text of 60 bytes, reads ctx.nodes', [short(1)], NODES);
bench(
  '10,000 texts of 60 bytes',
  Array.from({ length: 10_000 }, (_, i) => short(i)),
  0,
);
bench('one text of 2 KB', [long(1)], 0);
bench(
  '1,000 texts of 2 KB',
  Array.from({ length: 1_000 }, (_, i) => long(i)),
  0,
);
benchMisses();
