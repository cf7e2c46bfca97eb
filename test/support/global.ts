/** Runs once before all test files (`--test-global-setup`) and once after them. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { giveToPostgres } from '../../src/demo/embedded-postgres.ts';
import { prepareScripts } from '../../src/functions/sandbox/programs.ts';
import { TEMPLATE_VARIABLE, makeTemplate } from './cluster.ts';

/** Compiled code of the tests, and of the processes that they start. Loading it takes a third of the time of compiling it. */
const COMPILED = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'pgswitchyard-tests');

export async function globalSetup(): Promise<void> {
  // proxies that run as an unprivileged user can't keep them
  await prepareScripts();
  await mkdir(COMPILED, { recursive: true });
  await giveToPostgres(COMPILED);
  // Test processes inherit the environment as it is after this.
  process.env['NODE_COMPILE_CACHE'] = COMPILED;
  process.env[TEMPLATE_VARIABLE] = await makeTemplate();
}

export async function globalTeardown(): Promise<void> {
  const template = process.env[TEMPLATE_VARIABLE];
  if (template !== undefined) await rm(template, { recursive: true, force: true });
}
