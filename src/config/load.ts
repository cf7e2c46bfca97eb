/** Turns the ini file and all files that it names into a Config, or into the list of their problems. */
import { accessSync, constants, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { readAuthFiles, withUsers } from './auth-files.ts';
import type { Config, DatabaseConfig, PeerConfig, UserConfig } from './config.ts';
import { parseDatabase, parsePeer, parseUser } from './connection-string.ts';
import type { EntryContext } from './connection-string.ts';
import { Diagnostics, formatPlace, nearestHint } from './diagnostics.ts';
import type { Place } from './diagnostics.ts';
import { readEnvironment, type Environment, type EnvironmentConfig } from './environment.ts';
import { parseIni, readIni, reasonOf } from './ini.ts';
import type { IniEntry, IniEvent } from './ini.ts';
import { ValueError } from './option.ts';
import { OPTION_NAMES, isOptionName, optionOf } from './options.ts';
import type { OptionName, Settings } from './options.ts';
import { checkStateDir } from './state-dir.ts';
import { checkTenants, parseTenant, tenantsOf, TargetCheck, type TenantEntry } from './tenants.ts';

type Mutable = { -readonly [K in OptionName]: unknown };
type Entry = IniEntry;

const SECTIONS = ['pgbouncer', 'databases', 'users', 'peers', 'tenants'];
const TLS_FILES = ['ca_file', 'cert_file', 'key_file'] as const;

/** Stands for the ini file if there is none: paths of rules are relative to the working directory. */
const NO_FILE = '(environment)';
const NO_ENVIRONMENT: EnvironmentConfig = { entries: [], users: new Map(), files: [], warnings: [] };

/** Where a configuration comes from. The environment overrides the file. */
export interface ConfigSource {
  /** the ini file; null: all of it is in the environment */
  readonly file: string | null;
  readonly environment?: Environment | null;
}

/**
 * Reads the ini file, the environment and all files that they name. Paths are relative to the working directory, those of rule
 * files and user_functions_dir to the ini file's folder.
 * @param source The ini file, or more.
 * @param previous On a reload: pgbouncer's options without a default keep their value if their line is gone.
 * @param commandLine Values that apply unless the file names them.
 * @throws {ConfigError} with every problem.
 */
export function loadConfig(
  source: string | ConfigSource,
  previous: Config | null = null,
  commandLine: Partial<Settings> = {},
): Config {
  const diagnostics = new Diagnostics();
  const settings = { ...initialSettings(previous), ...commandLine };
  const { file, environment = null } = typeof source === 'string' ? { file: source } : source;
  const events = file === null ? [] : readIni(file, diagnostics);
  return build(events, file, { diagnostics, initial: settings, previous, environment });
}

/** loadConfig for a text; `file` gives the name in problems and the folder of rule files. */
export function configFromText(text: string, file = 'pgbouncer.ini'): Config {
  const diagnostics = new Diagnostics();
  return build(parseIni(text, file, diagnostics), file, {
    diagnostics,
    initial: initialSettings(null),
    previous: null,
    environment: null,
  });
}

interface Building {
  readonly diagnostics: Diagnostics;
  readonly initial: Mutable;
  readonly previous: Config | null;
  readonly environment: Environment | null;
}

function build(
  events: readonly IniEvent[],
  file: string | null,
  { diagnostics, initial, previous, environment }: Building,
): Config {
  const loader = new Loader(file, diagnostics, initial);
  for (const event of events) {
    if (event.kind === 'section') loader.enterSection(event.name, event);
    else loader.entry(event);
  }
  const given = environment === null ? NO_ENVIRONMENT : readEnvironment(environment, diagnostics);
  if (environment !== null) loader.enterEnvironment(given);
  const { users, files } = given;
  return Object.freeze({
    ...loader.finish(previous, users),
    environment: environment === null ? null : { source: environment, users, files },
  });
}

class Loader {
  readonly #file: string;
  readonly #hasFile: boolean;
  readonly #folder: string;
  readonly #diagnostics: Diagnostics;
  readonly #settings: Mutable;
  /** Where each option was last set. */
  readonly #entries = new Map<OptionName, Entry>();
  readonly #databases = new Map<string, DatabaseConfig>();
  /** The place of each database in the files. */
  readonly #places = new Map<string, Entry>();
  readonly #users = new Map<string, UserConfig>();
  readonly #peers = new Map<number, PeerConfig>();
  readonly #tenants = new Map<string, TenantEntry>();
  readonly #warnings: string[] = [];
  /** By section and key, the last entry. */
  readonly #inForce = new Map<string, Entry>();
  #hasMain = false;

  constructor(file: string | null, diagnostics: Diagnostics, initial: Mutable) {
    this.#hasFile = file !== null;
    this.#file = resolve(file ?? NO_FILE);
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

  /** pgbouncer applies the defaults each time that it enters the section. */
  #resetMain(place: Place): void {
    const lost = [...this.#entries.keys()].filter((name) => optionOf(name).default !== null);
    for (const name of lost) {
      this.#settings[name] = optionOf(name).initial;
      this.#entries.delete(name);
      this.#inForce.delete(`pgbouncer ${name}`);
    }
    if (lost.length > 0) {
      this.#warnings.push(
        `${formatPlace(place)}: a second [pgbouncer] section sets these back to their defaults: ${lost.join(', ')}`,
      );
    }
  }

  /** The environment overrides the file, which need not have a [pgbouncer] section then. */
  enterEnvironment({ entries, warnings }: EnvironmentConfig): void {
    this.#hasMain = true;
    this.#warnings.push(...warnings);
    for (const entry of entries) this.entry(entry);
  }

  entry(entry: Entry): void {
    const context: EntryContext = { place: entry, diagnostics: this.#diagnostics };
    this.#inForce.set(`${entry.section} ${entry.key}`, entry);
    if (entry.section === 'pgbouncer') {
      this.#setOption(entry);
    } else if (entry.section === 'databases') {
      const database = parseDatabase(entry.key, entry.value, this.#folder, context);
      if (database === null) return;
      this.#databases.set(database.name, database);
      this.#places.set(database.name, entry);
      this.#checkFile(database.routing_rules_file, entry);
      this.#checkFile(database.rewrite_query_file, entry);
    } else if (entry.section === 'users') {
      const user = parseUser(entry.key, entry.value, context);
      if (user !== null) this.#users.set(user.name, user);
    } else if (entry.section === 'peers') {
      const peer = parsePeer(entry.key, entry.value, context);
      if (peer !== null) this.#peers.set(peer.id, peer);
    } else if (entry.section === 'tenants') {
      const tenant = parseTenant(entry.key, entry.value, this.#folder, context);
      if (tenant !== null) this.#tenants.set(tenant.name, tenant);
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

  /** @param users they replace the entries of auth_file */
  finish(previous: Config | null, users: ReadonlyMap<string, string>): Omit<Config, 'environment'> {
    if (!this.#hasMain && this.#diagnostics.all.length === 0) {
      this.#diagnostics.add({ file: this.#file, line: null }, 'main section missing from config file', {
        hint: '[pgbouncer] is required',
      });
    }
    this.#resolvePaths();
    this.#checkTargets();
    const settings = this.#settings as Settings;
    const auth = readAuthFiles(settings, this.#diagnostics, previous, (name) => this.#placeOf(name));
    this.#checkTlsFiles(settings, 'client');
    this.#checkTlsFiles(settings, 'server');
    this.#checkHttpAddress(settings);
    this.#diagnostics.throwIfAny(settings);

    this.#warnAboutEffects();
    const fallback = this.#databases.get('*') ?? null;
    this.#databases.delete('*');
    const texts = new Map([...this.#entries].map(([name, entry]) => [name as string, entry.value]));
    return {
      file: this.#file,
      settings: Object.freeze(settings),
      databases: this.#databases,
      fallback,
      users: this.#users,
      peers: this.#peers,
      ...tenantsOf(this.#tenants),
      ...auth,
      userlist: withUsers(auth.userlist, users),
      warnings: this.#warnings,
      texts,
      entries: [...this.#inForce.values()],
    };
  }

  #checkTargets(): void {
    const targetCheck = new TargetCheck(this.#databases, this.#diagnostics);
    for (const { name: option, routing_targets: targets } of this.#databases.values())
      targetCheck.check({ what: 'routing_targets', option, place: this.#places.get(option)!, targets });
    checkTenants(this.#tenants, this.#databases, targetCheck, this.#diagnostics);
  }

  #placeOf(name: OptionName): Place {
    return this.#entries.get(name) ?? { file: this.#file, line: null };
  }

  #resolvePaths(): void {
    const settings = this.#settings;
    if (this.#hasFile) settings.conffile ??= this.#file;
    for (const name of ['routing_rules_file', 'rewrite_query_file'] as const) {
      const entry = this.#entries.get(name);
      if (entry === undefined || settings[name] === null) continue;
      settings[name] = resolve(this.#folder, settings[name] as string);
      this.#checkFile(settings[name] as string, entry);
    }
    settings.user_functions_dir = this.#functionsDir(settings.user_functions_dir as string);
    settings.user_functions_state_dir = this.#stateDir(settings.user_functions_state_dir as string);
  }

  /** Only a folder that the file names must be usable. */
  #stateDir(value: string): string {
    const entry = this.#entries.get('user_functions_state_dir');
    if (value === '' || (entry === undefined && !this.#hasFile)) return '';
    const folder = resolve(this.#folder, value);
    const uid = process.getuid?.() ?? 0;
    // root will become another user first (run.ts)
    if (entry !== undefined && uid !== 0) checkStateDir(folder, entry, this.#diagnostics, uid);
    return folder;
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
      if (entry !== undefined) this.#checkTlsFile(settings[name], entry);
    }
  }

  /** A health check that nobody answers ends a pod, and nothing would say why. */
  #checkHttpAddress({ http_listen_addr: addresses, http_listen_port: port }: Settings): void {
    if (port === 0 || addresses.length > 0) return;
    const place = this.#placeOf('http_listen_addr');
    this.#diagnostics.add(place, 'http_listen_port needs an address', { option: 'http_listen_addr' });
  }

  /** pgbouncer's words at both ends of the line, which logs are searched for. */
  #checkTlsFile(file: string | null, entry: Entry): void {
    if (file === null || file === '') return;
    try {
      accessSync(file, constants.R_OK);
    } catch (error) {
      const why = reasonOf(error);
      this.#diagnostics.add(
        entry,
        `could not read "${file}": ${why.charAt(0).toUpperCase()}${why.slice(1)}`,
        { option: entry.key, failure: 'TLS setup failed' },
      );
    }
  }

  #warnAboutEffects(): void {
    const named = [...this.#entries.keys()].toSorted();
    const accepted = named.filter((name) => optionOf(name).effect === 'accepted');
    if (this.#settings.metrics_emf === true && this.#settings.log_format !== 'json')
      this.#warnings.push('metrics_emf has no effect without log_format = json');
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
export function parseOption(name: OptionName, text: string): unknown {
  const option = optionOf(name);
  // an empty text means "not set" for options that may be unset
  if (text === '' && option.initial === null) return null;
  return option.kind.parse(text);
}
