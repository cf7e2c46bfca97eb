/** Which calls run apart from others, and for how long. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Penalties } from '../../src/functions/decide/penalties.ts';
import type { HostCall } from '../../src/functions/sandbox/call.ts';

const call = (clientId: number, query: string, as: Partial<HostCall> = {}): HostCall => ({
  username: 'u',
  query,
  inTransaction: false,
  context: { database: 'a' },
  clientId,
  address: '10.0.0.1',
  ...as,
});

test('a costly call counts against its connection and its text only', () => {
  const penalties = new Penalties();
  assert.equal(penalties.isEmpty, true);
  penalties.add(call(1, 'bad'), 0);
  assert.equal(penalties.of(call(1, 'bad'), 1), 'hard');
  assert.equal(penalties.of(call(1, 'good'), 1), 'hard');
  assert.equal(penalties.of(call(2, 'bad'), 1), 'hard');
  assert.equal(penalties.of(call(2, 'good'), 1), null);
  for (const as of [{ username: 'v' }, { context: { database: 'b' } }, { inTransaction: true }])
    assert.equal(penalties.of(call(2, 'bad', as), 1), null, JSON.stringify(as));
  penalties.clear(call(2, 'bad'));
  assert.equal(penalties.of(call(2, 'bad'), 1), null);
});

test('a penalty ends after ten seconds, and later after each further costly call', () => {
  const penalties = new Penalties();
  penalties.add(call(1, 'bad'), 0);
  assert.equal(penalties.of(call(1, 'x'), 9_999), 'hard');
  assert.equal(penalties.of(call(1, 'x'), 10_000), null);
  penalties.expire(10_000);
  penalties.add(call(1, 'worse'), 11_000);
  assert.equal(penalties.of(call(1, 'x'), 30_999), 'hard');
  for (let i = 0; i < 10; i++) penalties.add(call(1, 'worst'), 31_000);
  assert.equal(penalties.of(call(1, 'x'), 90_999), 'hard');
  assert.equal(penalties.of(call(1, 'x'), 91_000), null);
  penalties.expire(200_000);
  assert.equal(penalties.isEmpty, true);
});

test('four connections of one user from one address make those that follow suspicious', () => {
  const penalties = new Penalties();
  for (let i = 0; i < 3; i++) penalties.add(call(i, `bad ${i}`), 0);
  assert.equal(penalties.of(call(9, 'x'), 1), null);
  penalties.add(call(3, 'bad 3'), 0);
  assert.equal(penalties.of(call(9, 'x'), 1), 'soft');
  assert.equal(penalties.of(call(9, 'x', { address: '10.0.0.2' }), 1), null);
  assert.equal(penalties.of(call(9, 'x', { username: 'v' }), 1), null);
  assert.equal(penalties.of(call(9, 'x'), 10_000), null);
});

test('memory is bounded however many penalties there are, and the newest are kept', () => {
  const penalties = new Penalties();
  const count = 10_000;
  for (let i = 0; i < count; i++) penalties.add(call(i, `bad ${i} ${'x'.repeat(10_000)}`), 0);
  const known = Array.from({ length: count }, (_, i) =>
    penalties.of(call(i, 'x', { address: '10.0.0.2' }), 1),
  );
  assert.ok(known.filter((penalty) => penalty === 'hard').length <= 256);
  assert.equal(known.at(-1), 'hard');
});

test('long texts are distinguished by their length and their ends', () => {
  const penalties = new Penalties();
  const long = 'x'.repeat(50_000);
  penalties.add(call(1, long), 0);
  assert.equal(penalties.of(call(2, long), 1), 'hard');
  assert.equal(penalties.of(call(2, `${long}y`), 1), null);
});
