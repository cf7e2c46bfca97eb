/**
 * Configuration from environment variables, for containers: each variable becomes an entry as the ini file has them.
 * docs/config.md lists the variables.
 */
import { readFileSync } from 'node:fs';
import { printable } from '../telemetry/printable.ts';
import type { Diagnostics } from './diagnostics.ts';
import { nearestHint } from './diagnostics.ts';
import { parseEntry, reasonOf, type IniEntry } from './ini.ts';
import { splitList } from './option.ts';
import { isOptionName, OPTION_NAMES } from './options.ts';

export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  /** also the names of options as they are, in lower case (`default_pool_size`), as the original's container has them */
  readonly hasPlainNames: boolean;
}

/** The part of a configuration that the environment gives. */
export interface EnvironmentConfig {
  /** in the order in which they apply; `file` is the variable's name */
  readonly entries: readonly IniEntry[];
  /** PGB_ADMIN_USERS with their PGB_ADMIN_PASSWORDS: they replace the entries of auth_file */
  readonly users: ReadonlyMap<string, string>;
  /** absolute or relative paths that variables ending in _FILE name: a change there is a change of the configuration */
  readonly files: readonly string[];
  /** one line each, for the log */
  readonly warnings: readonly string[];
}

const PREFIX = 'PGSWITCHYARD_';
const FILE_SUFFIX = '_FILE';

/**
 * Variables with our prefix that are no configuration: the program's own, and those that Kubernetes sets for a Service of
 * our name.
 */
const OTHERS =
  /^PGSWITCHYARD_(?:DAEMON|LAUNCHER|SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)$/;

/** Variables of the original, and one of OpenTelemetry's, by name: the option that each one sets. */
const SINGLE: Readonly<Record<string, string>> = {
  PGB_ADMIN_USERS: 'admin_users',
  PGB_LISTEN_ADDR: 'listen_addr',
  PGB_LISTEN_PORT: 'listen_port',
  VERBOSE: 'verbose',
  OTEL_EXPORTER_OTLP_ENDPOINT: 'otlp_endpoint',
};
/** Variables with a number at their end, for one entry each: their section. */
const NUMBERED: Readonly<Record<string, string>> = {
  PGB_DATABASE: 'databases',
  PGB_TENANT: 'tenants',
  PGB_USER: 'users',
};
/** The value of the entry `*` of [databases]. */
const ALL_DATABASES = 'PGB_DATABASES';
const PASSWORDS = 'PGB_ADMIN_PASSWORDS';

const KNOWN = [
  ...OPTION_NAMES.map((name) => PREFIX + name.toUpperCase()),
  ...Object.keys(SINGLE),
  ...Object.keys(NUMBERED).map((name) => `${name}1`),
  ALL_DATABASES,
  PASSWORDS,
];

/** What a variable sets. */
type Meaning =
  | { readonly kind: 'option'; readonly key: string; readonly rank: number }
  | { readonly kind: 'entry'; readonly section: string; readonly number: number }
  | { readonly kind: 'passwords' };

interface Variable {
  /** as it is set, with `_FILE` if its value is in a file */
  readonly name: string;
  readonly meaning: Meaning;
  readonly value: string;
}

/** Reads the variables, and the files that they name. Problems go to `diagnostics`, under the variable's name. */
export function readEnvironment(environment: Environment, diagnostics: Diagnostics): EnvironmentConfig {
  const files: string[] = [];
  const variables = findVariables(environment, files, diagnostics).toSorted(inOrder);
  const users = usersOf(variables, diagnostics);
  const entries = variables.flatMap((variable) => entryOf(variable, diagnostics) ?? []);
  return { entries, users, files, warnings: unknownOf(environment) };
}

function findVariables(
  { variables, hasPlainNames }: Environment,
  files: string[],
  diagnostics: Diagnostics,
): Variable[] {
  const found: Variable[] = [];
  for (const [name, value] of Object.entries(variables)) {
    if (value === undefined) continue;
    const meaning = meaningOf(name, hasPlainNames);
    if (meaning !== null) found.push({ name, meaning, value });
    if (meaning !== null || !name.endsWith(FILE_SUFFIX)) continue;
    const base = name.slice(0, -FILE_SUFFIX.length);
    const meant = meaningOf(base, hasPlainNames);
    if (meant === null) continue;
    if (variables[base] !== undefined) {
      diagnostics.add({ file: name, line: null }, `${base} is set as well`, { hint: 'set one of the two' });
      continue;
    }
    files.push(value);
    const text = readValue(name, value, diagnostics);
    if (text !== null) found.push({ name, meaning: meant, value: text });
  }
  return found;
}

function readValue(name: string, file: string, diagnostics: Diagnostics): string | null {
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    diagnostics.add({ file: name, line: null }, `could not read "${printable(file)}": ${reasonOf(error)}`);
    return null;
  }
}

/** The meaning of a variable without `_FILE`; null: it has none. */
function meaningOf(name: string, hasPlainNames: boolean): Meaning | null {
  if (hasPlainNames && isOptionName(name)) return { kind: 'option', key: name, rank: 0 };
  if (Object.hasOwn(SINGLE, name)) return { kind: 'option', key: SINGLE[name]!, rank: 1 };
  if (name === PASSWORDS) return { kind: 'passwords' };
  if (name === ALL_DATABASES) return { kind: 'entry', section: 'databases', number: 0 };
  const [, what = '', number] = /^(PGB_[A-Z]+?)([1-9]\d{0,5})$/.exec(name) ?? [];
  if (Object.hasOwn(NUMBERED, what))
    return { kind: 'entry', section: NUMBERED[what]!, number: Number(number) };
  if (!name.startsWith(PREFIX)) return null;
  const key = name.slice(PREFIX.length).toLowerCase();
  const isOption = name === PREFIX + key.toUpperCase() && isOptionName(key);
  return isOption ? { kind: 'option', key, rank: 2 } : null;
}

/** Options by rank, so that our own names win; entries by number. */
function inOrder(a: Variable, b: Variable): number {
  return placeOf(a.meaning) - placeOf(b.meaning) || (a.name < b.name ? -1 : 1);
}

function placeOf(meaning: Meaning): number {
  return meaning.kind === 'option' ? meaning.rank : meaning.kind === 'entry' ? 10 + meaning.number : 0;
}

/** The entry that a variable stands for; null: none, or a problem. */
function entryOf({ name, meaning, value }: Variable, diagnostics: Diagnostics): IniEntry | null {
  const place = { file: name, line: null };
  if (meaning.kind === 'passwords') return null;
  if (meaning.kind === 'option')
    return { kind: 'entry', section: 'pgbouncer', key: meaning.key, value, ...place };
  // templates leave variables empty
  if (value.trim() === '') return null;
  const line = value.trim();
  const isBare = meaning.number === 0 && !/^\*\s*=/.test(line);
  if (/[\r\n]/.test(line)) {
    diagnostics.add(place, 'more than one line', { hint: 'one variable for each entry' });
    return null;
  }
  return parseEntry({ section: meaning.section, place, diagnostics }, isBare ? `* = ${line}` : line);
}

function usersOf(variables: readonly Variable[], diagnostics: Diagnostics): ReadonlyMap<string, string> {
  const given = variables.find(({ meaning }) => meaning.kind === 'passwords');
  if (given === undefined || given.value === '') return new Map();
  const place = { file: given.name, line: null };
  const names = variables.findLast(({ name }) => name.replace(/_FILE$/, '') === 'PGB_ADMIN_USERS');
  const users = splitList(names?.value ?? '');
  const passwords = given.value.split(',');
  if (users.length !== passwords.length)
    diagnostics.add(
      place,
      `${passwords.length} passwords for ${users.length} users of PGB_ADMIN_USERS: there must be one for each`,
      { hint: 'passwords are separated by commas; use auth_file for a password with a comma' },
    );
  const empty = passwords.indexOf('');
  if (empty >= 0) diagnostics.add(place, `password ${empty + 1} is empty`);
  return new Map(users.map((user, at) => [user, passwords[at] ?? '']));
}

/** A warning for each variable with our prefix that nothing reads: probably a misspelt name. */
function unknownOf({ variables, hasPlainNames }: Environment): string[] {
  return Object.keys(variables)
    .filter((name) => /^(?:PGSWITCHYARD|PGB)_/.test(name) && !OTHERS.test(name))
    .filter((name) => meaningOf(name, hasPlainNames) === null)
    .filter(
      (name) =>
        !name.endsWith(FILE_SUFFIX) || meaningOf(name.slice(0, -FILE_SUFFIX.length), hasPlainNames) === null,
    )
    .toSorted()
    .map((name) => {
      const hint = nearestHint(name, KNOWN);
      return `environment variable ${printable(name)} is not known${hint === null ? '' : ` (${hint})`}`;
    });
}
