/** Families of metrics: how many series they have, and how they are printed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { print, type Format } from '../../src/metrics/exposition.ts';
import { familiesOf, fixed, type Column, type Family } from '../../src/metrics/family.ts';
import { histogramFamily } from '../../src/metrics/times.ts';
import { Histogram } from '../../src/telemetry/histogram.ts';

async function printed(families: readonly Family[], prefix: string, format: Format): Promise<string> {
  return Buffer.concat(await print(families, prefix, format)).toString();
}

interface Row {
  readonly name: string;
  readonly count: number;
}

const COLUMNS: readonly Column<Row>[] = [
  { name: 'things_total', help: 'Things', type: 'counter', of: ({ count }) => count },
  { name: 'largest', help: 'Largest', type: 'gauge', of: ({ count }) => count, merge: 'max' },
];

const ROWS: readonly Row[] = [1, 2, 3, 4].map((count) => ({ name: `db${count}`, count }));

test('rows beyond the limit are merged under "other": added up, or the largest', () => {
  const [things, largest] = familiesOf(ROWS, ({ name }) => ({ name }), COLUMNS, 2);
  const shown = (family = things): unknown[] =>
    family!.samples.map(({ labels, value }) => [labels['name'], value]);
  assert.deepEqual(shown(things), [
    ['db1', 1],
    ['db2', 2],
    ['other', 7],
  ]);
  assert.deepEqual(shown(largest), [
    ['db1', 1],
    ['db2', 2],
    ['other', 4],
  ]);
});

test('rows with the same labels are one series', () => {
  const rows = [...ROWS, { name: 'db1', count: 10 }];
  const [things, largest] = familiesOf(rows, ({ name }) => ({ name }), COLUMNS, 4);
  assert.deepEqual(
    [things, largest].map((family) => [family!.samples.length, family!.samples[0]!.value]),
    [
      [4, 11],
      [4, 10],
    ],
  );
});

test('a row that is called "other" is added to the rest', () => {
  const rows = [{ name: 'other', count: 5 }, ...ROWS];
  const shown = (most: number): unknown[] => {
    const [things] = familiesOf(rows, ({ name }) => ({ name }), COLUMNS, most);
    return things!.samples.map(({ labels, value }) => [labels['name'], value]);
  };
  assert.deepEqual(shown(2), [
    ['db1', 1],
    ['other', 14],
  ]);
  assert.deepEqual(shown(5)[0], ['other', 5]);
});

test('an unknown value among the rest is left out', () => {
  const rows = [1, 2, NaN, 3].map((count, at) => ({ name: `db${at}`, count }));
  const families = [...familiesOf(rows, ({ name }) => ({ name }), COLUMNS, 1)];
  assert.deepEqual(
    families.map(({ samples }) => samples.at(-1)!.value),
    [5, 3],
  );
});

test('rows up to the limit have series of their own', () => {
  const [things] = familiesOf(ROWS, ({ name }) => ({ name }), COLUMNS, 4);
  assert.equal(things!.samples.length, 4);
});

test('a histogram counts a time in its class and in all larger ones', async () => {
  const histogram = new Histogram();
  for (const us of [1, 100, 101, 10_000_000, 10_000_001]) histogram.note(us);
  const family = histogramFamily(
    'x_seconds',
    'X',
    [{ labels: { db: 'a' }, histogram: histogram.observe() }],
    100,
  );
  const text = await printed([family], 'p', 'prometheus');
  const lines = text.split('\n');
  assert.equal(lines[1], '# TYPE p_x_seconds histogram');
  assert.equal(lines[2], 'p_x_seconds_bucket{le="0.0001",db="a"} 2');
  assert.equal(lines[3], 'p_x_seconds_bucket{le="0.00025",db="a"} 3');
  assert.ok(lines.includes('p_x_seconds_bucket{le="10",db="a"} 4'));
  assert.ok(lines.includes('p_x_seconds_bucket{le="+Inf",db="a"} 5'));
  assert.ok(lines.includes('p_x_seconds_count{db="a"} 5'));
  assert.ok(lines.includes('p_x_seconds_sum{db="a"} 20.000203'));
});

test('histograms beyond the limit are added up under "other"', () => {
  const all = ROWS.map(({ name, count }) => {
    const histogram = new Histogram();
    for (let i = 0; i < count; i++) histogram.note(1);
    return { labels: { name }, histogram: histogram.observe() };
  });
  const family = histogramFamily('x', 'X', all, 40);
  assert.deepEqual(
    family.histograms.map(({ labels, histogram }) => [labels['name'], histogram.counts[0]]),
    [
      ['db1', 1],
      ['other', 9],
    ],
  );
});

test('names and labels are escaped, in both formats', async () => {
  const family = fixed('counter', 'errors_total', 'Errors', [[{ name: 'a"b\\c\nd' }, 1]]);
  assert.equal(
    await printed([family], '', 'prometheus'),
    '# HELP errors_total Errors\n# TYPE errors_total counter\nerrors_total{name="a\\"b\\\\c\\nd"} 1\n',
  );
  assert.equal(
    await printed([family], '', 'openmetrics'),
    '# HELP errors Errors\n# TYPE errors counter\nerrors_total{name="a\\"b\\\\c\\nd"} 1\n# EOF\n',
  );
});

test('a large family is printed in slices, with one head', async () => {
  const many = Array.from({ length: 2_500 }, (_, at): readonly [{ at: string }, number] => [
    { at: String(at) },
    at,
  ]);
  const lines = (await printed([fixed('gauge', 'many', 'Many', many)], 'p', 'prometheus'))
    .trimEnd()
    .split('\n');
  assert.equal(lines.length, 2_502);
  assert.equal(lines.filter((line) => line.startsWith('#')).length, 2);
  assert.equal(lines.at(-1), 'p_many{at="2499"} 2499');
});
