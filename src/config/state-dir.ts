/** user_functions_state_dir: whether the proxy's user can keep files there that nobody else can change. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { printable } from '../telemetry/printable.ts';
import type { Config } from './config.ts';
import { Diagnostics, type Place } from './diagnostics.ts';
import { reasonOf } from './ini.ts';

const OPTION = 'user_functions_state_dir';

interface Problem {
  readonly message: string;
  readonly hint: string;
}

/**
 * Complains about a folder that the configuration names. The folder may be missing: it is created when there is something to
 * keep.
 * @param uid the user who will write there
 */
export function checkStateDir(folder: string, place: Place, diagnostics: Diagnostics, uid: number): void {
  const problem = problemOf(folder, uid);
  if (problem === null) return;
  const { message, hint } = problem;
  diagnostics.add(place, message, { option: OPTION, hint });
}

/** The same check for a configuration that was read as root. @throws ConfigError */
export function requireStateDir({ settings, entries }: Config): void {
  const entry = entries.find(({ section, key }) => section === 'pgbouncer' && key === OPTION);
  if (entry === undefined) return;
  if (settings[OPTION] === '') return;
  const diagnostics = new Diagnostics();
  checkStateDir(settings[OPTION], entry, diagnostics, process.getuid?.() ?? 0);
  diagnostics.throwIfAny(settings);
}

function problemOf(folder: string, uid: number): Problem | null {
  const shown = `"${printable(folder)}"`;
  try {
    const stat = statSync(folder, { throwIfNoEntry: false });
    if (stat === undefined) return problemAbove(folder);
    if (!stat.isDirectory()) return { message: `${shown} is not a folder`, hint: 'name another path' };
    if (stat.uid !== uid)
      return { message: `${shown} belongs to another user`, hint: `give it to the proxy's user: chown` };
    if ((stat.mode & 0o022) !== 0)
      return { message: `others may write to ${shown}`, hint: 'take that right away: chmod go-w' };
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    return {
      message: `can't write to ${shown}: ${reasonOf(error)}`,
      hint: "let the proxy's user write there",
    };
  }
}

function problemAbove(folder: string): Problem | null {
  const above = dirname(folder);
  try {
    accessSync(above, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    return {
      message: `can't create "${printable(folder)}": ${reasonOf(error)}`,
      hint: "create it, and give it to the proxy's user; an empty value keeps no versions over a restart",
    };
  }
}
