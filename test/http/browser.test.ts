/** The web console in a browser: a walk from the login to a switchover. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
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
  await logIn(page, 'boss', 'secret');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.locator('svg[aria-label$=" at most"]').first().waitFor();
  await picture(page, 'overview');

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
  await picture(page, 'clusters');
  await node.getByRole('button', { name: 'Switch over to it' }).click();
  await page.getByRole('button', { name: 'Do it' }).click();
  await page.getByText('SWITCHOVER: done').waitFor({ timeout: 60_000 });
  await page.keyboard.press('Escape');
  await node.getByText('writer').waitFor();

  for (const name of ['Pools', 'Clients', 'Servers', 'Rules', 'Configuration', 'Log']) {
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByRole('heading', { name, level: 1 }).waitFor();
    await page.getByRole('table').first().waitFor();
    await picture(page, name.toLowerCase());
  }
  await page.getByText('web console: boss asks for SWITCHOVER dev').first().waitFor();
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByLabel('Password').waitFor();
  assert.deepEqual(offences, []);
});

test('at the width of a phone, in the dark, nothing is wider than the page', { skip }, async (t) => {
  const cluster = await Cluster.start(t);
  const port = await freePort();
  await Bouncer.start(t, {
    databases: { db: cluster.connectionString() },
    userlist: { boss: 'secret' },
    settings: { http_listen_port: port, admin_users: 'boss' },
  });
  const { page, offences } = await visit(t, port, {
    viewport: { width: 360, height: 740 },
    colorScheme: 'dark',
  });
  await logIn(page, 'boss', 'secret');
  for (const name of ['Overview', 'Databases', 'Clients', 'Rules', 'Configuration', 'Log']) {
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByRole('heading', { name, level: 1 }).waitFor();
    const width = Number(await page.evaluate('document.documentElement.scrollWidth'));
    assert.ok(width <= 360, `${name}: ${width} pixels`);
  }
  await picture(page, 'phone');
  assert.deepEqual(offences, []);
});

test("a tenant's administrator sees the tenant's rules and nothing else", { skip }, async (t) => {
  const cluster = await Cluster.start(t);
  const port = await freePort();
  const bouncer = await Bouncer.start(t, {
    databases: { acme: cluster.connectionString(), other: cluster.connectionString() },
    userlist: { ops: 'secret' },
    files: {
      'user-functions/acme/routing_rules.ts':
        'export function routing_rules(): string | null { return null; }',
      'user-functions/other/routing_rules.ts':
        'export function routing_rules(): string | null { return null; }',
    },
    ini: '[tenants]\nacme = databases=acme admin_users=ops\nother = databases=other\n',
    settings: { http_listen_port: port },
  });
  const { page } = await visit(t, port);
  await logIn(page, 'ops', 'secret');
  await page.getByRole('heading', { name: 'Rules', level: 1 }).waitFor();
  assert.deepEqual(await page.getByRole('navigation').getByRole('link').allTextContents(), ['Rules']);
  await page.getByRole('button', { name: 'Look at acme' }).click();
  assert.equal(await page.getByRole('button', { name: 'Look at other' }).count(), 0);
  await page.getByRole('button', { name: 'Pause', exact: true }).click();
  await page.getByRole('button', { name: 'Do it' }).click();
  await page.getByText('PAUSE FUNCTIONS: done').waitFor();
  await until('the pause', async () => {
    const [tenant] = await bouncer.admin('SHOW TENANTS');
    return tenant?.['state'] === 'paused';
  });
});
