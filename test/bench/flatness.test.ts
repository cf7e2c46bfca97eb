/** A soak tells growth from noise. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { growthOf, isFlat, plotted, tableOf, type Series } from '../../bench/flatness.ts';

/** The same numbers from 0 to 1 in each run. */
function noise(): () => number {
  let state = 7;
  return () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
}

const series = (values: number[]): Series => ({ name: 'x', values, part: 0.1, atLeast: 1 });

test('noise and bursts are no growth, and growth in noise is found', () => {
  const random = noise();
  const flat = Array.from({ length: 40 }, () => 100 + 20 * random());
  assert.equal(isFlat(series(flat)), true);
  assert.equal(isFlat(series(flat.map((value, i) => (i % 4 === 0 || i > 34 ? value * 20 : value)))), true);
  const growing = flat.map((value, i) => value + i);
  assert.equal(isFlat(series(growing)), false);
  assert.ok(growthOf(growing) > 25 && growthOf(growing) < 55, String(growthOf(growing)));
  assert.equal(isFlat(series(flat.map((value, i) => value - i))), true);
});

test('steps, and series that are short or constant', () => {
  assert.equal(growthOf([]), 0);
  assert.equal(growthOf([5]), 0);
  assert.equal(growthOf(Array.from({ length: 30 }, () => 3)), 0);
  assert.equal(growthOf(Array.from({ length: 40 }, (_, i) => i)), 35);
});

test('a plot has a bar for each value, or for some neighbours together', () => {
  assert.equal(plotted([0, 4, 8]), '▁▅█');
  assert.equal(plotted([0, 0]), '▁▁');
  assert.equal(plotted(Array.from({ length: 400 }, (_, i) => i)).length, 40);
  assert.match(
    tableOf([series([1, 2, 3])]),
    /^\| measure[^]+\| x \| ▃▆█ \| 1\.0 \| 2\.0 \| 3\.0 \| 0\.0 \| 1\.0 \|$/,
  );
});
