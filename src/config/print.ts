/** Prints a configuration as an ini file, with the place that each value comes from. Secrets are replaced by stars. */
import { printable } from '../telemetry/printable.ts';
import type { Config } from './config.ts';
import { formatPlace } from './diagnostics.ts';
import type { IniEntry } from './ini.ts';
import { isOptionName, optionOf } from './options.ts';
import { parsePairs } from './pairs.ts';

const SECTIONS = ['pgbouncer', 'databases', 'users', 'tenants', 'peers'];
/** Stands for a secret. */
export const MASK = '********';

/** @returns text that can be loaded, if its secrets are filled in */
export function printConfig({ entries, environment }: Config): string {
  const lines: string[] = [];
  for (const section of SECTIONS) {
    const own = entries.filter((entry) => entry.section === section);
    if (own.length === 0 && section !== 'pgbouncer') continue;
    if (lines.length > 0) lines.push('');
    lines.push(`[${section}]`);
    for (const entry of own)
      lines.push(`; ${printable(formatPlace(entry))}`, `${shownKey(entry.key)} = ${shownValue(entry)}`);
  }
  const users = [...(environment?.users.keys() ?? [])];
  if (users.length > 0)
    lines.push(
      '',
      `; beside auth_file, the environment has passwords for: ${users.map(printable).join(', ')}`,
    );
  return `${lines.join('\n')}\n`;
}

function shownKey(key: string): string {
  return /^[A-Za-z0-9_.*-]+$/.test(key) ? key : `'${key.replaceAll("'", "''")}'`;
}

/** The value of an entry, with stars for its secrets. */
export function shownValue({ section, key, value }: Pick<IniEntry, 'section' | 'key' | 'value'>): string {
  if (section === 'pgbouncer') {
    if (isOptionName(key) && optionOf(key).secret && value !== '') return MASK;
    // a URL with a user and password is refused, and this is its mistake's line
    return value.replaceAll(/:\/\/[^/\s]*@/g, `://${MASK}@`);
  }
  const pairs = parsePairs(value);
  if (!pairs.some(([name]) => name === 'password')) return value;
  return pairs.map(([name, text]) => `${name}=${name === 'password' ? MASK : quoted(text)}`).join(' ');
}

function quoted(text: string): string {
  return /[\s']/.test(text) ? `'${text.replaceAll("'", "''")}'` : text;
}
