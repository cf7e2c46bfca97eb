/** The shape of a whole configuration, as the rest of the program sees it. */
import type { Environment } from './environment.ts';
import type { HbaRule, IdentMap } from './hba.ts';
import type { IniEntry } from './ini.ts';
import type { Settings, Unjudged } from './options.ts';

export type PoolMode = 'session' | 'transaction' | 'statement';

/** Frozen: a reload makes another one. */
export interface Config {
  /** The ini file; without one, a name that stands for it in the working directory. */
  readonly file: string;
  readonly settings: Settings;
  readonly databases: ReadonlyMap<string, DatabaseConfig>;
  /** The entry `*`. */
  readonly fallback: DatabaseConfig | null;
  readonly users: ReadonlyMap<string, UserConfig>;
  readonly peers: ReadonlyMap<number, PeerConfig>;
  /** The entries of [tenants], with the defaults of its entry `*`. */
  readonly tenants: ReadonlyMap<string, TenantConfig>;
  /** The entry `*` of [tenants], for tenants that have no entry. */
  readonly tenantDefaults: TenantConfig;
  /** auth_file: user name to password or secret. */
  readonly userlist: ReadonlyMap<string, string>;
  /** auth_hba_file's rules in order; null: no such file is set. */
  readonly hba: readonly HbaRule[] | null;
  /** auth_ident_file: map name to its lines in order. */
  readonly identMaps: ReadonlyMap<string, IdentMap>;
  /** The parts of the three files that could not be read and are ignored: one line each, for the log. */
  readonly authProblems: readonly string[];
  /** One line each, for the log. */
  readonly warnings: readonly string[];
  /** The options that the file names, as it writes them (SHOW CONFIG prints lists in that form). */
  readonly texts?: ReadonlyMap<string, string>;
  /** The entries that apply, each with its place. */
  readonly entries: readonly IniEntry[];
  /** null: the environment is not used. */
  readonly environment: LoadedEnvironment | null;
}

/** The environment, which overrides the ini file. */
export interface LoadedEnvironment {
  /** The variables, which a reload reads again. */
  readonly source: Environment;
  /** Files that variables name. */
  readonly files: readonly string[];
  /** Users and passwords that are added to auth_file. */
  readonly users: ReadonlyMap<string, string>;
}

/** An entry of [databases]. null: not given, so the option of [pgbouncer] applies. */
export interface DatabaseConfig {
  readonly name: string;
  readonly dbname: string | null;
  /** Names, addresses, `/folder` or `@abstract`; empty: the Unix socket in unix_socket_dir. */
  readonly hosts: readonly string[];
  readonly port: number;
  readonly user: string | null;
  readonly password: string | null;
  readonly auth_user: string | null;
  readonly auth_query: string | null;
  readonly auth_dbname: string | null;
  readonly connect_query: string | null;
  readonly client_encoding: string | null;
  readonly datestyle: string | null;
  readonly timezone: string | null;
  readonly application_name: string | null;
  readonly topology_query: string | null;
  readonly reader_database: string | null;
  /** Absolute path. */
  readonly routing_rules_file: string | null;
  /** Absolute path. */
  readonly rewrite_query_file: string | null;
  /** Names that its own functions may return besides those of its own databases; `*`: all. */
  readonly routing_targets: readonly string[];
  /** The things that its clients may do although the user functions can't judge them. */
  readonly user_functions_allow: readonly Unjudged[] | null;
  readonly pool_size: number | null;
  readonly min_pool_size: number | null;
  readonly reserve_pool_size: number | null;
  readonly max_db_connections: number | null;
  readonly max_db_client_connections: number | null;
  /** Milliseconds. */
  readonly server_lifetime: number | null;
  /** Milliseconds. */
  readonly query_wait_timeout: number | null;
  readonly pool_mode: PoolMode | null;
  /** The way in which TLS toward the servers begins. */
  readonly sslnegotiation: 'postgres' | 'direct';
  readonly load_balance_hosts: 'round-robin' | 'disable';
}

/** An entry of [users]. Times in milliseconds; null: not given. */
export interface UserConfig {
  readonly name: string;
  readonly pool_mode: PoolMode | null;
  readonly pool_size: number | null;
  readonly reserve_pool_size: number | null;
  readonly max_user_connections: number | null;
  readonly max_user_client_connections: number | null;
  readonly query_timeout: number | null;
  readonly query_wait_timeout: number | null;
  readonly idle_transaction_timeout: number | null;
  readonly transaction_timeout: number | null;
  readonly client_idle_timeout: number | null;
}

/** An entry of [peers]. */
export interface PeerConfig {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  readonly pool_size: number | null;
}

/** An entry of [tenants]. null: not given, so the option of [pgbouncer] holds. */
export interface TenantConfig {
  readonly name: string;
  /** Databases whose clients its functions judge. */
  readonly databases: readonly string[];
  /** Absolute path; null: the folder of its name in user_functions_dir. */
  readonly functions_dir: string | null;
  /** Names that its routing function may return besides those of its own databases; `*`: all. */
  readonly targets: readonly string[];
  /** Milliseconds. */
  readonly timeout: number | null;
  /** MB. */
  readonly memory_limit: number | null;
  /** of user_function_cache, in MB; null: a quarter */
  readonly cache: number | null;
  /** Milliseconds of processor time in a second; 0: no limit. */
  readonly cpu_limit: number | null;
  readonly isolation: 'inline' | 'process' | null;
  readonly on_routing_failure: 'pass' | 'error' | 'disconnect' | null;
  readonly on_rewrite_failure: 'pass' | 'error' | 'disconnect' | null;
  /** Users who may manage it in the console. */
  readonly admin_users: readonly string[];
  /** Milliseconds of processor time in a second for its candidate. */
  readonly shadow_limit: number | null;
  /** Percent. */
  readonly canary_tolerance: number | null;
  /** Milliseconds. */
  readonly canary_duration: number | null;
  /** Lines a second that its functions may print to the log. */
  readonly log_limit: number | null;
}
