/** The web console in a browser: a walk from the login to a switchover. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import axe, { type AxeResults } from 'axe-core';
import { chromium, type Browser, type Page } from 'playwright-core';
import { bundle } from '../../src/http/web/files.ts';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { setUp } from '../switchover/pair.ts';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path));
const skip = CHROMIUM === undefined ? 'there is no Chromium' : false;
/** Pictures for docs/web-console.md are made if this is set. */
const { PGSWITCHYARD_SCREENSHOTS: folder } = process.env;

let browser: Browser;
before(async () => {
  if (CHROMIUM === undefined) return;
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
});
after(async () => {
  await browser?.close();
});

interface Visit {
  readonly page: Page;
  /** requests to other hosts, and complaints of the browser */
  readonly offences: string[];
}

async function visit(
  t: TestContext,
  port: number,
  options: Parameters<Browser['newContext']>[0] = {},
): Promise<Visit> {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  const offences: string[] = [];
  page.on('request', (request) => {
    const { hostname, protocol } = new URL(request.url());
    if (protocol !== 'data:' && hostname !== '127.0.0.1') offences.push(request.url());
  });
  page.on('pageerror', (error) => offences.push(error.message));
  page.on('console', (message) => {
    // an answer 401 before the login is no mistake
    if (message.type() === 'error' && !message.text().includes('401')) offences.push(message.text());
  });
  await page.goto(`http://127.0.0.1:${port}/`);
  return { page, offences };
}

async function logIn(page: Page, user: string, password: string): Promise<void> {
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Log in' }).click();
}

/** Whether the page can be used without seeing it, as far as a program can tell: names, roles, contrast, order of headings. */
async function assertAccessible(page: Page): Promise<void> {
  await page.evaluate(axe.source);
  const { violations } = (await page.evaluate('axe.run()')) as AxeResults;
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  assert.deepEqual(found, [], page.url());
}

/** Presses the button of an action, and confirms it. */
async function act(page: Page, name: string, outcome: string): Promise<void> {
  await page.getByRole('button', { name, exact: true }).click();
  await page.getByRole('button', { name: 'Do it' }).click();
  await page.getByRole('dialog').getByText(outcome).waitFor();
  await page.keyboard.press('Escape');
}

async function picture(page: Page, name: string): Promise<void> {
  if (folder === undefined) return;
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

test('the script and the style sheet take less than 150 KB compressed', async () => {
  const [script, style] = await Promise.all([bundle('main.tsx'), bundle('style.css')]);
  assert.ok(gzipSync(script).length + gzipSync(style).length < 150 * 1024);
});

test('from the login to a switchover', { skip }, async (t) => {
  const port = await freePort();
  const { bouncer, standby } = await setUp(t, {
    settings: { http_listen_port: port, admin_users: 'pgbouncer, boss' },
  });
  bouncer.userlist['boss'] = 'secret';
  await bouncer.reload();
  await bouncer.sql('select 1');
  const { page, offences } = await visit(t, port);

  await logIn(page, 'boss', 'wrong');
  await page.getByText('wrong user or password').waitFor();
  await picture(page, 'login');
  await assertAccessible(page);
  await logIn(page, 'boss', 'secret');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.locator('svg[aria-label$=" at most"]').first().waitFor();
  await picture(page, 'overview');
  await assertAccessible(page);

  // with the keyboard only
  await page.getByRole('link', { name: 'Databases' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Databases' }).waitFor();
  const row = page
    .getByRole('row')
    .filter({ has: page.getByRole('cell', { name: 'dev', exact: true }).first() });
  await row.first().getByRole('button', { name: 'pause' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('dialog').getByText('PAUSE dev').waitFor();
  await assertAccessible(page);
  await picture(page, 'pause');
  await page.getByRole('button', { name: 'Do it' }).focus();
  await page.keyboard.press('Enter');
  await page.getByText('PAUSE: done').waitFor();
  await page.keyboard.press('Escape');
  await row.first().getByRole('button', { name: 'resume' }).click();
  await page.getByRole('button', { name: 'Do it' }).click();
  await page.getByText('RESUME: done').waitFor();
  await page.keyboard.press('Escape');

  await page.getByRole('link', { name: 'Clusters' }).click();
  const node = page.getByRole('listitem').filter({ hasText: `127.0.0.1:${standby.port}` });
  await node.getByText('reader').waitFor();
  await page.getByRole('img', { name: `127.0.0.1:${standby.port}: reader` }).waitFor();
  await assertAccessible(page);
  await node.getByRole('button', { name: 'Switch over to it' }).click();
  await page.getByRole('button', { name: 'Do it' }).click();
  await page.getByText('SWITCHOVER: done').waitFor({ timeout: 60_000 });
  await page.keyboard.press('Escape');
  await node.getByText('writer').waitFor();
  const past = page.getByRole('region', { name: 'The last switchovers' });
  await past
    .getByRole('cell', { name: `127.0.0.1:${standby.port}` })
    .first()
    .waitFor();
  await picture(page, 'clusters');

  for (const name of ['Pools', 'Clients', 'Servers', 'Fleet', 'Configuration', 'Log', 'Audit']) {
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByRole('heading', { name, level: 1 }).waitFor();
    await page.locator('table, .none').first().waitFor();
    await picture(page, name.toLowerCase());
    await assertAccessible(page);
  }
  const entry = page.getByRole('row').filter({ hasText: 'SWITCHOVER dev' }).filter({ hasText: 'boss' });
  await entry.getByText('done').waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByLabel('Password').waitFor();
  assert.deepEqual(offences, []);
});

const RULE = `export function routing_rules(username: string, query: string): string | null {
  if (query.includes('boom')) throw new Error('too much');
  return null;
}
`;
const MARKUP = '<img src=x onerror=alert(1)>';

test(
  'rules: source, differences, the failing line, live decisions, a canary, and nobody else’s',
  { skip },
  async (t) => {
    const cluster = await Cluster.start(t);
    const port = await freePort();
    const bouncer = await Bouncer.start(t, {
      databases: {
        acme: cluster.connectionString(),
        other: cluster.connectionString(),
        [`'${MARKUP}'`]: cluster.connectionString(),
      },
      userlist: { boss: 'secret', ops: 'secret', watch: 'secret' },
      files: {
        'user-functions/acme/routing_rules.ts': RULE,
        'user-functions/other/routing_rules.ts': RULE,
      },
      ini: '[tenants]\nacme = databases=acme admin_users=ops\nother = databases=other\n',
      settings: {
        http_listen_port: port,
        admin_users: 'pgbouncer, boss',
        stats_users: 'watch',
        user_function_preload: 1,
      },
    });
    const client = await bouncer.connect({ database: 'acme' });
    await client.query("select 'boom'").catch(() => {});
    await bouncer.writeFile('user-functions/acme/routing_rules.ts', RULE.replace('too much', 'far too much'));
    await until(
      'the second version',
      async () => (await bouncer.admin('SHOW FUNCTION VERSIONS acme')).length > 1,
    );

    const { page, offences } = await visit(t, port);
    await logIn(page, 'ops', 'secret');
    await page.getByRole('heading', { name: 'Rules', level: 1 }).waitFor();
    assert.deepEqual(await page.getByRole('navigation').getByRole('link').allTextContents(), [
      'Rules',
      'Decisions',
    ]);
    await page.getByRole('link', { name: 'Look at acme' }).click();
    assert.equal(await page.getByRole('link', { name: 'Look at other' }).count(), 0);
    await page.getByRole('button', { name: 'Source of 1', exact: true }).click();
    await page.getByText('too much').first().waitFor();
    await page.getByLabel('Differences to version').selectOption('2');
    await page.getByRole('row', { name: /^removed .*far too much/ }).waitFor();
    await page.getByRole('row', { name: /^added .*'too much/ }).waitFor();
    await page.getByRole('row', { name: /^added / }).scrollIntoViewIfNeeded();
    await picture(page, 'differences');
    const failing = page.getByRole('figure').filter({ hasText: 'failing line:' }).locator('.failing');
    assert.match((await failing.textContent()) ?? '', /throw new Error\('too much'\)/);
    await page.getByRole('button', { name: 'Watch', exact: true }).click();
    const shown = page.getByRole('region', { name: 'Decisions' }).getByText('select ?').first();
    await until('a decision', async () => {
      await client.query('select 4711');
      return (await shown.count()) > 0;
    });
    await bouncer.writeFile('user-functions/acme/routing_rules.next.ts', RULE.replace('boom', 'bang'));
    await page.getByLabel('Share of clients, %').fill('50');
    await until('the candidate', async () => {
      const rows = await bouncer.admin('SHOW SHADOW acme');
      return rows.some(({ what }) => what === 'off' || what === 'shadow');
    });
    await act(page, 'Shadow', 'SHADOW FUNCTIONS: done');
    await page.getByRole('cell', { name: 'shadow', exact: true }).waitFor();
    await act(page, 'Canary', 'CANARY FUNCTIONS: done');
    await page.getByRole('cell', { name: '50%' }).first().waitFor();
    await picture(page, 'rules');
    await assertAccessible(page);
    await act(page, 'Stop canary', 'CANARY FUNCTIONS: done');
    await act(page, 'Promote', 'PROMOTE FUNCTIONS: done');
    await act(page, 'Roll back', 'ROLLBACK FUNCTIONS: done');
    await act(page, 'Pause', 'PAUSE FUNCTIONS: done');
    await until('the pause', async () => {
      const rows = await bouncer.admin('SHOW TENANTS');
      return rows.some(({ name, state }) => name === 'acme' && state === 'paused');
    });
    assert.deepEqual(offences, []);

    // a stats_user has no actions, and sees no source
    const watcher = await visit(t, port);
    await logIn(watcher.page, 'watch', 'secret');
    await watcher.page.getByRole('link', { name: 'Databases', exact: true }).click();
    await watcher.page.getByRole('cell', { name: MARKUP, exact: true }).waitFor();
    assert.equal(await watcher.page.getByRole('button', { name: 'pause', exact: true }).count(), 0);
    // with the keyboard: past the navigation, to the page itself
    await watcher.page.goto(`http://127.0.0.1:${port}/#rules/acme`);
    await watcher.page.getByRole('table', { name: 'Versions' }).waitFor();
    await watcher.page.reload();
    await watcher.page.getByRole('table', { name: 'Versions' }).waitFor();
    await watcher.page.keyboard.press('Tab');
    await watcher.page.keyboard.press('Enter');
    assert.equal(await watcher.page.evaluate('document.activeElement.id'), 'main');
    await watcher.page.getByText('Error: too much').first().waitFor();
    assert.equal(await watcher.page.getByRole('button', { name: /^Source of|^Pause|^Shadow/ }).count(), 0);
    assert.doesNotMatch(await watcher.page.content(), /throw new Error/);
    assert.deepEqual(watcher.offences, []);

    // at the width of a phone, in the dark, nothing is wider than the page, and names are text
    const phone = await visit(t, port, { viewport: { width: 360, height: 740 }, colorScheme: 'dark' });
    await logIn(phone.page, 'boss', 'secret');
    for (const name of [
      'Overview',
      'Databases',
      'Clients',
      'Rules',
      'Decisions',
      'Configuration',
      'Log',
      'Audit',
    ]) {
      await phone.page.getByRole('link', { name, exact: true }).click();
      await phone.page.getByRole('heading', { name, level: 1 }).waitFor();
      if (name === 'Databases') await phone.page.getByRole('cell', { name: MARKUP, exact: true }).waitFor();
      const width = Number(await phone.page.evaluate('document.documentElement.scrollWidth'));
      assert.ok(width <= 360, `${name}: ${width} pixels`);
      await assertAccessible(phone.page);
    }
    await phone.page.getByRole('link', { name: 'Overview', exact: true }).click();
    await picture(phone.page, 'phone');
    assert.deepEqual(phone.offences, []);
  },
);
