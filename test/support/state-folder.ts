/** Version stores on one state folder, as processes that come one after the other or run beside each other have them. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { StateFolder } from '../../src/functions/store/state-folder.ts';
import { VersionStore } from '../../src/functions/store/version-store.ts';
import { temporaryFolder } from '../../src/demo/embedded-postgres.ts';

export interface World {
  readonly path: string;
  readonly lines: string[];
  /** A store that has just been started on the same folder. */
  restart(): Promise<VersionStore>;
}

export async function world(t: TestContext): Promise<World> {
  const folder = await temporaryFolder('state');
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'state');
  const lines: string[] = [];
  const write = (_: object, message: string): void => void lines.push(message);
  const restart = async (): Promise<VersionStore> => {
    const store = new VersionStore(new StateFolder(path), { warn: write, error: write });
    await store.prepare();
    return store;
  };
  return { path, lines, restart };
}
