/** The proxy reads the imports of a rule with its own rights, so a rule may import code only. */
import assert from 'node:assert/strict';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Rules } from '../support/rules.ts';
import { until } from '../support/wait.ts';

const SECRET = 'the-password';

for (const [what, source] of Object.entries({
  'a text': "import s from './userlist.txt'; export const rewrite_query = () => s;",
  'a text by its type':
    "import s from './userlist' with { type: 'text' }; export const rewrite_query = () => s;",
  bytes: "import s from './userlist' with { type: 'bytes' }; export const rewrite_query = () => String(s);",
  'the text of code':
    "import s from './more.ts' with { type: 'text' }; export const rewrite_query = () => s;",
  'code that is none': "import './userlist'; export const rewrite_query = () => null;",
  'whatever is there': 'export const rewrite_query = () => String(require(`./${"user"}list`));',
  'code that is a link': "import './link.ts'; export const rewrite_query = () => null;",
})) {
  test(`importing ${what} is refused, and no content of the file is shown`, async (t) => {
    const rules = await Rules.start(t, {
      files: { userlist: `"app" "${SECRET}"`, 'userlist.txt': SECRET, 'more.ts': `'${SECRET}'` },
    });
    await symlink(join(rules.folder, 'userlist'), join(rules.folder, 'link.ts'));
    await rules.write('rewrite_query.ts', source);
    await until('the complaint', () =>
      rules.lines.some((line) => /(?:can't be imported|put together at run time)/.test(line)),
    );
    assert.equal((await rules.ask('SELECT 1')).kind, 'reject');
    assert.ok(!rules.lines.some((line) => line.includes(SECRET)));
  });
}
