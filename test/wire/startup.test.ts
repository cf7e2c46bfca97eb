/** Start-up packets are read the same wherever they are cut, and malformed ones are reported. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cancelRequest, startupMessage, SSL_REQUEST } from '../../src/wire/messages.ts';
import { parseOptions, parseStartup } from '../../src/wire/startup.ts';

const text = fc.string({ minLength: 1, maxLength: 20 }).filter((each) => !each.includes('\0'));
const parameters = fc.uniqueArray(fc.tuple(text, text), { selector: ([name]) => name, maxLength: 8 });

test('no bytes make the parser throw, and no packet is longer than the given bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const found = parseStartup(Buffer.from(bytes));
      if (found !== null) assert.ok(found.length <= bytes.length);
    }),
    { numRuns: 2000 },
  );
});

test('random bytes after a valid length and a known code do not make it throw either', () => {
  const code = fc.constantFrom(0x20000, 0x30000, 0x30002, 0x40000, 80877102, 80877103, 80877104);
  fc.assert(
    fc.property(code, fc.uint8Array({ maxLength: 400 }), (which, body) => {
      const head = Buffer.alloc(8);
      head.writeInt32BE(8 + body.length, 0);
      head.writeInt32BE(which, 4);
      assert.equal(parseStartup(Buffer.concat([head, body]))?.length, 8 + body.length);
    }),
    { numRuns: 2000 },
  );
});

test('a start-up packet is read once it is complete, and never before', () => {
  fc.assert(
    fc.property(parameters, fc.constantFrom(0, 1, 2, 9999), fc.nat(), (pairs, minor, cut) => {
      const bytes = startupMessage(0x30000 | minor, pairs);
      const whole = parseStartup(Buffer.concat([bytes, Buffer.from('behind')]));
      assert.deepEqual(whole, {
        packet: { kind: 'startup', minor, parameters: new Map(pairs) },
        length: bytes.length,
      });
      assert.equal(parseStartup(bytes.subarray(0, cut % bytes.length)), null);
    }),
  );
});

test('a cancel request is read with a key of 4 and of up to 256 bytes', () => {
  for (const size of [4, 32, 256]) {
    const key = Buffer.alloc(size, 7);
    assert.deepEqual(parseStartup(cancelRequest(5, key))?.packet, { kind: 'cancel', pid: 5, key });
  }
  for (const size of [0, 3, 257])
    assert.equal(parseStartup(cancelRequest(5, Buffer.alloc(size)))?.packet.kind, 'bad');
});

test('an SSL request of another length, a length out of range and a packet without end are bad', () => {
  assert.equal(parseStartup(SSL_REQUEST)?.packet.kind, 'ssl');
  const long = Buffer.concat([SSL_REQUEST, Buffer.alloc(4)]);
  long.writeInt32BE(12, 0);
  assert.equal(parseStartup(long)?.packet.kind, 'bad');
  for (const length of [0, 7, -1, 10_001, 2 ** 31 - 1]) {
    const bytes = Buffer.alloc(8);
    bytes.writeInt32BE(length, 0);
    assert.equal(parseStartup(bytes)?.packet.kind, 'bad', `length ${length}`);
  }
  const open = startupMessage(0x30000, [['user', 'x']]).subarray(0, -1);
  const cut = Buffer.from(open);
  cut.writeInt32BE(cut.length, 0);
  assert.equal(parseStartup(cut)?.packet.kind, 'bad');
});

test('options: pgbouncer’s three forms, escapes, and nothing else', () => {
  const settings = (options: string): unknown => {
    const found = parseOptions(options);
    return found === null ? null : Object.fromEntries(found);
  };
  assert.deepEqual(settings('-c a=b -cc=d --e-f=g'), { a: 'b', c: 'd', e_f: 'g' });
  assert.deepEqual(settings('  -c search_path=a,\\ b '), { search_path: 'a, b' });
  assert.deepEqual(settings('-c a=x=y'), { a: 'x=y' });
  assert.deepEqual(settings(''), {});
  for (const wrong of ['-c', '-c a', '-d 1', 'a=b', '-c =b', '--', '-'])
    assert.equal(settings(wrong), null, wrong);
});

test('no options make the parser throw', () => {
  fc.assert(
    fc.property(fc.string(), (options) => {
      parseOptions(options);
    }),
  );
});
