/** Runs once before all test files (`--test-global-setup`) and once after them. */
import { rm } from 'node:fs/promises';
import { TEMPLATE_VARIABLE, makeTemplate } from './cluster.ts';

export async function globalSetup(): Promise<void> {
  // Test processes inherit the environment as it is after this.
  process.env[TEMPLATE_VARIABLE] = await makeTemplate();
}

export async function globalTeardown(): Promise<void> {
  const template = process.env[TEMPLATE_VARIABLE];
  if (template !== undefined) await rm(template, { recursive: true, force: true });
}
