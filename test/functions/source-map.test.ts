/** Finding places in a bundle without decoding all of its source map. */
import assert from 'node:assert/strict';
import { SourceMap } from 'node:module';
import { test } from 'node:test';
import { build } from 'esbuild';
import { findPlace, indexMap } from '../../src/functions/build/source-map.ts';

/** Functions of all shapes, some of them over several lines. */
function sourceOf(statements: number): string {
  return Array.from({ length: statements }, (_, i) =>
    i % 3 === 0
      ? `export function f${i}(a: number): string {\n  const text = \`${i}\n\n$\{a}\`;\n  return text + a * ${i};\n}`
      : `export const v${i} = [${i}, "${'x'.repeat(i % 40)}"];`,
  ).join('\n');
}

async function mapOf(statements: number): Promise<{ json: string; lines: string[] }> {
  const result = await build({
    stdin: { contents: sourceOf(statements), loader: 'ts', sourcefile: 'rule.ts' },
    bundle: true,
    write: false,
    format: 'iife',
    globalName: 'x',
    sourcemap: 'external',
    sourcesContent: false,
    outfile: 'bundle.js',
  });
  const [map, code] = result.outputFiles;
  return { json: map!.text, lines: code!.text.split('\n') };
}

test("every place agrees with Node's own reader of source maps", async () => {
  const { json, lines } = await mapOf(400);
  const index = indexMap(json);
  const node = new SourceMap(JSON.parse(json) as ConstructorParameters<typeof SourceMap>[0]);
  let found = 0;
  for (const [line, text] of lines.entries()) {
    for (let column = 0; column < text.length; column += 3) {
      const expected = node.findEntry(line, column);
      const place = findPlace(index, line, column);
      if (!('originalSource' in expected)) continue;
      found++;
      assert.deepEqual(
        place && [place.source, place.line, place.column],
        [expected.originalSource, expected.originalLine, expected.originalColumn],
        `${line}:${column}`,
      );
    }
  }
  assert.ok(found > 1_000, `${found} places`);
});

test('a search decodes the same amount of a map, however large the map is', async () => {
  const reads = async (statements: number): Promise<number> => {
    const { json, lines } = await mapOf(statements);
    const index = indexMap(json);
    let count = 0;
    const mappings = new Proxy(Object(index.mappings) as object, {
      get(text, key) {
        if (key !== 'charCodeAt') return Reflect.get(text, key, text) as unknown;
        return (at: number): number => {
          count++;
          return index.mappings.charCodeAt(at);
        };
      },
    });
    for (const part of [0.2, 0.5, 0.9])
      findPlace({ ...index, mappings: mappings as unknown as string }, Math.floor(lines.length * part), 4);
    return count;
  };
  const [few, many] = [await reads(2_000), await reads(16_000)];
  assert.ok(many < few * 2, `${few} characters of a map, ${many} of one that is eight times as large`);
});
