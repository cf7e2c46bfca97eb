// Files to a Config, or all that is wrong with them; what RELOAD, SET and SHOW CONFIG do with one.
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Config, DatabaseConfig, PeerConfig, UserConfig } from './config.ts';
import { parseDatabase, parsePeer, parseUser } from './connection-string.ts';
import type { EntryContext } from './connection-string.ts';
import { Diagnostics, nearestHint } from './diagnostics.ts';
import { parseHba, parseIdent } from './hba.ts';
import { parseIni, readIni, reasonOf } from './ini.ts';
import type { IniEvent } from './ini.ts';
import { ValueError } from './option.ts';
import { OPTION_NAMES, isOptionName, optionOf } from './options.ts';
import type { OptionName, Settings } from './options.ts';
import { parseUserlist } from './userlist.ts';

type Mutable = { -readonly [K in OptionName]: unknown };
type Entry = Extract<IniEvent, { kind: 'entry' }>;
type Place = { readonly file: string; readonly line: number | null };
type AuthFiles = Pick<Config, 'userlist' | 'hba' | 'identMaps' | 'authProblems'>;

const SECTIONS = ['pgbouncer', 'databases', 'users', 'peers'];
/** Read while the configuration is loaded, so SET reads them again. */
const AUTH_OPTIONS: readonly OptionName[] = ['auth_file', 'auth_hba_file', 'auth_ident_file', 'auth_type'];
/** What a line of each file is called in the log. */
const AUTH_LINES = {
  auth_file: 'auth file',
  auth_hba_file: 'hba config',
  auth_ident_file: 'ident map',
} as const;
const TLS_FILES = ['ca_file', 'cert_file', 'key_file'] as const;

/**
 * Reads the ini file and all that it names. Paths are relative to the working directory, those of rule files and
 * user_functions_dir to the ini file's folder.
 * @param previous On a reload: pgbouncer's options without a default keep their value when their line is gone.
 * @param commandLine Values that count unless the file names them.
 * @throws {ConfigError} with every problem.
 */
export function loadConfig(
  file: string,
  previous: Config | null = null,
  commandLine: Partial<Settings> = {},
): Config {
  const diagnostics = new Diagnostics();
  const settings = { ...initialSettings(previous), ...commandLine };
  return build(readIni(file, diagnostics), file, diagnostics, settings, previous);
}

/** loadConfig for text at hand; `file` gives the name in problems and the folder of rule files. */
export function configFromText(text: string, file = 'pgbouncer.ini'): Config {
  const diagnostics = new Diagnostics();
  return build(parseIni(text, file, diagnostics), file, diagnostics, initialSettings(null), null);
}

function build(
  events: readonly IniEvent[],
  file: string,
  diagnostics: Diagnostics,
  initial: Mutable,
  previous: Config | null,
): Config {
  const loader = new Loader(file, diagnostics, initial);
  for (const event of events) {
    if (event.kind === 'section') loader.enterSection(event.name, event);
    else loader.entry(event);
  }
  return loader.finish(previous);
}

class Loader {
  readonly #file: string;
  readonly #folder: string;
  readonly #diagnostics: Diagnostics;
  readonly #settings: Mutable;
  /** Where each option was set last. */
  readonly #entries = new Map<OptionName, Entry>();
  readonly #databases = new Map<string, DatabaseConfig>();
  readonly #users = new Map<string, UserConfig>();
  readonly #peers = new Map<number, PeerConfig>();
  readonly #warnings: string[] = [];
  #hasMain = false;

  constructor(file: string, diagnostics: Diagnostics, initial: Mutable) {
    this.#file = resolve(file);
    this.#folder = dirname(this.#file);
    this.#diagnostics = diagnostics;
    this.#settings = initial;
  }

  enterSection(name: string, place: Place): void {
    if (!SECTIONS.includes(name)) {
      const hint = nearestHint(name, SECTIONS) ?? `known: ${SECTIONS.join(', ')}`;
      this.#diagnostics.add(place, `unknown section: [${name}]`, { hint });
      return;
    }
    if (name !== 'pgbouncer') return;
    if (this.#hasMain) this.#resetMain(place);
    this.#hasMain = true;
  }

  /** pgbouncer fills the defaults in each time that it enters the section. */
  #resetMain(place: Place): void {
    const lost = [...this.#entries.keys()].filter((name) => optionOf(name).default !== null);
    for (const name of lost) {
      this.#settings[name] = optionOf(name).initial;
      this.#entries.delete(name);
    }
    if (lost.length > 0) {
      this.#warnings.push(
        `${place.file}:${place.line}: a second [pgbouncer] section sets these back to their defaults: ${lost.join(', ')}`,
      );
    }
  }

  entry(entry: Entry): void {
    const context: EntryContext = { place: entry, diagnostics: this.#diagnostics };
    if (entry.section === 'pgbouncer') {
      this.#setOption(entry);
    } else if (entry.section === 'databases') {
      const database = parseDatabase(entry.key, entry.value, this.#folder, context);
      if (database === null) return;
      this.#databases.set(database.name, database);
      this.#checkFile(database.routing_rules_file, entry);
      this.#checkFile(database.rewrite_query_file, entry);
    } else if (entry.section === 'users') {
      const user = parseUser(entry.key, entry.value, context);
      if (user !== null) this.#users.set(user.name, user);
    } else if (entry.section === 'peers') {
      const peer = parsePeer(entry.key, entry.value, context);
      if (peer !== null) this.#peers.set(peer.id, peer);
    }
  }

  #setOption(entry: Entry): void {
    const { key, value } = entry;
    if (!isOptionName(key)) {
      const hint = nearestHint(key, OPTION_NAMES);
      this.#diagnostics.add(entry, 'unknown option', { option: key, hint });
      return;
    }
    try {
      this.#settings[key] = parseOption(key, value);
      this.#entries.set(key, entry);
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      this.#diagnostics.add(entry, error.message, { option: key, hint: error.hint });
    }
  }

  finish(previous: Config | null): Config {
    if (!this.#hasMain && this.#diagnostics.all.length === 0) {
      this.#diagnostics.add({ file: this.#file, line: null }, 'main section missing from config file', {
        hint: '[pgbouncer] is required',
      });
    }
    this.#resolvePaths();
    const settings = this.#settings as Settings;
    const auth = readAuthFiles(settings, this.#diagnostics, previous, (name) => this.#placeOf(name));
    this.#checkTlsFiles(settings, 'client');
    this.#checkTlsFiles(settings, 'server');
    this.#diagnostics.throwIfAny();

    this.#warnAboutEffects();
    const fallback = this.#databases.get('*') ?? null;
    this.#databases.delete('*');
    const texts = new Map([...this.#entries].map(([name, entry]) => [name as string, entry.value]));
    return Object.freeze({
      file: this.#file,
      settings: Object.freeze(settings),
      databases: this.#databases,
      fallback,
      users: this.#users,
      peers: this.#peers,
      ...auth,
      warnings: this.#warnings,
      texts,
    });
  }

  #placeOf(name: OptionName): Place {
    return this.#entries.get(name) ?? { file: this.#file, line: null };
  }

  #resolvePaths(): void {
    const settings = this.#settings;
    settings.conffile ??= this.#file;
    for (const name of ['routing_rules_file', 'rewrite_query_file'] as const) {
      const entry = this.#entries.get(name);
      if (entry === undefined || settings[name] === null) continue;
      settings[name] = resolve(this.#folder, settings[name] as string);
      this.#checkFile(settings[name] as string, entry);
    }
    settings.user_functions_dir = this.#functionsDir(settings.user_functions_dir as string);
  }

  /** Only a folder that the file names must exist. */
  #functionsDir(value: string): string {
    if (value === '') return '';
    const folder = resolve(this.#folder, value);
    if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true) return folder;
    const entry = this.#entries.get('user_functions_dir');
    if (entry !== undefined) {
      this.#diagnostics.add(entry, `"${folder}" is not a folder`, { option: entry.key });
    }
    return '';
  }

  #checkFile(file: string | null, entry: Entry): void {
    if (file === null || file === '') return;
    try {
      accessSync(file, constants.R_OK);
    } catch (error) {
      this.#diagnostics.add(entry, `could not read "${file}": ${reasonOf(error)}`, { option: entry.key });
    }
  }

  #checkTlsFiles(settings: Settings, side: 'client' | 'server'): void {
    if (settings[`${side}_tls_sslmode`] === 'disable') return;
    for (const what of TLS_FILES) {
      const name = `${side}_tls_${what}` as const;
      const entry = this.#entries.get(name);
      if (entry !== undefined) this.#checkFile(settings[name], entry);
    }
  }

  #warnAboutEffects(): void {
    const named = [...this.#entries.keys()].toSorted();
    const accepted = named.filter((name) => optionOf(name).effect === 'accepted');
    if (accepted.length > 0) this.#warnings.push(`options without effect: ${accepted.join(', ')}`);
  }
}

function initialSettings(previous: Config | null): Mutable {
  const settings: Partial<Mutable> = {};
  for (const name of OPTION_NAMES) {
    const option = optionOf(name);
    const keeps = previous !== null && option.default === null && option.origin === 'pgbouncer';
    settings[name] = keeps ? previous.settings[name] : option.initial;
  }
  return settings as Mutable;
}

/** @throws {ValueError} */
function parseOption(name: OptionName, text: string): unknown {
  const option = optionOf(name);
  // An empty text says "not set" where that is possible.
  if (text === '' && option.initial === null) return null;
  return option.kind.parse(text);
}

/**
 * A line that can't be read does not count, as in pgbouncer. Nor does an auth_file that has never been there: auth_query
 * may know everybody.
 */
function readAuthFiles(
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

/**
 * What SET key = value makes of a configuration. The next reload undoes it.
 * @throws {ValueError} unknown option, not changeable, or no such value. @throws {ConfigError} a file cannot be used.
 */
export function applySet(config: Config, key: string, value: string): Config {
  if (!isOptionName(key)) throw new ValueError(`unknown option: ${key}`, nearestHint(key, OPTION_NAMES));
  if (!optionOf(key).reload) throw new ValueError(`${key} cannot be changed without a restart`);
  let parsed = parseOption(key, value);
  const relative =
    key === 'routing_rules_file' || key === 'rewrite_query_file' || key === 'user_functions_dir';
  if (relative && typeof parsed === 'string' && parsed !== '') parsed = resolve(dirname(config.file), parsed);

  const settings = Object.freeze({ ...config.settings, [key]: parsed });
  const texts = new Map(config.texts).set(key, value);
  if (!AUTH_OPTIONS.includes(key)) return Object.freeze({ ...config, settings, texts });
  const diagnostics = new Diagnostics();
  const auth = readAuthFiles(settings, diagnostics, config, () => ({ file: 'SET', line: null }));
  diagnostics.throwIfAny();
  return Object.freeze({ ...config, settings, texts, ...auth });
}

/** A row of SHOW CONFIG; null is SQL's NULL. */
export interface ConfigRow {
  readonly key: string;
  readonly value: string | null;
  readonly default: string | null;
  readonly changeable: 'yes' | 'no';
}

/** SHOW CONFIG. A secret's value is starred out. */
export function showConfig(config: Config): readonly ConfigRow[] {
  return OPTION_NAMES.filter((name) => optionOf(name).shown).map((name) => ({
    key: name,
    value: showValue(config, name),
    default: optionOf(name).default,
    changeable: optionOf(name).reload ? 'yes' : 'no',
  }));
}

function showValue(config: Config, name: OptionName): string | null {
  const option = optionOf(name);
  const value = config.settings[name];
  if (value === null) return null;
  if (option.secret && value !== '') return '********';
  // Lists keep the blanks, and our folder the form, that the file gave them.
  if (Array.isArray(value) || name === 'user_functions_dir') {
    return config.texts?.get(name) ?? option.default;
  }
  return option.kind.show(value as NonNullable<unknown>);
}

/** What differs between two configurations; `*` is the fallback database's name. */
export interface ConfigDiff {
  readonly changed: readonly OptionName[];
  /** Those of `changed` that only a restart applies. */
  readonly needRestart: readonly OptionName[];
  readonly databases: Difference;
  readonly users: Difference;
}

export interface Difference {
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
}

export function diff(old: Config, fresh: Config): ConfigDiff {
  const changed = OPTION_NAMES.filter((name) => !isDeepStrictEqual(old.settings[name], fresh.settings[name]));
  return {
    changed,
    needRestart: changed.filter((name) => !optionOf(name).reload),
    databases: difference(withFallback(old), withFallback(fresh)),
    users: difference(old.users, fresh.users),
  };
}

function withFallback(config: Config): ReadonlyMap<string, DatabaseConfig> {
  if (config.fallback === null) return config.databases;
  return new Map(config.databases).set('*', config.fallback);
}

function difference(old: ReadonlyMap<string, unknown>, fresh: ReadonlyMap<string, unknown>): Difference {
  const names = [...fresh.keys()];
  return {
    added: names.filter((name) => !old.has(name)),
    removed: [...old.keys()].filter((name) => !fresh.has(name)),
    changed: names.filter((name) => old.has(name) && !isDeepStrictEqual(old.get(name), fresh.get(name))),
  };
}

export interface Reload {
  readonly config: Config;
  readonly diff: ConfigDiff;
  /** Databases that would lose the user that they force, and keep it. */
  readonly keptUsers: readonly string[];
}

/**
 * RELOAD: reads `conffile` again. The new configuration keeps the running values of what needs a restart; `diff` names
 * them.
 * @throws {ConfigError} and the old configuration stays in force.
 */
export function reloadConfig(old: Config): Reload {
  const loaded = loadConfig(old.settings.conffile ?? old.file, old);
  const databases = new Map(loaded.databases);
  const keptUsers = keepForcedUsers(databases, old.databases);
  const fresh = { ...loaded, databases };
  const changes = diff(old, fresh);
  const running = Object.fromEntries(changes.needRestart.map((name) => [name, old.settings[name]]));
  const texts = new Map(fresh.texts);
  for (const name of changes.needRestart) {
    const text = old.texts?.get(name);
    if (text === undefined) texts.delete(name);
    else texts.set(name, text);
  }
  const settings = Object.freeze({ ...fresh.settings, ...running }) as Settings;
  return { config: Object.freeze({ ...fresh, settings, texts }), diff: changes, keptUsers };
}

/**
 * As in pgbouncer the user that a database forces can become another, but not none.
 * @returns the names of the databases that keep it so
 */
function keepForcedUsers(
  databases: Map<string, DatabaseConfig>,
  old: ReadonlyMap<string, DatabaseConfig>,
): string[] {
  const kept: string[] = [];
  for (const [name, entry] of databases) {
    const before = old.get(name);
    if (entry.user !== null || before === undefined || before.user === null) continue;
    const password = entry.password ?? before.password;
    databases.set(name, Object.freeze({ ...entry, user: before.user, password }));
    kept.push(name);
  }
  return kept;
}
