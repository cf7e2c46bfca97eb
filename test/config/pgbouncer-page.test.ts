/** docs/pgbouncer.md says what has become of each of pgbouncer's options: none may be missing or told wrongly. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { OPTION_NAMES, optionOf } from '../../src/config/options.ts';

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'pgbouncer.md'), 'utf8');

for (const name of OPTION_NAMES.filter((each) => optionOf(each).origin === 'pgbouncer')) {
  test(name, () => {
    const row = new RegExp(`^\\| \`${name}\` +\\| ([a-z ]+?) +\\| *(.*?) *\\|$`, 'm').exec(page);
    assert.ok(row, 'no row');
    const [, kind, note] = row;
    assert.equal(kind === 'no effect', optionOf(name).effect === 'accepted');
    if (kind !== 'same') assert.notEqual(note, '', 'what or why');
  });
}
