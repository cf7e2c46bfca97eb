/**
 * Every function that takes foreign text or a foreign list does twice the work for twice the length. The work is counted, with
 * up to 1 MB or 20,000 elements. A new parser of foreign input gets a line here.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseStatement } from '../../src/admin/grammar.ts';
import { dataRow } from '../../src/admin/result.ts';
import { ScramServer } from '../../src/auth/scram-server.ts';
import { isPrintable, parseAttributes } from '../../src/auth/scram.ts';
import { parseSecret } from '../../src/auth/secrets.ts';
import { printable as oneLine } from '../../src/functions/build/places.ts';
import { deallocatedName } from '../../src/sql/deallocate.ts';
import { fingerprint, masked } from '../../src/sql/fingerprint.ts';
import { lexingOf, UNKNOWN_LEXING } from '../../src/sql/lexing.ts';
import { restored } from '../../src/sql/restoring.ts';
import { shapeOf } from '../../src/sql/shape.ts';
import { isBegin, isRepeatable } from '../../src/sql/kind.ts';
import { isRollback } from '../../src/sql/rollback.ts';
import { Fifo } from '../../src/pool/fifo.ts';
import { logIn } from '../../src/pool/login.ts';
import type { Server, ServerUser } from '../../src/pool/server.ts';
import {
  cycleEnd,
  cyclesOf,
  isUncommitted,
  uncommittedBytes,
  parsedNames,
  resendable,
  isForgettable,
} from '../../src/session/state/resendable.ts';
import { StatementRegistry } from '../../src/session/state/shared.ts';
import { loggable, printable } from '../../src/telemetry/printable.ts';
import {
  errorResponse,
  message,
  parseErrorFields,
  parseParameterStatus,
  resultShape,
} from '../../src/wire/messages.ts';
import { parseOptions, parseStartup } from '../../src/wire/startup.ts';
import { startup } from '../support/raw.ts';
import { workOf } from '../support/work.ts';

/** Parts that make some scanner go back: openings without an end, beginnings of an end, text that is skipped. */
const PARTS = [
  ...[' ', '\n', 'x', '0', ';', '*', '/', '-', '$', '"', "'", '\\', '(', ',', '=', '\u0001', '\u202e', 'é'],
  ...['/*', '/*x', '*/', '--', '$a', '$a$', "''", '""', '\\ ', '-c ', 'a=', 'a=,', ' ;', '; ', '(/*', 'E\\'],
  ...['select ', 'create or replace ', 'create temp ', 'set a to ', 'show a ', "set a = ''", 'rollback '],
];

const STATEMENT_STARTS = [
  '',
  'rollback ',
  'deallocate ',
  'select ',
  'set a to ',
  "set a = '",
  '"',
  'show ',
  '/*',
  "'",
  '$a$',
];

/** Texts of so many bytes. */
function* texts(start = ''): Generator<(size: number) => string> {
  for (const part of PARTS)
    for (const end of ['', '\u0002'])
      yield (size) => start + part.repeat(Math.ceil(size / part.length)) + end;
}

const messages = (type: string, body: string) => (size: number) => {
  const one = message(type.charCodeAt(0), Buffer.from(body));
  return Buffer.alloc(Math.ceil(size / one.length) * one.length, one);
};

const ON = lexingOf('on', 'UTF8');

/** functions by name */
const TEXT: Record<string, (text: string) => unknown> = {
  parseStatement,
  parseOptions,
  parseAttributes,
  isPrintable,
  parseSecret,
  fingerprint,
  masked,
  shapeOf: (text) => shapeOf(text, ON),
  'shapeOf: settings not known': (text) => shapeOf(text, UNKNOWN_LEXING),
  'shapeOf: wide characters': (text) => shapeOf(text, lexingOf('on', 'GBK')),
  'restored: a text': (text) => restored(text, shapeOf(`select ${'1,'.repeat(100)}`, ON)!, 1 << 20),
  'restored: its own shape': (text) => {
    const shape = shapeOf(text, ON)!;
    return restored(`${shape.text} `, shape, 1 << 22);
  },
  oneLine,
  printable,
  loggable: (text) => loggable(text, 1 << 20),
  isBegin,
  isRepeatable,
  isRollback,
  deallocatedName,
  dataRow: (text) => dataRow([text, text]),
  errorResponse: (text) => errorResponse({ severity: 'ERROR', code: '00000', message: text, detail: text }),
  'ScramServer.first': (text) => {
    const server = new ScramServer({
      user: 'u',
      secret: null,
      iterations: 1,
      endPointHash: null,
      saltKey: Buffer.alloc(32),
    });
    try {
      return server.first('SCRAM-SHA-256', `n,,${text}`);
    } catch {
      return null;
    }
  },
};

const READS_STATEMENTS = new Set([
  'shapeOf',
  'restored: its own shape',
  'parseStatement',
  'isRepeatable',
  'isBegin',
  'isRollback',
  'deallocatedName',
]);

const noText = (): null => null;
const BYTES: Record<string, [(bytes: Buffer) => unknown, (size: number) => Buffer]> = {
  'parseStartup: a packet of any length': [parseStartup, (size) => Buffer.alloc(size, 'user\0')],
  'parseStartup: parameters': [
    parseStartup,
    () => startup(Object.fromEntries([...Array(900).keys()].map((i) => [`p${i}`, 'x']))),
  ],
  'parseErrorFields: short fields': [parseErrorFields, (size) => Buffer.alloc(size, 'Mx\0')],
  'parseErrorFields: a long field': [parseErrorFields, (size) => Buffer.alloc(size, 'M')],
  'resultShape: zero bytes': [resultShape, (size) => Buffer.alloc(size)],
  'resultShape: no zero byte': [resultShape, (size) => Buffer.alloc(size, 'a')],
  parseParameterStatus: [parseParameterStatus, (size) => Buffer.alloc(size, 'a')],
  'parsedNames: Parse': [parsedNames, messages('P', 'a\0select 1\0\0\0')],
  'resendable: Parse': [(bytes) => resendable(bytes, noText), messages('P', '\0select 1\0\0\0')],
  'resendable: Bind': [(bytes) => resendable(bytes, noText), messages('B', '\0a\0\0\0\0\0\0\0')],
  'resendable: Query': [(bytes) => resendable(bytes, noText), messages('Q', 'select 1\0')],
  'resendable: Sync': [(bytes) => resendable(bytes, noText), messages('S', '')],
  'resendable: Describe': [(bytes) => resendable(bytes, noText), messages('D', 'Sa\0')],
  'isUncommitted: Parse': [(bytes) => isUncommitted(bytes, noText), messages('P', '\0select 1\0\0\0')],
  'isUncommitted: Query': [(bytes) => isUncommitted(bytes, noText), messages('Q', 'select 1\0')],
  'uncommittedBytes: Query': [
    (bytes) => uncommittedBytes(bytes, noText, false),
    messages('Q', 'set a = 1\0'),
  ],
  'cycleEnd: Parse': [cycleEnd, messages('P', '\0select 1\0\0\0')],
  'cyclesOf: Sync': [cyclesOf, messages('S', '')],
  'cyclesOf: Query': [cyclesOf, messages('Q', 'select 1\0')],
  'isForgettable: CommandComplete': [(bytes) => isForgettable(bytes, true), messages('C', 'BEGIN\0')],
  'isForgettable: DataRow': [(bytes) => isForgettable(bytes, false), messages('D', '\0\0')],
};

const LISTS: Record<string, (count: number) => void> = {
  'a queue: first in, first out': (count) => {
    const queue = new Fifo<object>();
    for (let i = 0; i < count; i++) queue.add({});
    while (queue.first !== undefined) queue.delete(queue.first);
  },
  'a queue: last in, first out': (count) => {
    const queue = new Fifo<object>();
    const items = Array.from({ length: count }, () => ({}));
    for (const item of items) queue.add(item);
    for (let i = count - 1; i >= 0; i--) queue.delete(items[i]!);
  },
  'statements of one client': (count) => {
    const registry = new StatementRegistry();
    const all = Array.from({ length: count }, (_, i) => registry.acquire(Buffer.from(`select ${i}\0\0\0`)));
    for (const each of all) registry.release(each);
  },
  'a login answer that comes byte by byte': (count) => {
    let user: ServerUser | null = null;
    const attach = (attached: ServerUser): void => {
      user = attached;
    };
    const server = { attach, write: () => true } as unknown as Server;
    logIn(server, { receive: () => null } as never, []).catch(() => {});
    const bytes = Buffer.alloc(count);
    bytes.write('E');
    bytes.writeInt32BE(count + 100, 1);
    for (let i = 0; i < count; i++) user!.onServerBytes(server, bytes.subarray(i, i + 1));
  },
};

/** Allows a little more than twice the work, for memory that grows in steps. */
function assertLinear(what: string, one: number, two: number): void {
  assert.ok(two <= 2.5 * one + 5_000, `${what}: ${one} steps, and ${two} for twice as much`);
}

const SIZE = 512 * 1024;

test('every scanner of text is linear', () => {
  for (const [name, scan] of Object.entries(TEXT)) {
    const starts = READS_STATEMENTS.has(name) ? STATEMENT_STARTS : [''];
    // short ones first, so that a quadratic function fails and does not hang
    const sizes = READS_STATEMENTS.has(name) ? [500, 4_000] : [2_000, 16_000];
    for (const start of starts) {
      // all inputs with one start together: a quadratic one outweighs the others by far
      const all = (size: number): number => {
        const inputs = [...texts(start)].map((text) => text(size));
        return workOf(() => {
          for (const input of inputs) scan(input);
        });
      };
      for (const size of sizes) assertLinear(`${name} of ${start}`, all(size), all(2 * size));
    }
  }
});

test('every scanner of bytes is linear', () => {
  for (const [name, [scan, make]] of Object.entries(BYTES)) {
    const [small, large] = [make(SIZE), make(2 * SIZE)];
    assertLinear(
      name,
      workOf(() => scan(small)),
      workOf(() => scan(large)),
    );
  }
});

test('lists that foreign input makes longer take constant work for each step', () => {
  for (const [name, work] of Object.entries(LISTS))
    assertLinear(
      name,
      workOf(() => work(10_000)),
      workOf(() => work(20_000)),
    );
});

test('the counter detects quadratic work', () => {
  const quadratic = (count: number): void => {
    let all = Buffer.alloc(0);
    for (let i = 0; i < count; i++) all = Buffer.concat([all, Buffer.alloc(10)]);
  };
  assert.throws(() =>
    assertLinear(
      'concat',
      workOf(() => quadratic(500)),
      workOf(() => quadratic(1000)),
    ),
  );
});
