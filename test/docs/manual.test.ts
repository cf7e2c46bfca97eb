/** The pages of the manual: their links, and the examples in them, read by what they are examples for. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { after, before, test } from 'node:test';
import { parse } from 'yaml';
import { parseStatement } from '../../src/admin/grammar.ts';
import { TABLES, TENANT_TABLES } from '../../src/admin/tables.ts';
import { DATABASE_KEYS, PEER_KEYS, USER_KEYS } from '../../src/config/connection-string.ts';
import { loadConfig } from '../../src/config/load.ts';
import { isOptionName } from '../../src/config/options.ts';
import { TENANT_KEYS } from '../../src/config/tenants.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const PAGES = new Map(
  [join(ROOT, 'README.md'), join(ROOT, 'CONTRIBUTING.md'), ...globSync(join(ROOT, 'docs', '**', '*.md'))].map(
    (file) => [relative(ROOT, file), readFileSync(file, 'utf8')],
  ),
);
const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  readonly scripts: Readonly<Record<string, string>>;
};

const folder = mkdtempSync(join(tmpdir(), 'manual-'));
after(() => rmSync(folder, { recursive: true }));
before(() => process.chdir(folder));

interface Example {
  readonly page: string;
  readonly text: string;
}

/** Fenced blocks in a language. */
function examples(language: string): Example[] {
  return [...PAGES].flatMap(([page, text]) =>
    [...text.matchAll(new RegExp(`^( *)\`\`\`${language}\\n([^]*?)^ *\`\`\`$`, 'gm'))].map(
      ([, indent, block]) => ({
        page,
        text: block!.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
      }),
    ),
  );
}

/** A page without its fenced blocks. */
const prose = (text: string): string => text.replaceAll(/^ *```[^]*?^ *```$/gm, '');

/** The name that GitHub gives to a heading. */
const slug = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-');

test('every link leads to a file, and to a heading that is there', () => {
  for (const [page, text] of PAGES)
    for (const [, target = '', anchor] of prose(text).matchAll(/\]\(((?!\w+:)[^)#\s]*)(?:#([^)\s]*))?\)/g)) {
      const file = target === '' ? page : relative(ROOT, join(ROOT, dirname(page), target));
      assert.ok(existsSync(join(ROOT, file)), `${page} links to ${target}`);
      if (anchor === undefined) continue;
      const headings = [...prose(PAGES.get(file) ?? '').matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
        slug(heading!),
      );
      assert.ok(headings.includes(anchor), `${page} links to ${file}#${anchor}`);
    }
});

test('README lists every page', () => {
  const readme = PAGES.get('README.md')!;
  for (const page of PAGES.keys())
    if (page.startsWith('docs/')) assert.ok(readme.includes(`| [${page}](${page})`), page);
});

test('every ini file in the manual is one that the proxy takes without a warning', () => {
  const found = examples('ini');
  assert.ok(found.length > 5);
  for (const { page, text } of found) {
    const sections = /^\[databases\]/m.test(text) ? '' : '[databases]\n* = host=127.0.0.1\n';
    const options = /^\[/m.test(text) ? '' : '[pgbouncer]\n';
    // files at places of their own are not here
    const files = text.replaceAll(/= \/(?:run\/secrets|etc\/pgbouncer)\//g, '= ');
    // what an excerpt leaves out, before the excerpt, which has the last word
    writeFileSync('pgbouncer.ini', `[pgbouncer]\nauth_file = userlist.txt\n${sections}${options}${files}`);
    writeFileSync('userlist.txt', '"app" "x"\n');
    writeFileSync('metrics-token', 'x\n');
    copyFileSync(join(ROOT, 'test', 'support', 'tls', 'ca.crt'), 'rds.pem');
    mkdirSync(join('rules', 'acme'), { recursive: true });
    const { warnings, authProblems } = loadConfig('pgbouncer.ini');
    assert.deepEqual([...warnings, ...authProblems], [], `${page}\n${text}`);
  }
});

test('every `option = value` in the text names an option', () => {
  const keys = [DATABASE_KEYS, USER_KEYS, PEER_KEYS, TENANT_KEYS].flatMap((each) => Object.keys(each));
  let checked = 0;
  for (const [page, text] of PAGES) {
    if (page === 'docs/porting-python-rules.md') continue;
    for (const [whole, name] of prose(text).matchAll(/`([a-z][a-z0-9_]*_[a-z0-9_]+) = [^`]*`/g)) {
      checked++;
      const isKnown = isOptionName(name!) || keys.includes(name!) || /^(net|kernel|fs)\./.test(name!);
      assert.ok(isKnown || isPostgres(name!), `${page}: ${whole}`);
    }
  }
  assert.ok(checked > 30, `${checked}`);
});

/** Settings of PostgreSQL that pages name. */
function isPostgres(name: string): boolean {
  return /^(synchronous_|default_transaction_|wal_|max_connections|primary_|allow_alter|standard_)/.test(
    name,
  );
}

test('every variable of the environment in the manual has a meaning', () => {
  let checked = 0;
  for (const [page, text] of PAGES)
    for (const [name] of text.matchAll(/\bPGSWITCHYARD_[A-Z0-9_]+/g)) {
      if (/^PGSWITCHYARD_(OPTION|PORT_.*|LAUNCHER|DAEMON)$/.test(name)) continue;
      const option = name.slice('PGSWITCHYARD_'.length).toLowerCase();
      assert.ok(isOptionName(option) || isOptionName(option.replace(/_file$/, '')), `${page}: ${name}`);
      checked++;
    }
  assert.ok(checked > 10);
});

test('every table of the console that a page names can be shown', () => {
  const tables = new Set([...TABLES.keys()].map((name) => name.toUpperCase()));
  const ofTenants = new Set([...TENANT_TABLES.keys()].map((name) => name.toUpperCase()));
  for (const [page, text] of PAGES)
    for (const [whole, name] of text.matchAll(/`SHOW ((?:FUNCTION )?[A-Z_]+)/g)) {
      const isShown = tables.has(name!) || ofTenants.has(name!) || ['HELP', 'FLEET_AUDIT'].includes(name!);
      assert.ok(isShown, `${page}: ${whole}`);
    }
});

test('every statement for the console is one', () => {
  const verbs =
    'RELOAD|PAUSE|RESUME|ROLLBACK|SHADOW|CANARY|PROMOTE|NOTIFY|SWITCHOVER|RECONNECT|KILL|SHUTDOWN|WAIT_CLOSE';
  const inText = [...PAGES].flatMap(([page, text]) =>
    [...prose(text).matchAll(new RegExp(`\`((?:${verbs})(?: [^\`…[|<]+)?)\``, 'g'))].map(([, statement]) => ({
      page,
      statement: statement!,
    })),
  );
  const inCommands = examples('sh').flatMap(({ page, text }) =>
    [...text.matchAll(/pgbouncer -c '([^']+)'/g)].map(([, statement]) => ({ page, statement: statement! })),
  );
  assert.ok(inText.length > 20 && inCommands.length > 0);
  // a sentence may name the node
  const whole = [...inText, ...inCommands].filter(({ statement }) => !statement.endsWith(' TO'));
  for (const { page, statement } of whole)
    assert.doesNotMatch(parseStatement(statement).kind, /unknown|bad/, `${page}: ${statement}`);
});

test('every shell example can be read by a shell, and names npm scripts and files that are there', () => {
  const found = examples('sh');
  assert.ok(found.length > 20);
  for (const { page, text } of found) {
    assert.doesNotThrow(
      () => execFileSync('bash', ['-n'], { input: text, stdio: 'pipe' }),
      `${page}\n${text}`,
    );
    for (const [, script] of text.matchAll(/\bnpm run ([\w:-]+)/g))
      assert.ok(scripts[script!] !== undefined, `${page}: npm run ${script}`);
    for (const [path] of text.matchAll(/(?<![\w/.:-])(?:deploy|scripts|src|test)\/[\w@./-]+/g))
      assert.ok(existsSync(join(ROOT, path)), `${page}: ${path}`);
  }
});

test('YAML and JSON examples are well-formed', () => {
  for (const { page, text } of examples('yaml')) assert.ok(parse(text), page);
  for (const { page, text } of examples('json')) assert.ok(JSON.parse(text), page);
});

test('the compiler accepts every rule in the manual', () => {
  const rules = examples('ts').filter(({ text }) => !/node:test|\): string \| null \| undefined;/.test(text));
  assert.ok(rules.length > 4);
  mkdirSync(join('node_modules'));
  symlinkSync(ROOT, join('node_modules', 'pgswitchyard'));
  writeFileSync('package.json', '{ "type": "module" }');
  writeFileSync('tsconfig.json', readFileSync(join(ROOT, 'user-functions', 'tsconfig.json')));
  for (const [at, { text }] of rules.entries()) {
    mkdirSync(`rule${at}`);
    writeFileSync(join(`rule${at}`, 'rule.ts'), text);
  }
  const compiler = join(ROOT, 'node_modules', '.bin', 'tsc');
  try {
    execFileSync(process.execPath, [compiler, '-p', '.'], { encoding: 'utf8' });
  } catch (error) {
    assert.fail(String((error as { stdout?: string }).stdout ?? error));
  }
});

test('docs/deploy/monitoring.md has every alert, and no other', () => {
  const [page] = [...PAGES].filter(([name]) => name === 'docs/deploy/monitoring.md').map(([, text]) => text);
  const alerts = parse(
    readFileSync(join(ROOT, 'deploy', 'helm', 'pgswitchyard', 'files', 'alerts.yaml'), 'utf8'),
  ) as { groups: { rules: { alert: string }[] }[] };
  const named = [...page!.matchAll(/^\| `(Pgswitchyard\w+)`/gm)].map(([, name]) => name);
  assert.deepEqual(
    named,
    alerts.groups.flatMap(({ rules }) => rules.map(({ alert }) => alert)),
  );
});
