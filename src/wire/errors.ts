import { errorResponse } from './messages.ts';

/**
 * Every error that the proxy itself tells a client, once, with pgbouncer's wording where pgbouncer has one. pgbouncer
 * uses SQLSTATE 08P01 for all of its own; codes of ours are PostgreSQL's for the same situation.
 */
export class ClientError extends Error {
  readonly severity: 'ERROR' | 'FATAL';
  readonly code: string;
  readonly detail: string | null;
  readonly hint: string | null;
  /** of PostgreSQL's source, which drivers tell errors by */
  readonly routine: string | null;

  constructor(
    severity: 'ERROR' | 'FATAL',
    code: string,
    message: string,
    more: { detail?: string | null; hint?: string | null; routine?: string } = {},
  ) {
    super(message);
    this.severity = severity;
    this.code = code;
    this.detail = more.detail ?? null;
    this.hint = more.hint ?? null;
    this.routine = more.routine ?? null;
  }

  /** The ErrorResponse that says it. */
  encode(): Buffer {
    return errorResponse(this);
  }
}

function fatal(message: string, code = '08P01', hint: string | null = null): ClientError {
  return new ClientError('FATAL', code, message, { hint });
}

/** One row an error: `clientErrors.noSuchDatabase('x')`. */
export const clientErrors = {
  protocolViolation: (what: string) => fatal(what),
  oldProtocol: () => fatal('old V2 protocol not supported'),
  tlsRequired: () => fatal('SSL required'),
  noUser: () => fatal('no username supplied'),
  userNameTooLong: () => fatal('username too long'),
  unsupportedParameter: (name: string) => fatal(`unsupported startup parameter: ${name}`),
  unsupportedOptionsForm: () =>
    fatal("unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"),
  unsupportedParameterInOptions: (name: string) => fatal(`unsupported startup parameter in options: ${name}`),
  badReplication: (value: string) => fatal(`invalid value for parameter "replication": "${value}"`),
  noSuchDatabase: (name: string) => fatal(`no such database: ${name}`),
  authDatabaseDisabled: (name: string) => fatal(`authentication database "${name}" is disabled`),
  databaseDisabled: (name: string) => fatal(`database "${name}" is disabled`),
  databaseRemoved: () => fatal('database removed'),
  authenticationFailed: (reason: string) => fatal(reason),
  passwordFailed: (reason: string) => fatal(reason, '28P01'),
  noSuchUser: () => fatal('no such user'),
  noAuthenticationMethod: () => fatal('no authentication method is found'),
  configError: () => fatal('bouncer config error'),
  tooManyClients: () => fatal('no more connections allowed (max_client_conn)'),
  tooManyDatabaseClients: () => fatal('client connections exceeded (max_db_client_connections)'),
  tooManyUserClients: () => fatal('client connections exceeded (max_user_client_connections)'),
  loginTimeout: () => fatal('client_login_timeout'),
  loginTimeoutServerDown: () => fatal('client_login_timeout (server down)'),
  idleTimeout: () => fatal('client_idle_timeout'),
  idleTransactionTimeout: () => fatal('idle transaction timeout'),
  transactionTimeout: () => fatal('transaction timeout'),
  queryTimeout: () => fatal('query timeout'),
  queryTimeoutWaiting: () => fatal('query_timeout'),
  queryWaitTimeout: (detail: string | null = null) =>
    new ClientError('FATAL', '08P01', 'query_wait_timeout', { detail }),
  cancelWaitTimeout: () => fatal('cancel_wait_timeout'),
  statementPoolingTransaction: () => fatal('transaction blocks not allowed in statement pooling mode'),
  duplicateStatement: (name: string) =>
    new ClientError('ERROR', '42P05', `prepared statement "${name}" already exists`),
  noSuchStatement: (name: string) =>
    new ClientError('ERROR', '26000', `prepared statement "${name}" does not exist`),
  staleStatement: () =>
    new ClientError('ERROR', '0A000', 'cached plan must not change result type', {
      routine: 'RevalidateCachedQuery',
    }),
  pqexecDisallowed: () => fatal('PQexec disallowed'),
  serverLost: (reason = 'server conn crashed?') => fatal(reason),
  invalidServerParameter: () => fatal('invalid server parameter'),
  serverLoginFailing: (reason: string) =>
    fatal(`server login has been failing, cached error: ${reason} (server_login_retry)`),
  serverShuttingDown: () => fatal('server shutting down'),
  serverLoginFailed: (reason: string) => fatal(reason),
  // of a replication connection: pgbouncer's words, and the server's beneath them
  loginFailed: ({ message, detail, hint }: ClientError) =>
    new ClientError('FATAL', '08P01', 'login failed', {
      detail: detail === null ? message : `${message}\n${detail}`,
      hint,
    }),
  shutDown: () => fatal('pooler is shut down'),
  shuttingDown: () => fatal('pooler is shut down', '57P01'),
  forcedDisconnect: () => fatal('admin forced disconnect'),
  databaseKilled: () => fatal('database configuration changed'),
  internal: () => fatal('internal error', 'XX000', 'The log of the proxy says more.'),
  transactionLost: () =>
    new ClientError('ERROR', '57P01', 'the server went away during a switchover', {
      detail: 'The transaction that was open was rolled back.',
      hint: 'Retry the transaction: this connection can be used.',
    }),
  interrupted: (reason: string) =>
    new ClientError('ERROR', '57P01', reason, {
      detail: 'What ran may have committed a part of its work before.',
      hint: 'Check before doing it again: this connection can be used.',
    }),
  outcomeUnknown: () =>
    new ClientError('ERROR', '08007', 'the connection to the server was lost while a statement ran', {
      detail: 'It is not known whether the statement, or the COMMIT, has taken effect.',
      hint: 'Check before doing it again: this connection can be used.',
    }),
  noWriter: () =>
    new ClientError('ERROR', '57P03', 'no server takes writes now', {
      detail: 'None was found within switchover_timeout; the search goes on.',
    }),
  notSentAgain: () =>
    new ClientError('ERROR', '57P01', 'the server changed while the statement waited', {
      detail: 'It was not sent to any server (switchover_retry = never).',
      hint: 'Retry it: this connection can be used.',
    }),
  // class 57, operator intervention; subclasses from I to Z are left to implementations by the SQL standard
  heldTooMany: () =>
    new ClientError(
      'ERROR',
      '57S01',
      'too many clients wait for the end of a switchover (switchover_hold_limit)',
    ),
  heldTooLong: () =>
    new ClientError('ERROR', '57S02', 'the switchover took too long (switchover_hold_timeout)'),
  functionCallRefused: (entry: string) =>
    new ClientError('ERROR', '42501', 'function calls by the fast-path protocol are not allowed here', {
      detail: `User functions apply to database "${entry}", and can't judge a FunctionCall message.`,
      hint: 'Call the function in a SELECT, or set user_functions_allow = function_call for the database.',
    }),
  replicationRefused: (entry: string) =>
    fatal(
      `replication connections to database "${entry}" are not allowed: user functions apply to it`,
      '42501',
      'user_functions_allow = replication lets them in, unjudged.',
    ),
  mustBePrepared: (name: string) =>
    new ClientError(
      'ERROR',
      '26000',
      name === ''
        ? 'the unnamed prepared statement must be prepared again'
        : `prepared statement "${name}" must be prepared again`,
      { detail: 'The user functions have changed since, and its text is not there to be judged.' },
    ),
  notJudged: (reason: string) =>
    new ClientError('ERROR', '53000', `the user functions could not be asked about the query: ${reason}`, {
      detail: 'It was not sent to any server.',
      hint: 'Retry it: this connection can be used. The log of the proxy says more.',
    }),
  moveInTransaction: (from: string, to: string) =>
    new ClientError(
      'ERROR',
      '25001',
      `routing_rules moved the query from "${from}" to "${to}" inside a transaction`,
      {
        hint: 'A transaction stays on the server that it began on; routing_in_transaction = keep lets the query go on there.',
      },
    ),
} as const satisfies Record<string, (...args: never[]) => ClientError>;
