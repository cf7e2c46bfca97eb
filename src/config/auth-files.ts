/** The files that govern logins: auth_file, auth_hba_file, auth_ident_file. */
import { readFileSync } from 'node:fs';
import type { Config } from './config.ts';
import { Diagnostics } from './diagnostics.ts';
import type { Place } from './diagnostics.ts';
import { parseHba, parseIdent } from './hba.ts';
import { reasonOf } from './ini.ts';
import type { OptionName, Settings } from './options.ts';
import { parseUserlist } from './userlist.ts';

type AuthFiles = Pick<Config, 'userlist' | 'hba' | 'identMaps' | 'authProblems'>;

/** Read while the configuration is loaded, so SET reads them again. */
export const AUTH_OPTIONS: readonly OptionName[] = [
  'auth_file',
  'auth_hba_file',
  'auth_ident_file',
  'auth_type',
];
/** The log's word for a line of each file. */
const AUTH_LINES = {
  auth_file: 'auth file',
  auth_hba_file: 'hba config',
  auth_ident_file: 'ident map',
} as const;

/**
 * A line that can't be read is ignored, as in pgbouncer. So is an auth_file that never existed: auth_query may know all users.
 */
export function readAuthFiles(
  settings: Settings,
  diagnostics: Diagnostics,
  previous: Config | null,
  placeOf: (name: OptionName) => Place,
): AuthFiles {
  const authProblems: string[] = [];
  const read = <T>(
    name: keyof typeof AUTH_LINES,
    parse: (text: string, file: string, diagnostics: Diagnostics) => T,
  ): T | null => {
    const file = settings[name];
    if (file === null || file === '') return null;
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      const problem = `could not open ${name} "${file}": ${reasonOf(error)}`;
      const isNews = previous !== null && !previous.authProblems.includes(problem);
      if (name === 'auth_file' && !isNews) authProblems.push(problem);
      else diagnostics.add(placeOf(name), problem, { option: name });
      return null;
    }
    const lines = new Diagnostics();
    const result = parse(text, file, lines);
    for (const { line, message, hint } of lines.all) {
      const more = hint === null ? '' : ` (${hint})`;
      authProblems.push(`could not parse ${AUTH_LINES[name]} line ${line}: ${message}${more} [${file}]`);
    }
    return result;
  };

  const userlist = read('auth_file', parseUserlist) ?? new Map<string, string>();
  if (settings.auth_type !== 'hba') return { userlist, hba: null, identMaps: new Map(), authProblems };
  if (settings.auth_hba_file === '') {
    diagnostics.add(placeOf('auth_type'), 'auth_type = hba needs auth_hba_file', { option: 'auth_type' });
  }
  const hba = read('auth_hba_file', parseHba);
  const identMaps = read('auth_ident_file', parseIdent) ?? new Map();
  return { userlist, hba, identMaps, authProblems };
}

/** The entries of auth_file, with those that the environment adds or replaces. */
export function withUsers(
  userlist: ReadonlyMap<string, string>,
  users: ReadonlyMap<string, string> | undefined,
): ReadonlyMap<string, string> {
  return users === undefined || users.size === 0 ? userlist : new Map([...userlist, ...users]);
}
