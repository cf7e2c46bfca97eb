/**
 * Every error that the proxy itself sends to a client, with pgbouncer's wording where pgbouncer has one. pgbouncer uses
 * SQLSTATE 08P01 for all of its own; the others are PostgreSQL's for the same situation. docs/errors.md is made from this
 * table and from the console's, src/admin/errors.ts.
 */
import { countError } from './error-counts.ts';
import { errorResponse } from './messages.ts';

/** Made by the rows below and by those of the console, and nowhere else. */
export class ClientError extends Error {
  readonly severity: 'ERROR' | 'FATAL';
  readonly code: string;
  readonly detail: string | null;
  readonly hint: string | null;
  /** function in PostgreSQL's source, by which drivers tell some errors apart */
  readonly routine: string | null;

  constructor(severity: 'ERROR' | 'FATAL', code: string, message: string, more: ErrorDetails = {}) {
    super(message);
    this.severity = severity;
    this.code = code;
    this.detail = more.detail ?? null;
    this.hint = more.hint ?? null;
    this.routine = more.routine ?? null;
  }

  /** As an ErrorResponse, which counts as sent. */
  encode(): Buffer {
    countError(this.code);
    return errorResponse(this);
  }
}

interface ErrorDetails {
  readonly detail?: string | null;
  readonly hint?: string | null;
  readonly routine?: string;
}

/** Text that a user function has made. */
interface Rejection {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  readonly detail: string | null;
}

/** Makes an error, and holds its text for docs/errors.md. */
export interface ErrorRow<Args extends readonly unknown[] = never> {
  (...args: Args): ClientError;
  /** arguments as the manual shows them */
  readonly example: Args;
  /** the situation in which a client gets the error, in a sentence */
  readonly when: string;
  /** the remedy, in a sentence */
  readonly help: string;
}

export function row<Args extends readonly unknown[]>(
  make: (...args: Args) => ClientError,
  example: Args,
  when: string,
  help: string,
): ErrorRow<Args> {
  return Object.assign((...args: Args) => make(...args), { example, when, help });
}

/** The connection stays. */
export function error(code: string, message: string, more: ErrorDetails = {}): ClientError {
  return new ClientError('ERROR', code, message, more);
}

/** The connection ends. */
export function fatal(message: string, code = PGBOUNCER, more: ErrorDetails = {}): ClientError {
  return new ClientError('FATAL', code, message, more);
}

/** SQLSTATE of pgbouncer's own errors: protocol_violation. */
export const PGBOUNCER = '08P01';
/** Shown in the manual for an SQLSTATE that the proxy does not choose. */
export const ANY_CODE = 'other';

const USABLE = 'this connection can be used.';
const SEE_LOG = 'See the proxy log for details.';
const DRIVER = 'Fix the driver, or the program that speaks the protocol itself.';
const AGAIN = 'Connect again.';

/** `clientErrors.noSuchDatabase('x')` */
export const clientErrors = {
  // start-up and login
  protocolViolation: row(
    (reason: string) => fatal(reason),
    ['REASON, for example "bad packet header: \'000000000000\'" or "unknown pkt"'],
    'A message is malformed, or is not allowed at this point.',
    DRIVER,
  ),
  oldProtocol: row(
    () => fatal('old V2 protocol not supported'),
    [],
    'The client speaks version 2 of the protocol.',
    'Use a newer driver.',
  ),
  tlsRequired: row(
    () => fatal('SSL required'),
    [],
    '`client_tls_sslmode` is `require` or stricter, and the client connects without TLS.',
    'Set `sslmode=require` or a stricter mode in the client.',
  ),
  noUser: row(
    () => fatal('no username supplied'),
    [],
    'The start-up packet names no user.',
    'Give a user in the connection string.',
  ),
  userNameTooLong: row(
    () => fatal('username too long'),
    [],
    'The user name has 128 bytes or more.',
    'Use a shorter name.',
  ),
  unsupportedParameter: row(
    (name: string) => fatal(`unsupported startup parameter: ${name}`),
    ['NAME'],
    'The client sets a parameter at the start that the proxy does not track.',
    'Remove it, or add its name to `track_extra_parameters` or `ignore_startup_parameters`.',
  ),
  unsupportedOptionsForm: row(
    () => fatal("unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"),
    [],
    'The start-up parameter `options` has another form.',
    'Write it as one of the two.',
  ),
  unsupportedParameterInOptions: row(
    (name: string) => fatal(`unsupported startup parameter in options: ${name}`),
    ['NAME'],
    'The same as `unsupported startup parameter`, in `options`.',
    'Remove it, or add its name to `track_extra_parameters` or `ignore_startup_parameters`.',
  ),
  badReplication: row(
    (value: string) => fatal(`invalid value for parameter "replication": "${value}"`),
    ['VALUE'],
    'The start-up parameter `replication` is neither a boolean nor `database`.',
    'Correct the parameter.',
  ),
  noSuchDatabase: row(
    (name: string) => fatal(`no such database: ${name}`),
    ['DATABASE'],
    'The database is not in `[databases]`, and no `*` entry stands for it.',
    'Correct the database in the connection string, or add an entry.',
  ),
  databaseDisabled: row(
    (name: string) => fatal(`database "${name}" is disabled`),
    ['DATABASE'],
    'An operator has disabled the database with DISABLE.',
    'Wait for ENABLE.',
  ),
  storeOfFleet: row(
    (name: string) => fatal(`database "${name}" is the store of the fleet`, '42501'),
    ['DATABASE'],
    'The entry of the database has the user and password with which the proxies write to their store (`fleet_store`).',
    'Log in to the store directly, or name it in another entry, without `user` and `password`.',
  ),
  databaseRemoved: row(
    () => fatal('database removed'),
    [],
    'The entry of the database was removed from the configuration, or an operator used KILL on it.',
    'Connect to another database.',
  ),
  authDatabaseDisabled: row(
    (name: string) => fatal(`authentication database "${name}" is disabled`),
    ['DATABASE'],
    'The database that `auth_dbname` names for `auth_query` is disabled.',
    'Wait for ENABLE.',
  ),
  authenticationFailed: row(
    (reason: string) => fatal(reason),
    ['REASON'],
    'A line of `auth_hba_file` says `reject`, or a method without a password, as `cert` or `peer`, refuses the client.',
    'Check the line, the certificate, or the system user and the maps in `auth_ident_file`.',
  ),
  passwordFailed: row(
    (reason: string) => fatal(reason, '28P01'),
    ['REASON, for example "password authentication failed"'],
    'The password is wrong, or the user is unknown.',
    'Check user and password; the log of the proxy tells the two cases apart.',
  ),
  noSuchUser: row(
    () => fatal('no such user'),
    [],
    'The method asks for no password, and `auth_query` finds no such user.',
    'Correct the user.',
  ),
  noAuthenticationMethod: row(
    () => fatal('no authentication method is found'),
    [],
    'No line of `auth_hba_file` matches the connection.',
    'Add a line, or connect from an address that is allowed.',
  ),
  configError: row(
    () => fatal('bouncer config error'),
    [],
    'The login needs something that is missing in the configuration, or `auth_query` failed.',
    'See the log of the proxy for details.',
  ),
  tooManyClients: row(
    () => fatal('no more connections allowed (max_client_conn)'),
    [],
    'As many clients are connected as `max_client_conn` allows.',
    'Use fewer connections, or raise the limit.',
  ),
  tooManyDatabaseClients: row(
    () => fatal('client connections exceeded (max_db_client_connections)'),
    [],
    'As many clients of the database are connected as `max_db_client_connections` allows.',
    'Use fewer connections, or raise the limit.',
  ),
  tooManyUserClients: row(
    () => fatal('client connections exceeded (max_user_client_connections)'),
    [],
    'As many clients of the user are connected as `max_user_client_connections` allows.',
    'Use fewer connections, or raise the limit.',
  ),

  // limits of time
  loginTimeout: row(
    () => fatal('client_login_timeout'),
    [],
    'The client did not finish its login within `client_login_timeout`.',
    AGAIN,
  ),
  loginTimeoutServerDown: row(
    () => fatal('client_login_timeout (server down)'),
    [],
    'The first login to a database has to wait for a server, and none was available within `client_login_timeout`.',
    'Check that the server can be reached.',
  ),
  idleTimeout: row(
    () => fatal('client_idle_timeout'),
    [],
    'The client was idle for longer than `client_idle_timeout`.',
    AGAIN,
  ),
  idleTransactionTimeout: row(
    () => fatal('idle transaction timeout'),
    [],
    'The client was idle in a transaction for longer than `idle_transaction_timeout`. It was rolled back.',
    'End transactions sooner, or raise the limit.',
  ),
  transactionTimeout: row(
    () => fatal('transaction timeout'),
    [],
    'A transaction took longer than `transaction_timeout`. It was rolled back.',
    'Use shorter transactions, or raise the limit.',
  ),
  queryTimeout: row(
    () => fatal('query timeout'),
    [],
    'A query ran for longer than `query_timeout`. Its connection to the server was closed.',
    'Make the query faster, or raise the limit.',
  ),
  queryTimeoutWaiting: row(
    () => fatal('query_timeout'),
    [],
    'A query waited for a server for longer than `query_timeout`.',
    'Use fewer connections, or enlarge the pool.',
  ),
  queryWaitTimeout: row(
    (detail: string | null) => fatal('query_wait_timeout', PGBOUNCER, { detail }),
    [null],
    'A query waited for a server for longer than `query_wait_timeout`. The detail says why none could be opened, if so.',
    'Check that the server can be reached; otherwise use fewer connections, or enlarge the pool.',
  ),
  suspendTimeout: row(
    () => fatal('suspend_timeout'),
    [],
    'The client did not read its answers within `suspend_timeout` of a SUSPEND.',
    AGAIN,
  ),

  // queries
  statementPoolingTransaction: row(
    () => fatal('transaction blocks not allowed in statement pooling mode'),
    [],
    'A transaction was begun in a pool with `pool_mode = statement`.',
    'Use `pool_mode = transaction`.',
  ),
  duplicateStatement: row(
    (name: string) => error('42P05', `prepared statement "${name}" already exists`),
    ['NAME'],
    'The client prepares a statement under a name that it has in use, as with PostgreSQL itself.',
    'Close the statement first.',
  ),
  noSuchStatement: row(
    (name: string) => error('26000', `prepared statement "${name}" does not exist`),
    ['NAME'],
    'The client has prepared no statement under this name, or has closed it, as with PostgreSQL itself.',
    'Prepare it.',
  ),
  mustBePrepared: row(
    (name: string) =>
      error(
        '26000',
        name === ''
          ? 'the unnamed prepared statement must be prepared again'
          : `prepared statement "${name}" must be prepared again`,
        { detail: 'The user functions have changed since, and its text is not there to be judged.' },
      ),
    ['NAME'],
    'The user functions have changed, and the text of the statement was too long to be kept.',
    'Prepare it again; many drivers do so by themselves.',
  ),
  staleStatement: row(
    () =>
      error('0A000', 'cached plan must not change result type', {
        // drivers that by themselves prepare again look for it
        routine: 'RevalidateCachedQuery',
      }),
    [],
    'The columns of a prepared statement have changed, as with PostgreSQL itself.',
    'Prepare it again; many drivers do so by themselves.',
  ),
  pqexecDisallowed: row(
    () => fatal('PQexec disallowed'),
    [],
    '`disable_pqexec` is set, and the client uses the simple query protocol.',
    'Use the extended protocol.',
  ),
  canceled: row(
    () => error('57014', 'canceling statement due to user request'),
    [],
    'The client has sent a cancel request for a statement that had not been sent to a server yet.',
    'None needed.',
  ),

  // connections to servers
  serverLost: row(
    (reason: string) => fatal(reason),
    ['REASON, for example "server conn crashed?" or "database configuration changed"'],
    'The connection to the server has ended while the client was using it.',
    'Connect again. Whether a running transaction was committed is not known.',
  ),
  invalidServerParameter: row(
    () => fatal('invalid server parameter'),
    [],
    "The server refused a setting that the client's session has.",
    'Correct the setting.',
  ),
  serverLoginFailing: row(
    (reason: string) => fatal(`server login has been failing, cached error: ${reason} (server_login_retry)`),
    ['REASON'],
    'The last attempt to log in to the server failed, and the next one is due after `server_login_retry`.',
    'Remove the reason; it is in the log of the proxy, too.',
  ),
  serverLoginFailed: row(
    (reason: string) => fatal(reason),
    ['REASON'],
    'The proxy could not log in to the server.',
    'Check user and password of the entry in `[databases]`, and the log of the proxy.',
  ),
  serverRefusedLogin: row(
    (fields: ReadonlyMap<string, string>, message: string) =>
      fatal(fields.get('M') ?? message, fields.get('C') ?? PGBOUNCER, {
        detail: fields.get('D') ?? null,
        hint: fields.get('H') ?? null,
      }),
    [new Map([['C', ANY_CODE]]), "the server's own words"],
    'The server refused the login of the proxy.',
    'As for a direct connection to the server.',
  ),
  replicationLoginFailed: row(
    ({ message, detail, hint }: ClientError) =>
      fatal('login failed', PGBOUNCER, { detail: detail === null ? message : `${message}\n${detail}`, hint }),
    [fatal('')],
    "The server refused the login of a replication connection. The detail has the server's words.",
    'As for a direct connection to the server.',
  ),
  serverError: row(
    (fields: ReadonlyMap<string, string>) => {
      const isFatal = /^(?:FATAL|PANIC)$/.test(fields.get('V') ?? fields.get('S') ?? '');
      const more = { detail: fields.get('D') ?? null, hint: fields.get('H') ?? null };
      return new ClientError(
        isFatal ? 'FATAL' : 'ERROR',
        fields.get('C') ?? '',
        fields.get('M') ?? 'server error',
        more,
      );
    },
    [
      new Map([
        ['C', ANY_CODE],
        ['M', "the server's own words"],
      ]),
    ],
    'An error of the server had waited for a verdict on its node, and the statement could not be sent again.',
    'As for a direct connection to the server.',
  ),
  serverShuttingDown: row(
    () => fatal('server shutting down'),
    [],
    'The proxy is shutting down, and the client is still waiting for a server.',
    AGAIN,
  ),

  // operators
  shutDown: row(
    () => fatal('pooler is shut down'),
    [],
    'The client connects while the proxy is shutting down.',
    'Connect again when the proxy, or the one that replaces it, is up.',
  ),
  shuttingDown: row(
    () => fatal('pooler is shut down', '57P01'),
    [],
    'The proxy is shut down at once while the client is connected.',
    'Connect again when the proxy, or the one that replaces it, is up.',
  ),
  forcedDisconnect: row(
    () => fatal('admin forced disconnect'),
    [],
    'An operator has ended the connection with KILL_CLIENT.',
    AGAIN,
  ),
  internal: row(
    () => fatal('internal error', 'XX000', { hint: SEE_LOG }),
    [],
    'The proxy has a fault.',
    'Report it, with the stack from the log of the proxy.',
  ),

  // switchovers
  transactionLost: row(
    () =>
      error('57P01', 'the server went away during a switchover', {
        detail: 'The transaction that was open was rolled back.',
        hint: `Retry the transaction: ${USABLE}`,
      }),
    [],
    'The server ended while a transaction was open, and what ran in it cannot be sent again.',
    'Run the transaction again, on the same connection.',
  ),
  interrupted: row(
    (reason: string) =>
      error('57P01', reason, {
        detail: 'The interrupted statement may have committed part of its work.',
        hint: `Check before doing it again: ${USABLE}`,
      }),
    ["REASON, in the server's own words"],
    'The server ended during a statement that commits by itself, as VACUUM or CALL.',
    'Check its effect before you run it again.',
  ),
  outcomeUnknown: row(
    () =>
      error('08007', 'the connection to the server was lost while a statement ran', {
        detail: 'It is not known whether the statement, or the COMMIT, has taken effect.',
        hint: `Check before doing it again: ${USABLE}`,
      }),
    [],
    'The server was lost when a statement or COMMIT may have taken effect, and its answer had not arrived.',
    'Check its effect before you run it again.',
  ),
  noWriter: row(
    () =>
      error('57P03', 'no writable server is available', {
        detail: 'None was found within switchover_timeout; the search goes on.',
      }),
    [],
    'A transaction waited for a writable server for longer than `switchover_timeout`.',
    'Run the transaction again later, on the same connection.',
  ),
  notSentAgain: row(
    () =>
      error('57P01', 'the server changed while the statement waited', {
        detail: 'It was not sent to any server (switchover_retry = never).',
        hint: `Retry it: ${USABLE}`,
      }),
    [],
    'The writer changed while a statement waited for it, with `switchover_retry = never`.',
    'Run it again, on the same connection.',
  ),
  // class 57, operator intervention; the SQL standard leaves subclasses from I to Z to implementations
  heldTooMany: row(
    () => error('57S01', 'too many clients wait for the end of a switchover (switchover_hold_limit)'),
    [],
    'More clients wait for the end of a switchover than `switchover_hold_limit` allows.',
    'Run the transaction again later, on the same connection.',
  ),
  heldTooLong: row(
    () => error('57S02', 'the switchover took too long (switchover_hold_timeout)'),
    [],
    'A transaction was held for longer than `switchover_hold_timeout` during a switchover.',
    'Run the transaction again later, on the same connection.',
  ),

  // user functions
  functionFailed: row(
    (outcome: string, detail: string | null) =>
      error('38000', `user function failed: ${outcome}`, { detail, hint: SEE_LOG }),
    ['OUTCOME', null],
    'A user function failed on the query, and its policy (`rewrite_query_on_failure`, `routing_rules_on_failure`) is `error`, or is `pass` while the query is over a limit of functions that rewrite or reject (`user_function_over_limit`). The detail explains the outcome.',
    'See the log of the proxy. A query that is longer than `user_function_max_query` needs to be split, or the option to be raised.',
  ),
  functionFailedFatally: row(
    (outcome: string) => fatal(`user function failed: ${outcome}`, '38000'),
    ['OUTCOME'],
    'A user function failed on the query, and its policy is `disconnect`.',
    'See the log of the proxy.',
  ),
  notJudged: row(
    (reason: string) =>
      error('53000', `the user functions could not be asked about the query: ${reason}`, {
        detail: 'It was not sent to any server.',
        hint: `Retry it: ${USABLE} ${SEE_LOG}`,
      }),
    ['REASON'],
    'The sandbox could not run the user functions, because of an overload or a fault that is not theirs.',
    'Run the query again; it was not sent to any server.',
  ),
  rejected: row(
    ({ code, message, hint, detail }: Rejection) => error(code, message, { hint, detail }),
    [{ code: ANY_CODE, message: "the function's own words", hint: null, detail: null }],
    'A user function has rejected the query.',
    'As the message says.',
  ),
  functionCallRefused: row(
    (entry: string) =>
      error('42501', 'function calls by the fast-path protocol are not allowed here', {
        detail: `User functions apply to database "${entry}", and can't judge a FunctionCall message.`,
        hint: 'Call the function in a SELECT, or set user_functions_allow = function_call for the database.',
      }),
    ['DATABASE'],
    'The client sends a FunctionCall message to a database with user functions.',
    'Call the function in a SELECT, or set `user_functions_allow = function_call`.',
  ),
  replicationRefused: row(
    (entry: string) =>
      fatal(
        `replication connections to database "${entry}" are not allowed: user functions apply to it`,
        '42501',
        { hint: 'user_functions_allow = replication lets them in, unjudged.' },
      ),
    ['DATABASE'],
    'The client asks for a replication connection to a database with user functions.',
    'Set `user_functions_allow = replication` for the database.',
  ),
  targetDisabled: row(
    (name: string) => error(PGBOUNCER, `database "${name}" is disabled`),
    ['DATABASE'],
    'A routing function has chosen a database that an operator has disabled.',
    'Wait for ENABLE, or correct the function.',
  ),
  targetIsStoreOfFleet: row(
    (name: string) => error('42501', `database "${name}" is the store of the fleet`),
    ['DATABASE'],
    'A routing function has chosen the entry with which the proxies write to their store (`fleet_store`).',
    'Correct the function.',
  ),
  moveInTransaction: row(
    (from: string, to: string) =>
      error('25001', `routing_rules moved the query from "${from}" to "${to}" inside a transaction`, {
        hint: 'A transaction stays on the server that it began on; routing_in_transaction = keep lets the query go on there.',
      }),
    ['DATABASE', 'OTHER'],
    'A routing function has chosen another database inside a transaction, with `routing_in_transaction = error`.',
    'Route by the first query of a transaction, or set `routing_in_transaction = keep`.',
  ),
} as const;
