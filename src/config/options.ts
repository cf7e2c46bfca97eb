/** THE TABLE: every option of [pgbouncer], once. The order is that of SHOW CONFIG. */
import { fleetStore } from './fleet-store.ts';
import {
  checkedText,
  flag,
  httpUrl,
  int,
  list,
  milliseconds,
  oneOf,
  option,
  path,
  pythonModule,
  share,
} from './option.ts';
import { seconds, size, text, tlsProtocols, wholeSeconds, words } from './option.ts';
import type { Option } from './option.ts';

const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const;

/** Requests that user functions can't judge, and that user_functions_allow lets through. */
export const UNJUDGED = ['function_call', 'replication'] as const;
export type Unjudged = (typeof UNJUDGED)[number];

/** auth_query must not run on the console. */
export function reservedDatabase(name: string): string | null {
  if (name !== 'pgbouncer') return null;
  return 'cannot use the reserved "pgbouncer" database as an auth_dbname';
}

export const OPTIONS = {
  admin_users: option({
    kind: list(),
    default: '',
    doc: 'Users that may run every console command. Separated by commas.',
  }),
  application_name_add_host: option({
    kind: flag(),
    default: '0',
    doc: "Appends the client's host and port to application_name at login.",
  }),
  auth_dbname: option({
    kind: checkedText(reservedDatabase),
    default: null,
    scope: ['database'],
    doc: 'The database of [databases] in which auth_query runs.',
  }),
  auth_file: option({
    kind: path(),
    default: null,
    doc: 'File of user names and passwords or secrets.',
  }),
  auth_hba_file: option({
    kind: path(),
    default: '',
    doc: 'HBA file for auth_type = hba.',
  }),
  auth_ident_file: option({
    kind: path(),
    default: null,
    doc: 'File of user name maps for the cert and peer methods of an HBA file.',
  }),
  auth_ldap_options: option({
    kind: text(),
    default: null,
    secret: true,
    doc: 'LDAP settings for auth_type = ldap, written as in a pg_hba.conf line.',
  }),
  auth_query: option({
    kind: text(),
    default: `SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid WHERE rolname=$1 AND rolcanlogin`,
    scope: ['database'],
    doc: "Query that returns a user's name and secret; $1 is the user name.",
  }),
  auth_type: option({
    kind: oneOf('any', 'trust', 'plain', 'md5', 'scram-sha-256', 'cert', 'hba', 'ldap', 'pam'),
    default: 'md5',
    doc: 'How clients prove who they are.',
  }),
  auth_user: option({
    kind: text(),
    default: null,
    scope: ['database'],
    doc: 'User that runs auth_query for users that auth_file does not know.',
  }),
  autodb_idle_timeout: option({
    kind: seconds(),
    default: '3600',
    doc: 'Databases made through `*` are forgotten after this long without use.',
  }),
  canary_duration: option({
    kind: seconds(),
    default: '600',
    origin: 'pgswitchyard',
    doc: 'How long a canary of user functions is compared with the serving version before it may be promoted. Also per tenant.',
  }),
  canary_tolerance: option({
    kind: int(0, 100),
    default: '1',
    origin: 'pgswitchyard',
    doc: 'How much worse a canary of user functions may be: percentage points of calls and of answered queries, and percent of the mean call time. Also per tenant.',
  }),
  cancel_wait_timeout: option({
    kind: seconds(),
    default: '10',
    doc: 'A cancel request that waits longer for a server connection is dropped.',
  }),
  client_idle_timeout: option({
    kind: seconds(),
    default: '0',
    scope: ['user'],
    doc: 'Clients idle for longer, outside a transaction, are closed; 0 means never.',
  }),
  client_login_timeout: option({
    kind: seconds(),
    default: '60',
    doc: 'A client that has not logged in by then is closed; 0 means never.',
  }),
  client_tls13_ciphers: option({
    kind: text(),
    default: null,
    doc: 'TLS 1.3 cipher suites toward clients.',
  }),
  client_tls_ca_file: option({
    kind: path(),
    default: '',
    doc: "Root certificates that clients' certificates are checked against.",
  }),
  client_tls_cert_file: option({
    kind: path(),
    default: '',
    doc: 'Certificate shown to clients.',
  }),
  client_tls_ciphers: option({
    kind: text(),
    default: 'default',
    doc: "TLS ciphers toward clients, in OpenSSL's syntax.",
  }),
  client_tls_dheparams: option({
    kind: oneOf('none', 'auto', 'legacy'),
    default: 'auto',
    effect: 'accepted',
    doc: 'DHE key exchange toward clients.',
  }),
  client_tls_ecdhcurve: option({
    kind: text(),
    default: 'auto',
    doc: "Curve for ECDH key exchange toward clients: none, auto or a curve's name.",
  }),
  client_tls_key_file: option({
    kind: path(),
    default: '',
    doc: 'Private key of client_tls_cert_file.',
  }),
  client_tls_protocols: option({
    kind: tlsProtocols(),
    default: 'secure',
    doc: 'TLS versions toward clients.',
  }),
  client_tls_sslmode: option({
    kind: oneOf(...SSL_MODES),
    default: 'disable',
    doc: 'TLS toward clients.',
  }),
  conffile: option({
    kind: path(),
    default: null,
    doc: 'The configuration file; when changed with SET, the next RELOAD reads the new one.',
  }),
  default_pool_size: option({
    kind: int(),
    default: '20',
    scope: ['database', 'user'],
    doc: 'Servers per pool; 0 means no limit. Entries name it pool_size.',
  }),
  disable_pqexec: option({
    kind: flag(),
    default: '0',
    reload: false,
    doc: 'Refuses simple queries.',
  }),
  dns_max_ttl: option({
    kind: seconds(),
    default: '15',
    doc: 'How long a DNS answer is used.',
  }),
  dns_nxdomain_ttl: option({
    kind: seconds(),
    default: '15',
    doc: 'How long a failed DNS lookup is remembered.',
  }),
  dns_zone_check_period: option({
    kind: seconds(),
    default: '0',
    effect: 'accepted',
    doc: 'Period of looking for changed zone serials.',
  }),
  fleet_address: option({
    kind: text(),
    default: '',
    origin: 'pgswitchyard',
    doc: 'Host, or the folder of a Unix socket, at which the other proxies of the fleet reach this one with cancel requests. Empty: listen_addr if it is one address, otherwise the address from which it reaches the store.',
  }),
  fleet_audit_days: option({
    kind: int(0, 36500),
    default: '90',
    origin: 'pgswitchyard',
    doc: 'Days for which the fleet keeps its audit log; 0 means for ever.',
  }),
  fleet_heartbeat: option({
    kind: seconds(),
    default: '5',
    origin: 'pgswitchyard',
    doc: 'Interval at which a proxy reports to the store of its fleet and reads what has changed, from 0.2 to 600. After three of them without a report it is shown as away.',
  }),
  fleet_name: option({
    kind: checkedText((value) => (Buffer.byteLength(value) <= 200 ? null : 'a name has 200 bytes at most')),
    default: '',
    origin: 'pgswitchyard',
    reload: false,
    doc: "This proxy's name in its fleet; no two may have the same. Empty: the host's (in Kubernetes, the pod's) name, a colon and listen_port.",
  }),
  fleet_store: option({
    kind: fleetStore(),
    default: '',
    origin: 'pgswitchyard',
    secret: true,
    doc: 'Database that the proxies of a fleet share: `postgres:database=NAME` with a name of [databases], or `postgres:` and a connection string. docs/fleet.md explains it. Empty: this proxy is alone.',
  }),
  http_listen_addr: option({
    kind: list(),
    default: '127.0.0.1',
    origin: 'pgswitchyard',
    reload: false,
    doc: 'Addresses for metrics and health checks over HTTP (docs/monitoring.md), separated by commas; `*`: all.',
  }),
  http_listen_port: option({
    kind: int(0, 65535),
    default: '0',
    origin: 'pgswitchyard',
    reload: false,
    doc: 'Port for metrics and health checks over HTTP; 0 turns them off.',
  }),
  http_metrics_token_file: option({
    kind: path(),
    default: null,
    origin: 'pgswitchyard',
    doc: 'File with the bearer token that `/metrics` asks for, read at each change; not set: no token is needed.',
  }),
  http_ready_databases: option({
    kind: list(),
    default: '',
    origin: 'pgswitchyard',
    doc: 'Databases whose writers must be reachable for `/readyz` to succeed, separated by commas; empty: one of the configured ones; `-`: none.',
  }),
  http_tls_cert_file: option({
    kind: path(),
    default: null,
    origin: 'pgswitchyard',
    doc: "Certificate for HTTP; not set: client_tls_cert_file's.",
  }),
  http_tls_key_file: option({
    kind: path(),
    default: null,
    origin: 'pgswitchyard',
    doc: "Key of that certificate; not set: client_tls_key_file's.",
  }),
  http_tls_sslmode: option({
    kind: oneOf('disable', 'require'),
    default: 'disable',
    origin: 'pgswitchyard',
    reload: false,
    doc: 'Whether HTTP is spoken over TLS only. A reload reads the files again.',
  }),
  idle_transaction_timeout: option({
    kind: seconds(),
    default: '0',
    scope: ['user'],
    doc: 'A client idle inside a transaction for longer is closed; 0 means never.',
  }),
  ignore_startup_parameters: option({
    kind: list(),
    default: '',
    doc: 'Start-up parameters of clients that are accepted and ignored. Separated by commas.',
  }),
  job_name: option({
    kind: text(),
    default: 'pgbouncer',
    reload: false,
    effect: 'accepted',
    doc: 'Alias of service_name.',
  }),
  listen_addr: option({
    kind: list(),
    default: '',
    reload: false,
    doc: 'Addresses to listen on for TCP; `*` means all. Separated by commas.',
  }),
  listen_backlog: option({
    kind: int(),
    default: '128',
    reload: false,
    doc: 'Length of the queue of connections that are not accepted yet.',
  }),
  listen_port: option({
    kind: int(0, 65535),
    default: '6432',
    reload: false,
    doc: "Port to listen on, for TCP and in the Unix socket's name.",
  }),
  log_connections: option({ kind: flag(), default: '1', effect: 'applied', doc: 'Logs successful logins.' }),
  log_disconnections: option({
    kind: flag(),
    default: '1',
    doc: 'Logs closed connections with the reason.',
  }),
  log_format: option({
    kind: oneOf('auto', 'pgbouncer', 'json', 'pretty'),
    default: 'auto',
    origin: 'pgswitchyard',
    doc: "Form of log lines; auto: pretty on a terminal, JSON on another stderr, pgbouncer's lines in logfile.",
  }),
  log_pooler_errors: option({
    kind: flag(),
    default: '1',
    doc: 'Logs the errors that are sent to clients.',
  }),
  log_stats: option({
    kind: flag(),
    default: '1',
    doc: 'Logs one line of statistics each stats_period.',
  }),
  logfile: option({
    kind: path(),
    default: '',
    doc: 'Log file; reopened on RELOAD and SIGHUP.',
  }),
  login_notify_message: option({
    kind: text(),
    default: '',
    doc: 'Sent to each client as a NOTICE at login.',
  }),
  max_client_conn: option({ kind: int(), default: '100', effect: 'applied', doc: 'Clients allowed in all.' }),
  max_db_client_connections: option({
    kind: int(),
    default: '0',
    scope: ['database'],
    doc: 'Clients allowed per database; 0 means no limit.',
  }),
  max_db_connections: option({
    kind: int(),
    default: '0',
    scope: ['database'],
    doc: 'Servers allowed per database over all its pools; 0 means no limit.',
  }),
  max_packet_size: option({
    kind: size(),
    default: '2147483647',
    doc: 'Largest message let through.',
  }),
  max_prepared_statements: option({
    kind: int(),
    default: '200',
    doc: 'Prepared statements kept on each server in transaction and statement mode; 0 turns tracking off.',
  }),
  max_user_client_connections: option({
    kind: int(),
    default: '0',
    scope: ['user'],
    doc: 'Clients allowed per user; 0 means no limit.',
  }),
  max_user_connections: option({
    kind: int(),
    default: '0',
    scope: ['user'],
    doc: 'Servers allowed per user over all its pools; 0 means no limit.',
  }),
  metrics_emf: option({
    kind: flag(),
    default: '0',
    origin: 'pgswitchyard',
    doc: "Log figures each minute in CloudWatch's embedded metric format; needs log_format = json.",
  }),
  metrics_max_series: option({
    kind: int(10),
    default: '1000',
    origin: 'pgswitchyard',
    doc: 'Most series of one metric: those of more databases, pools or tenants are added up under the label `other`.',
  }),
  metrics_prefix: option({
    kind: checkedText((value) =>
      /^[a-zA-Z_][a-zA-Z0-9_]*$|^$/.test(value) ? null : 'a prefix has letters, digits and underscores only',
    ),
    default: 'pgswitchyard',
    origin: 'pgswitchyard',
    doc: 'Beginning of the names of metrics; `pgbouncer` for dashboards made for pgbouncer_exporter.',
  }),
  min_pool_size: option({
    kind: int(),
    default: '0',
    scope: ['database'],
    doc: 'Servers that a pool in use keeps open.',
  }),
  otlp_endpoint: option({
    kind: httpUrl(),
    default: '',
    origin: 'pgswitchyard',
    doc: 'URL of an OpenTelemetry collector (OTLP over HTTP), such as `http://collector:4318`, that gets metrics and traces (docs/monitoring.md).',
  }),
  otlp_headers_file: option({
    kind: path(),
    default: null,
    origin: 'pgswitchyard',
    doc: 'File with headers for the collector, such as its token, one `NAME: VALUE` a line, read at each change.',
  }),
  otlp_metrics_interval: option({
    kind: wholeSeconds(),
    default: '60',
    origin: 'pgswitchyard',
    doc: 'Time between two exports of all metrics over OTLP; 0: none.',
  }),
  otlp_query_text: option({
    kind: oneOf('masked', 'none'),
    default: 'masked',
    origin: 'pgswitchyard',
    doc: 'Whether traces have the text of the query, with `?` for each constant.',
  }),
  otlp_trace_ratio: option({
    kind: share(),
    default: '0',
    origin: 'pgswitchyard',
    doc: 'Share of the queries that are traced over OTLP, from 0 to 1.',
  }),
  otlp_traces_per_second: option({
    kind: int(1, 10_000),
    default: '100',
    origin: 'pgswitchyard',
    doc: 'Most queries that are traced in one second, whatever otlp_trace_ratio says.',
  }),
  peer_id: option({
    kind: int(0, 16383),
    default: '0',
    doc: 'This process among its peers, which [peers] lists or the fleet knows; 0 means no peering, or in a fleet the id that it assigns.',
  }),
  pidfile: option({
    kind: path(),
    default: '',
    reload: false,
    doc: 'File that the process id is written to.',
  }),
  pkt_buf: option({
    kind: size(0, 2147483647),
    default: '4096',
    reload: false,
    effect: 'accepted',
    doc: "Size of pgbouncer's packet buffers.",
  }),
  polling_frequency: option({
    kind: seconds(),
    default: '.1',
    origin: 'fast-switchover',
    doc: "Period of the health probes of a cluster's nodes.",
  }),
  pool_mode: option({
    kind: oneOf('session', 'transaction', 'statement'),
    default: 'session',
    scope: ['database', 'user'],
    doc: 'When a server goes back to its pool.',
  }),
  pool_idle_timeout: option({
    kind: seconds(),
    default: '0',
    doc: 'An unused empty pool is freed after this long; 0 means never.',
  }),
  query_timeout: option({
    kind: seconds(),
    default: '0',
    scope: ['user'],
    doc: 'Longer queries, counted from the last bytes of the client, are cancelled by closing the connection; 0 means never.',
  }),
  query_wait_notify: option({
    kind: wholeSeconds(),
    default: '5',
    doc: 'A client that waits this long for a server gets a NOTICE; 0 means none.',
  }),
  query_wait_timeout: option({
    kind: seconds(),
    default: '120',
    scope: ['database', 'user'],
    doc: 'A client that waits longer for a server is closed; 0 means never.',
  }),
  reader_database: option({
    kind: text(),
    default: null,
    origin: 'pgswitchyard',
    scope: ['database'],
    doc: "Another name for the cluster's readers, for clients and routing functions: as DB@readers.",
  }),
  recreate_disconnected_pools: option({
    kind: flag('accepted'),
    default: '1',
    origin: 'fast-switchover',
    doc: 'A failed node is used again without an operator; 0: only after RELOAD or NOTIFY TOPOLOGY.',
  }),
  reserve_pool_size: option({
    kind: int(),
    default: '0',
    scope: ['database', 'user'],
    doc: 'Additional servers per pool for clients that wait longer than reserve_pool_timeout.',
  }),
  reserve_pool_timeout: option({
    kind: seconds(),
    default: '5',
    doc: 'Wait after which a client may use the reserve pool.',
  }),
  resolv_conf: option({
    kind: path(),
    default: '',
    reload: false,
    effect: 'accepted',
    doc: 'Resolver configuration file.',
  }),
  rewrite_query_disconnect_on_failure: option({
    kind: flag('shown'),
    default: 'false',
    origin: 'fast-switchover',
    doc: 'The same as rewrite_query_on_failure = disconnect.',
  }),
  rewrite_query_file: option({
    kind: path(),
    default: null,
    origin: 'pgswitchyard',
    scope: ['database'],
    doc: 'File with the function rewrite_query, relative to the configuration file.',
  }),
  rewrite_query_on_failure: option({
    kind: oneOf('pass', 'error', 'disconnect'),
    default: 'pass',
    origin: 'pgswitchyard',
    doc: 'Policy when rewrite_query fails: the query passes unchanged, gets an error, or the client is disconnected.',
  }),
  rewrite_query_py_module_file: option({
    kind: pythonModule('rewrite_query_file'),
    default: 'not_enabled',
    origin: 'fast-switchover',
    doc: "The fork's Python module; use rewrite_query_file.",
  }),
  rewritten_tag: option({
    kind: flag('accepted'),
    default: '0',
    origin: 'pgswitchyard',
    doc: 'Appends a comment to rewritten queries.',
  }),
  routing_in_transaction: option({
    kind: oneOf('keep', 'error'),
    default: 'keep',
    origin: 'pgswitchyard',
    doc: 'A move that routing_rules asks for inside a transaction is refused: the query continues in its present database, or gets an error.',
  }),
  routing_rules_disconnect_on_failure: option({
    kind: flag('shown'),
    default: 'false',
    origin: 'fast-switchover',
    doc: 'The same as routing_rules_on_failure = disconnect.',
  }),
  routing_rules_file: option({
    kind: path(),
    default: null,
    origin: 'pgswitchyard',
    scope: ['database'],
    doc: 'File with the function routing_rules, relative to the configuration file.',
  }),
  routing_rules_on_failure: option({
    kind: oneOf('pass', 'error', 'disconnect'),
    default: 'pass',
    origin: 'pgswitchyard',
    doc: 'Policy when routing_rules fails: the client stays where it is, the query gets an error, or the client is disconnected.',
  }),
  routing_rules_py_module_file: option({
    kind: pythonModule('routing_rules_file'),
    default: 'not_enabled',
    origin: 'fast-switchover',
    doc: "The fork's Python module; use routing_rules_file.",
  }),
  sbuf_loopcnt: option({
    kind: int(),
    default: '5',
    effect: 'accepted',
    doc: "Fairness of pgbouncer's read loop.",
  }),
  scram_iterations: option({
    kind: int(1),
    default: '4096',
    doc: 'Iterations of SCRAM secrets made from plain passwords.',
  }),
  server_check_delay: option({
    kind: seconds(),
    default: '30',
    doc: 'A server idle for longer is checked with server_check_query before use.',
  }),
  server_check_query: option({
    kind: text(),
    default: '<empty>',
    doc: 'Query that checks a server; `<empty>` is the empty query, an empty value means no check.',
  }),
  server_connect_timeout: option({
    kind: seconds(),
    default: '15',
    doc: 'A server connection that is not logged in by then has failed.',
  }),
  server_failed_delay: option({
    kind: seconds(),
    default: '30',
    origin: 'fast-switchover',
    doc: 'A node that has failed, or was the writer, serves reads again after this long.',
  }),
  server_fast_close: option({
    kind: flag(),
    default: '0',
    doc: 'In session mode, closes servers marked for closing when their transaction ends.',
  }),
  server_idle_timeout: option({
    kind: seconds(),
    default: '600',
    doc: 'A server idle for longer is closed; 0 means never.',
  }),
  server_lifetime: option({
    kind: seconds(),
    default: '3600',
    scope: ['database'],
    doc: 'A server older than this is closed when it is free. 0: each is used once.',
  }),
  server_login_retry: option({
    kind: seconds(),
    default: '15',
    doc: 'Pause after a failed server login; clients get its error meanwhile.',
  }),
  server_reset_query: option({
    kind: text(),
    default: 'DISCARD ALL',
    doc: 'Sent when a client leaves a server in session mode.',
  }),
  server_reset_query_always: option({
    kind: flag(),
    default: '0',
    doc: 'Sends server_reset_query in all pool modes.',
  }),
  server_round_robin: option({
    kind: flag(),
    default: '0',
    doc: 'Uses the servers of a pool in turn instead of the last used first.',
  }),
  server_tls13_ciphers: option({
    kind: text(),
    default: null,
    doc: 'TLS 1.3 cipher suites toward servers.',
  }),
  server_tls_ca_file: option({
    kind: path(),
    default: '',
    doc: "Root certificates that servers' certificates are checked against.",
  }),
  server_tls_cert_file: option({
    kind: path(),
    default: '',
    doc: 'Certificate shown to servers.',
  }),
  server_tls_ciphers: option({
    kind: text(),
    default: 'default',
    doc: "TLS ciphers toward servers, in OpenSSL's syntax.",
  }),
  server_tls_key_file: option({
    kind: path(),
    default: '',
    doc: 'Private key of server_tls_cert_file.',
  }),
  server_tls_protocols: option({
    kind: tlsProtocols(),
    default: 'secure',
    doc: 'TLS versions toward servers.',
  }),
  server_tls_sslmode: option({
    kind: oneOf(...SSL_MODES),
    default: 'prefer',
    doc: 'TLS toward servers.',
  }),
  service_name: option({
    kind: text(),
    default: null,
    reload: false,
    effect: 'accepted',
    shown: false,
    doc: 'Name of the Windows service.',
  }),
  shutdown_delay: option({
    kind: seconds(),
    default: '0',
    origin: 'pgswitchyard',
    doc: 'Time between SIGTERM or SHUTDOWN WAIT_FOR_CLIENTS and the end of listening. Clients are served meanwhile and `/readyz` fails, so that load balancers send new clients elsewhere.',
  }),
  so_reuseport: option({
    kind: flag(),
    default: '0',
    reload: false,
    doc: 'Lets several processes listen on one port.',
  }),
  stats_period: option({
    kind: wholeSeconds(1),
    default: '60',
    doc: 'Period of the averages in SHOW STATS and of log_stats.',
  }),
  stats_users: option({
    kind: list(),
    default: '',
    doc: "Users that may run the console's SHOW commands. Separated by commas.",
  }),
  suspend_timeout: option({
    kind: seconds(),
    default: '10',
    doc: 'How long SUSPEND waits for buffers to be flushed.',
  }),
  switchover_dry_run: option({
    kind: flag('accepted'),
    default: '0',
    origin: 'pgswitchyard',
    doc: 'Only logs what a switchover would have held.',
  }),
  switchover_hold_limit: option({
    kind: int(),
    default: '10000',
    origin: 'pgswitchyard',
    doc: 'Clients held per database during a switchover.',
  }),
  switchover_hold_timeout: option({
    kind: seconds(),
    default: '30',
    origin: 'pgswitchyard',
    doc: 'How long each client is held during a switchover.',
  }),
  switchover_retry: option({
    kind: oneOf('safe', 'held_only', 'never'),
    default: 'safe',
    origin: 'pgswitchyard',
    doc: 'Which statements are resent after a switchover: those that provably had no effect, only those never sent, none.',
  }),
  switchover_timeout: option({
    kind: seconds(),
    default: '30',
    origin: 'pgswitchyard',
    doc: 'Without a new writer by then, waiting clients get an error.',
  }),
  syslog: option({ kind: flag(), default: '0', effect: 'applied', doc: 'Logs to syslog too.' }),
  syslog_facility: option({
    kind: text(),
    default: 'daemon',
    doc: 'Facility for syslog.',
  }),
  syslog_ident: option({
    kind: text(),
    default: 'pgbouncer',
    doc: 'Name of the program in syslog.',
  }),
  tcp_defer_accept: option({
    kind: int(),
    default: '1',
    effect: 'accepted',
    doc: 'TCP_DEFER_ACCEPT of the listening sockets.',
  }),
  tcp_keepalive: option({
    kind: flag(),
    default: '1',
    doc: 'Keep-alive of TCP connections.',
  }),
  tcp_keepcnt: option({
    kind: int(),
    default: '0',
    doc: "Keep-alive probes; 0 means the system's default.",
  }),
  tcp_keepidle: option({
    kind: wholeSeconds(),
    default: '0',
    doc: "Time before the first keep-alive probe; 0 means the system's default.",
  }),
  tcp_keepintvl: option({
    kind: wholeSeconds(),
    default: '0',
    doc: "Time between keep-alive probes; 0 means the system's default.",
  }),
  tcp_socket_buffer: option({
    kind: int(),
    default: '0',
    doc: "Size of the kernel's socket buffers, in bytes; 0 means the system's default.",
  }),
  tcp_user_timeout: option({
    kind: milliseconds(),
    default: '0',
    doc: "Data unacknowledged for longer closes the connection; 0 means the system's default.",
  }),
  topology_refresh: option({
    kind: seconds(),
    default: '30',
    origin: 'pgswitchyard',
    doc: 'Period of the topology query.',
  }),
  track_extra_parameters: option({
    kind: list(),
    default: 'IntervalStyle',
    reload: false,
    doc: 'Parameters that follow a client from server to server, beside those that PostgreSQL reports by itself. Separated by commas.',
  }),
  transaction_timeout: option({
    kind: seconds(),
    default: '0',
    scope: ['user'],
    doc: 'Longer transactions are ended by closing the connection; 0 means never.',
  }),
  unix_socket_dir: option({
    kind: path(),
    default: '/tmp',
    reload: false,
    doc: 'Folder of the Unix socket; empty means none, `@name` an abstract one.',
  }),
  unix_socket_group: option({
    kind: text(),
    default: '',
    reload: false,
    doc: 'Group of the Unix socket.',
  }),
  unix_socket_mode: option({
    kind: int(0, 0o7777),
    default: '0777',
    reload: false,
    doc: 'Permissions of the Unix socket.',
  }),
  user: option({
    kind: text(),
    default: null,
    reload: false,
    doc: 'User to become after the start.',
  }),
  user_function_cache: option({
    kind: int(0, 65536),
    default: '64',
    origin: 'pgswitchyard',
    doc: 'Memory in MB for the remembered decisions of user functions, of all tenants together. 0 turns remembering off.',
  }),
  user_function_cpu_limit: option({
    kind: int(0, 1_000_000),
    default: '0',
    origin: 'pgswitchyard',
    doc: 'Processor time of the user functions of one tenant, in milliseconds in a second. 0 means no limit. Also per tenant, as cpu_limit.',
  }),
  user_function_host_memory: option({
    kind: int(200, 65536),
    default: '400',
    origin: 'pgswitchyard',
    doc: 'Memory of a sandbox process in MB, beyond user_function_memory_limit. The kernel enforces it.',
  }),
  user_function_hosts: option({
    kind: int(2, 1000),
    default: '8',
    origin: 'pgswitchyard',
    doc: 'Most sandbox processes for the calls of clients. When there are so many, tenants join the process with the fewest.',
  }),
  user_function_idle_timeout: option({
    kind: seconds(),
    default: '900',
    origin: 'pgswitchyard',
    doc: 'Functions that have not been asked for this long are unloaded until the next query. 0: they stay loaded.',
  }),
  user_function_isolation: option({
    kind: oneOf('process', 'inline'),
    default: 'process',
    origin: 'pgswitchyard',
    doc: "Where user functions run: in child processes or in the proxy's own.",
  }),
  user_function_max_query: option({
    kind: size(0, 1073741823),
    default: '65536',
    origin: 'pgswitchyard',
    doc: 'Longer queries are not shown to user functions, which counts as a failure under the policy.',
  }),
  user_function_max_result: option({
    kind: size(1, 1073741823),
    default: '1048576',
    origin: 'pgswitchyard',
    doc: 'Longest result that a user function may return.',
  }),
  user_function_memory_limit: option({
    kind: int(8, 65536),
    default: '64',
    origin: 'pgswitchyard',
    doc: 'Memory of the user functions of one tenant in MB.',
  }),
  user_function_over_limit: option({
    kind: oneOf('error', 'pass'),
    default: 'error',
    origin: 'pgswitchyard',
    doc: 'What happens to a query on which functions that rewrite or can reject run into a limit (time, memory, size, depth), while their policy is `pass`: a client could bring that about by its text. `error`: it gets an error. `pass`: it goes on as if the function had returned null.',
  }),
  user_function_preload: option({
    kind: oneOf('auto', '0', '1'),
    default: 'auto',
    origin: 'pgswitchyard',
    doc: 'When the functions of a tenant are loaded: with the first query (0), or at the start (1). auto: at the start if there are up to 64 tenants.',
  }),
  user_function_removal_grace: option({
    kind: seconds(),
    default: '10',
    origin: 'pgswitchyard',
    doc: 'Time for which user functions stay active after their file has vanished. Then they count as removed under `pass`; under `error` and `disconnect` each query is a failure until the file is back or RELOAD confirms the removal.',
  }),
  user_function_shadow_limit: option({
    kind: int(0, 1_000_000),
    default: '50',
    origin: 'pgswitchyard',
    doc: 'Processor time for evaluating the candidate of one tenant beside forwarded queries, in milliseconds in a second. 0 means that none is evaluated. Also per tenant, as shadow_limit.',
  }),
  user_function_tenants_per_host: option({
    kind: int(1, 10000),
    default: '64',
    origin: 'pgswitchyard',
    doc: 'Most tenants that share a sandbox process, and most versions that are loaded in one. When there are no more processes, the version that was not used for longest is unloaded.',
  }),
  user_function_timeout: option({
    kind: milliseconds(1, 3600000),
    default: '100',
    origin: 'pgswitchyard',
    doc: 'Longest time that a call of a user function may take.',
  }),
  user_function_unavailable: option({
    kind: oneOf('error', 'pass'),
    default: 'error',
    origin: 'pgswitchyard',
    doc: 'What happens to a query that waited for `query_wait_timeout` because no sandbox process could be started, no version could be loaded, or the machine had no processor for it. `pass`: it goes to the server without having been judged.',
  }),
  user_functions_allow: option({
    kind: words(...UNJUDGED),
    default: '',
    origin: 'pgswitchyard',
    scope: ['database'],
    doc: 'Requests that clients may make although user functions cannot judge them: function_call, replication. Separated by commas; empty: none.',
  }),
  user_functions_dir: option({
    kind: path(),
    default: 'user-functions',
    origin: 'pgswitchyard',
    doc: 'Folder that is searched for user functions, relative to the configuration file; empty means none.',
  }),
  user_functions_state_dir: option({
    kind: path(),
    default: 'pgswitchyard-state',
    reload: false,
    origin: 'pgswitchyard',
    doc: 'Folder where versions of user functions are kept, so that a restart serves what served before; relative to the configuration file. It is created when the first version is loaded. Empty, or without a configuration file: versions end with the process.',
  }),
  verbose: option({
    kind: int(),
    default: null,
    initial: 0,
    doc: 'More log lines: 0 to 3.',
  }),
} as const;

export type OptionName = keyof typeof OPTIONS;

/**
 * The values of [pgbouncer], under pgbouncer's names. Times of the kinds seconds and milliseconds are in milliseconds; those
 * of the kind wholeSeconds (query_wait_notify, stats_period, tcp_keepidle, tcp_keepintvl) are in seconds; null means not set.
 */
export type Settings = { readonly [K in OptionName]: (typeof OPTIONS)[K]['initial'] };

/** The names in SHOW CONFIG's order. */
export const OPTION_NAMES: readonly OptionName[] = Object.keys(OPTIONS) as OptionName[];

export function isOptionName(name: string): name is OptionName {
  return Object.hasOwn(OPTIONS, name);
}

/** The row of an option, without its own type: for code that treats all options alike. */
export function optionOf(name: OptionName): Option<unknown> {
  return OPTIONS[name] as unknown as Option<unknown>;
}
