/** Changes of a configuration by RELOAD and SET. */
import { dirname, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { AUTH_OPTIONS, readAuthFiles, withUsers } from './auth-files.ts';
import type { Config, DatabaseConfig } from './config.ts';
import { Diagnostics, nearestHint } from './diagnostics.ts';
import { loadConfig, parseOption } from './load.ts';
import { ValueError } from './option.ts';
import { OPTION_NAMES, isOptionName, optionOf } from './options.ts';
import type { OptionName, Settings } from './options.ts';

/**
 * The configuration after SET key = value. The next reload undoes the change.
 * @throws {ValueError} unknown option, not changeable, or not a value of it. @throws {ConfigError} a file can't be used.
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
  const userlist = withUsers(auth.userlist, config.environment?.users);
  return Object.freeze({ ...config, settings, texts, ...auth, userlist });
}

/** The differences between two configurations; `*` is the fallback database's name. */
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
  /** Databases that would lose their forced user, and keep it. */
  readonly keptUsers: readonly string[];
}

/**
 * RELOAD: reads `conffile` again. Options that need a restart keep their running values in the new configuration; `diff` names
 * them.
 * @throws {ConfigError} and the old configuration stays in force.
 */
export function reloadConfig(old: Config): Reload {
  const environment = old.environment?.source ?? null;
  // without an environment there always is a file
  const file = old.settings.conffile ?? (environment === null ? old.file : null);
  const loaded = loadConfig({ file, environment }, old);
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
 * As in pgbouncer, a database's forced user can be replaced, but not removed.
 * @returns the names of the databases that keep theirs for that reason
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
