/** However another version comes to serve, statements that were prepared before are judged by it at their next use. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import * as raw from '../support/raw.ts';
import { shown, type RawClient } from '../support/raw.ts';

const cluster = await Cluster.start({ after });
const database = cluster.connectionString();

const STRICT = `export const rewrite_query = (user, query) => (query.includes('secret') ? reject('no') : null);`;
/** Judges nothing. @param mark makes another version */
const open = (mark: string): string => `export const rewrite_query = () => { void '${mark}'; return null; };`;
const FILE = 'rules/acme/rewrite_query.ts';
const INI = `[tenants]
acme = databases=acme functions_dir=rules/acme on_rewrite_failure=error
`;

type Step = (bouncer: Bouncer) => Promise<unknown>;

const command =
  (text: string): Step =>
  (bouncer) =>
    bouncer.admin(text);
const deploy =
  (path: string, text: string): Step =>
  async (bouncer) => {
    await bouncer.writeFile(path, text);
    await bouncer.admin('RELOAD FUNCTIONS acme');
  };

/** In this order: the step, and the answer to a Bind after it. The statements are prepared before the first one. */
const STEPS: readonly (readonly [what: string, step: Step, answer: string])[] = [
  ['ROLLBACK to a stricter version', command('ROLLBACK FUNCTIONS acme TO 1'), '42501'],
  ['RESUME of the present one', command('RESUME FUNCTIONS acme'), 'passes'],
  ['PAUSE', command('PAUSE FUNCTIONS acme'), '38000'],
  ['RESUME after PAUSE', command('RESUME FUNCTIONS acme'), 'passes'],
  ['a saved file', deploy(FILE, STRICT), '42501'],
  ['a file that lets it pass again', deploy(FILE, open('3')), 'passes'],
  ['a candidate, which does not serve', deploy('rules/acme/rewrite_query.next.ts', STRICT), 'passes'],
  ['PROMOTE', command('PROMOTE FUNCTIONS acme'), '42501'],
];

/** The answer to a Bind and Execute of a statement. */
async function use(client: RawClient, name: string): Promise<string> {
  client.send(raw.bind(name), raw.execute(), raw.sync());
  const answer = shown(await client.readUntil('Z'));
  return answer === '2 D C ZI' ? 'passes' : answer.replace(' ZI', '');
}

test('a statement is judged by the version that serves at its next use, whatever made it serve', async (t) => {
  const bouncer = await Bouncer.start(t, {
    databases: { acme: database },
    settings: { pool_mode: 'transaction' },
    ini: INI,
    files: { [FILE]: STRICT },
  });
  const client = await bouncer.login(t, 'acme');
  assert.equal(shown(await client.query('SELECT 1')), 'T D C ZI');
  await deploy(FILE, open('2'))(bouncer);
  // a transaction whose portal is open goes on as it was judged
  const inside = await bouncer.login(t, 'acme');
  await inside.query('BEGIN');
  inside.send(
    raw.parse('', "SELECT 'secret' FROM generate_series(1, 3)"),
    raw.bind(),
    raw.execute('', 1),
    raw.flush(),
  );
  await inside.readUntil('s');
  client.send(raw.parse('named', "SELECT 'secret'"), raw.sync());
  await client.readUntil('Z');
  for (const [what, step, answer] of STEPS) {
    await step(bouncer);
    assert.equal(await use(client, 'named'), answer, `${what}: named`);
    assert.equal(await use(client, 'named'), answer, `${what}: named, again`);
  }
  inside.send(raw.execute('', 1), raw.sync());
  assert.equal(shown(await inside.readUntil('Z')), 'D s ZT');
});
