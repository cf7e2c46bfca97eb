/** Single options: their values, units and ranges. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  ValueError,
  flag,
  int,
  list,
  oneOf,
  pythonModule,
  seconds,
  tlsProtocols,
} from '../../src/config/option.ts';
import { wholeSeconds } from '../../src/config/option.ts';
import { OPTIONS, OPTION_NAMES, optionOf } from '../../src/config/options.ts';

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ValueError);
    return `${error.message} | ${error.hint}`;
  }
  assert.fail('nothing was refused');
}

test('integers are read as strtol with base 0 reads them', () => {
  assert.equal(int().parse('42'), 42);
  assert.equal(int().parse('+42'), 42);
  assert.equal(int().parse('0777'), 511);
  assert.equal(int().parse('0x1F'), 31);
  assert.equal(int().parse('0'), 0);
  assert.equal(int(-5).parse('-3'), -3);
});

test('a value that is not an integer, or is out of range, is refused with a hint', () => {
  assert.equal(
    refusal(() => int().parse('10s')),
    'invalid integer: "10s" | no unit suffix',
  );
  assert.match(
    refusal(() => int().parse('')),
    /^invalid integer: ""/,
  );
  assert.match(
    refusal(() => int().parse('089')),
    /octal/,
  );
  assert.match(
    refusal(() => int().parse('1.5')),
    /^invalid integer/,
  );
  assert.equal(
    refusal(() => int(0, 65535).parse('65536')),
    '65536 is out of range | allowed: 0 to 65535',
  );
  assert.match(
    refusal(() => int().parse('99999999999')),
    /out of range/,
  );
});

test('seconds become milliseconds, with a dot and without a unit', () => {
  assert.equal(seconds().parse('120'), 120000);
  assert.equal(seconds().parse('.1'), 100);
  assert.equal(seconds().parse('1e1'), 10000);
  for (const bad of ['1s', '1,5', '', 'infinity', '0x10']) refusal(() => seconds().parse(bad));
  assert.equal(
    refusal(() => seconds().parse('-1')),
    '-1 is out of range | a time cannot be negative',
  );
  assert.equal(wholeSeconds().parse('5'), 5, 'stays seconds');
  assert.equal(wholeSeconds().show(5), '5');
});

test('seconds are shown as printf %g shows them', () => {
  const shown = (text: string): string => seconds().show(seconds().parse(text));
  assert.equal(shown('3600'), '3600');
  assert.equal(shown('.1'), '0.1');
  assert.equal(shown('0.00001'), '1e-05');
  assert.equal(shown('1000000'), '1e+06');
  assert.equal(shown('123456.7'), '123457');
});

test('switches are 0 and 1; words only where the fork or we have them', () => {
  assert.equal(flag().parse('1'), true);
  assert.equal(flag().parse('0'), false);
  assert.equal(
    refusal(() => flag().parse('yes')),
    'invalid value "yes" | write 1',
  );
  assert.equal(
    refusal(() => flag().parse('off')),
    'invalid value "off" | write 0',
  );
  assert.equal(
    refusal(() => flag().parse('true')),
    'invalid value "true" | write 1',
  );
  assert.equal(flag('accepted').parse('True'), true);
  assert.equal(flag('accepted').show(true), '1');
  assert.equal(flag('shown').show(false), 'false');
});

test('words must match exactly', () => {
  const mode = oneOf('session', 'transaction');
  assert.equal(mode.parse('session'), 'session');
  assert.equal(
    refusal(() => mode.parse('Session')),
    'invalid value "Session" | one of session, transaction',
  );
});

test('lists lose blanks and empty items; TLS protocols are checked', () => {
  assert.deepEqual(list().parse(' a, b,,c '), ['a', 'b', 'c']);
  assert.deepEqual(list().parse(''), []);
  assert.equal(tlsProtocols().parse('tlsv1.2,tlsv1.3'), 'tlsv1.2,tlsv1.3');
  assert.match(
    refusal(() => tlsProtocols().parse('tlsv1.9')),
    /invalid TLS protocol "tlsv1.9"/,
  );
});

test('a Python module is refused with the way out', () => {
  const kind = pythonModule('routing_rules_file');
  assert.equal(kind.parse('not_enabled'), 'not_enabled');
  const message = refusal(() => kind.parse('/etc/rules.py'));
  assert.match(message, /routing_rules_file/);
  assert.match(message, /docs\/porting-python-rules\.md/);
});

test('the table is in SHOW CONFIG order, and each default has the spelling of its kind', () => {
  // pgbouncer's order has one exception
  const order = (name: string): string => (name === 'pool_idle_timeout' ? 'pool_mode_' : name);
  const byName = OPTION_NAMES.toSorted((a, b) => (order(a) < order(b) ? -1 : 1));
  assert.deepEqual(OPTION_NAMES, byName);
  assert.equal(OPTION_NAMES.filter((name) => optionOf(name).origin === 'pgbouncer').length, 101);
  for (const name of OPTION_NAMES) {
    const { default: text, initial, kind, doc } = optionOf(name);
    assert.ok(doc.endsWith('.'), `${name} has no sentence of doc`);
    if (text === null) continue;
    // Octal and a bare dot are how pgbouncer writes these two.
    if (name === 'unix_socket_mode' || name === 'polling_frequency') continue;
    assert.equal(kind.show(initial as NonNullable<unknown>), text, name);
  }
  assert.equal(OPTIONS.unix_socket_mode.initial, 0o777);
  assert.equal(OPTIONS.verbose.initial, 0);
});

test('any value in range comes back from its text', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2147483647 }), (value) => {
      assert.equal(int().parse(int().show(value)), value);
      assert.equal(int().parse(`0x${value.toString(16)}`), value);
      assert.equal(int().parse(`0${value.toString(8)}`), value);
    }),
  );
});
