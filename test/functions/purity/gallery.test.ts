/** The rules that come with the program are remembered without a promise. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { bundle } from '../../../src/functions/build/bundle.ts';
import { trialOf } from './trial.ts';

const RULES = fileURLToPath(new URL('../../../user-functions', import.meta.url));
const GALLERY = join(RULES, 'gallery');

for (const folder of [RULES, ...readdirSync(GALLERY).map((name) => join(GALLERY, name))]) {
  const [routing = null, rewrite = null] = ['routing_rules.ts', 'rewrite_query.ts'].map((name) => {
    const file = join(folder, name);
    return existsSync(file) ? file : null;
  });
  if (routing === null && rewrite === null) continue;
  test(folder.slice(RULES.length) || 'the rules of npm start', async () => {
    const result = await bundle({ routing, rewrite }, new Set());
    assert.equal(result.kind, 'bundle');
    if (result.kind !== 'bundle') return;
    assert.deepEqual(result.bundle.purity, { isPure: true, reason: '' });
    const { asking, remembering, why } = trialOf(result.bundle);
    assert.deepEqual(remembering, asking);
    assert.equal(why, '');
  });
}
