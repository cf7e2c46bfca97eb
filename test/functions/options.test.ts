/** The options that a rule's files export: what is accepted, and how the files of one version agree. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '../../sandbox/crossing.ts';
import { bundle } from '../../src/functions/build/bundle.ts';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';
import { Engine } from '../../src/functions/sandbox/engine.ts';
import { preludeScript } from '../../src/functions/sandbox/programs.ts';

const LIMITS = { databases: [], memoryLimitMb: 32, maxResult: 1_000, timeoutMs: 500 };
const ROUTE = 'export const routing_rules = () => null;';
const REWRITE = 'export const rewrite_query = () => null;';

/** The options of a version made of these files, or the message of its refusal. */
async function load(routing: string | null, rewrite: string | null): Promise<Manifest['options'] | string> {
  const folder = await temporaryFolder('options');
  const write = async (name: string, text: string | null): Promise<string | null> => {
    if (text === null) return null;
    await writeFile(join(folder, name), text);
    return join(folder, name);
  };
  const files = {
    routing: await write('routing_rules.ts', routing),
    rewrite: await write('rewrite_query.ts', rewrite),
  };
  const made = await bundle(files, new Set());
  assert.ok(made.kind === 'bundle', JSON.stringify(made));
  const engine = new Engine(preludeScript());
  const loaded = engine.load({ id: 1, code: made.bundle.code, ...LIMITS });
  engine.dispose(1);
  return loaded.kind === 'loaded' ? loaded.manifest.options : loaded.message;
}

const ACCEPTED: readonly (readonly [string | null, string | null, Manifest['options']])[] = [
  [ROUTE, null, { pure: false, sees: 'text' }],
  [`${ROUTE} export const options = {};`, null, { pure: false, sees: 'text' }],
  [`${ROUTE} export const options = undefined;`, null, { pure: false, sees: 'text' }],
  [`${ROUTE} export const options = { pure: true };`, null, { pure: true, sees: 'text' }],
  [
    `${ROUTE} export const options = { pure: undefined, sees: 'shape' };`,
    null,
    { pure: false, sees: 'shape' },
  ],
  [null, `${REWRITE} export const options = { pure: true, sees: 'shape' };`, { pure: true, sees: 'shape' }],
  [`${ROUTE} ${REWRITE} export const options = { sees: 'shape' };`, null, { pure: false, sees: 'shape' }],
  [`${ROUTE} export const options = { pure: true };`, REWRITE, { pure: false, sees: 'text' }],
  [
    `${ROUTE} export const options = { pure: true, sees: 'shape' };`,
    `${REWRITE} export const options = { sees: 'shape', pure: true };`,
    { pure: true, sees: 'shape' },
  ],
  [
    `${ROUTE} export const options = { sees: 'text' };`,
    `${REWRITE} export const options = { pure: true };`,
    { pure: false, sees: 'text' },
  ],
];

for (const [routing, rewrite, expected] of ACCEPTED)
  test(`options: ${routing ?? '-'} | ${rewrite ?? '-'}`, async () => {
    assert.deepEqual(await load(routing, rewrite), expected);
  });

const REFUSED: readonly (readonly [string | null, string | null, RegExp])[] = [
  [`${ROUTE} export const options = { see: 'shape' };`, null, /routing_rules\.ts: unknown option "see"/],
  [`${ROUTE} export const options = { sees: 'shapes' };`, null, /routing_rules\.ts: options\.sees must be/],
  [`${ROUTE} export const options = { pure: 1 };`, null, /routing_rules\.ts: options\.pure must be true or/],
  [`${ROUTE} export const options = 'shape';`, null, /routing_rules\.ts: options must be an object/],
  [`${ROUTE} export const options = null;`, null, /routing_rules\.ts: options must be an object/],
  [`${ROUTE} export const options = [1];`, null, /unknown option "0"/],
  [`${ROUTE} export const options = { [Symbol('x')]: 1 };`, null, /unknown option "Symbol\(x\)"/],
  [`${ROUTE} export const options = { get pure() { throw new Error('no') } };`, null, /Error: no/],
  [
    ROUTE,
    `${REWRITE} export const options = { sees: 'shape' };`,
    /rewrite_query\.ts sees the shape of a query, and routing_rules\.ts its text: set the same options\.sees/,
  ],
  [`${ROUTE} export const options = { pure: true };`, `${REWRITE} export const options = { x: 1 };`, /"x"/],
];

for (const [routing, rewrite, complaint] of REFUSED)
  test(`refused options: ${routing ?? '-'} | ${rewrite ?? '-'}`, async () => {
    const message = await load(routing, rewrite);
    assert.ok(typeof message === 'string', 'the version was loaded');
    assert.match(message, complaint);
  });
