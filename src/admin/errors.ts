/** Every error that the console sends, with pgbouncer's wording where pgbouncer has one. */
import { error, fatal, PGBOUNCER, row, type ClientError } from '../wire/errors.ts';

/** The error that answers a statement. The connection stays. */
function answer(message: string): ClientError {
  return error(PGBOUNCER, message);
}

const CORRECT = 'Correct the statement; SHOW HELP lists them all.';
const CORRECT_NAME = 'Correct the name; SHOW DATABASES lists them.';
const USE_LIBPQ = 'Use psql, or a driver with the simple query protocol.';

/** `consoleErrors.noSuchDatabase('x')` */
export const consoleErrors = {
  notAllowed: row(
    () => fatal('not allowed'),
    [],
    'The user is neither in `admin_users` nor in `stats_users`, and is not an administrator of a tenant.',
    'Log in as one of these users.',
  ),
  adminNeeded: row(
    () => answer('admin access needed'),
    [],
    'The user is in `stats_users` alone, and may only use SHOW.',
    'Log in as one of `admin_users`.',
  ),
  permissionDenied: row(
    () =>
      error('42501', 'permission denied', { hint: 'SHOW TENANTS and SHOW FUNCTIONS show what is yours.' }),
    [],
    "The user is a tenant's administrator, and the statement is not about the functions of that tenant.",
    'Log in as one of `admin_users` of `[pgbouncer]`.',
  ),
  noFleetStore: row(
    (problem: string) => answer(`the audit log of the fleet can't be read: ${problem}`),
    ['PROBLEM'],
    'SHOW FLEET_AUDIT asks the store of the fleet, which is not configured or does not answer.',
    'SHOW FLEET shows the state of the store; docs/fleet.md explains it.',
  ),
  noSuchTenant: row(
    (name: string) => answer(`no such tenant: ${name}`),
    ['TENANT'],
    'A statement names a tenant that is neither in `[tenants]` nor has functions.',
    'Correct the name; SHOW TENANTS lists them.',
  ),
  tenantNotPaused: row(
    (name: string) => answer(`functions of ${name} are neither paused nor pinned`),
    ['TENANT'],
    'RESUME FUNCTIONS of a tenant that is neither paused nor served by a version that somebody has gone back to.',
    'None needed.',
  ),
  pausedByOperator: row(
    () => error('42501', 'permission denied: an operator has paused these functions'),
    [],
    "A tenant's administrator wants to RESUME FUNCTIONS that one of `admin_users` has paused.",
    'Ask an operator of the proxy.',
  ),
  pinnedByOperator: row(
    () => error('42501', 'permission denied: an operator has gone back to a version of these functions'),
    [],
    "A tenant's administrator wants another version than one of `admin_users` has chosen by ROLLBACK or PROMOTE FUNCTIONS.",
    'Ask an operator of the proxy.',
  ),
  cannotGoBack: row(
    (reason: string) => answer(`cannot go back: ${reason}`),
    ['there is no version 7'],
    'ROLLBACK FUNCTIONS to a version that does not exist, is not kept any more, or can not be loaded now. The present version stays.',
    'Choose one whose state is `kept`; SHOW FUNCTION VERSIONS lists them.',
  ),
  operatorsFunctions: row(
    () => error('42501', "permission denied: functions of the operator's run together with these"),
    [],
    "A tenant's administrator wants to PAUSE, SHADOW, CANARY or PROMOTE FUNCTIONS, and one of the two functions is the operator's.",
    'Ask an operator of the proxy.',
  ),
  candidateUnusable: row(
    (reason: string) => answer(reason),
    ['REASON'],
    'SHADOW, CANARY or PROMOTE FUNCTIONS is not possible: there is no candidate, it is not loaded, or it is what serves.',
    'SHOW SHADOW TENANT has the state of the candidate, and its last error.',
  ),
  incompletePacket: row(
    () => fatal('incomplete pkt'),
    [],
    'A message has a bad length, or is longer than 64 kB.',
    USE_LIBPQ,
  ),
  incompleteQuery: row(() => fatal('incomplete query'), [], 'A Query message has no end.', USE_LIBPQ),
  badPacket: row(() => fatal('bad packet'), [], 'Follows each of the next two errors.', USE_LIBPQ),
  extendedProtocol: row(
    () => answer('extended query protocol not supported by admin console'),
    [],
    'The client uses the extended query protocol.',
    USE_LIBPQ,
  ),
  unsupportedPacket: row(
    (type: number) => answer(`unsupported packet type for admin console: ${type}`),
    [99],
    'The client sends a message that the console does not know.',
    USE_LIBPQ,
  ),
  invalidCommand: row(
    (text: string) => answer(`invalid command '${text}', use SHOW HELP;`),
    ['STATEMENT'],
    "The statement is not in the console's language.",
    CORRECT,
  ),
  badArguments: row(
    () => answer('bad arguments'),
    [],
    'The statement has other arguments than the console knows.',
    CORRECT,
  ),
  databaseRequired: row(
    () => answer('a database is required'),
    [],
    'DISABLE or ENABLE without the name of a database.',
    CORRECT,
  ),
  noSuchDatabase: row(
    (name: string) => answer(`no such database: ${name}`),
    ['DATABASE'],
    'A statement names a database that is not configured.',
    CORRECT_NAME,
  ),
  adminDatabase: row(
    (action: string, name: string) => answer(`cannot ${action} admin db: ${name}`),
    ['pause', 'pgbouncer'],
    'A statement names the console itself.',
    CORRECT_NAME,
  ),
  noSuchCluster: row(
    (name: string) => answer(`no such database with a topology_query: ${name}`),
    ['DATABASE'],
    'SWITCHOVER or NOTIFY TOPOLOGY names a database that is not a cluster.',
    'Correct the name; SHOW TOPOLOGY lists the clusters.',
  ),
  switchoverFailed: row(
    (reason: string) => answer(`switchover failed: ${reason}`),
    ['REASON'],
    'A SWITCHOVER was refused, was given up or failed.',
    'Remove the reason; docs/switchover.md says what was left behind.',
  ),
  alreadyHeld: row(
    () => answer('already suspended/paused'),
    [],
    'PAUSE, SUSPEND or KILL while all databases are paused or suspended.',
    'RESUME first.',
  ),
  pausedDatabases: row(
    () => answer('cannot suspend with paused databases'),
    [],
    'SUSPEND while a single database is paused.',
    'RESUME the database first.',
  ),
  pauseEnded: row(
    () => answer('pause was ended by RESUME'),
    [],
    'Another operator used RESUME before the PAUSE was complete.',
    'PAUSE again if it is still needed.',
  ),
  suspendEnded: row(
    () => answer('suspend was ended by RESUME'),
    [],
    'Another operator used RESUME before the SUSPEND was complete.',
    'SUSPEND again if it is still needed.',
  ),
  notHeld: row(
    () => answer('pooler is not paused/suspended'),
    [],
    'RESUME while nothing is paused or suspended.',
    'None needed.',
  ),
  databaseNotPaused: row(
    (name: string) => answer(`database ${name} is not paused`),
    ['DATABASE'],
    'RESUME of a database that is not paused.',
    'None needed.',
  ),
  shuttingDown: row(
    () => answer('pooler is shutting down'),
    [],
    'RESUME while the proxy is shutting down.',
    'None needed.',
  ),
  badClientId: row(
    () => answer('invalid client pointer supplied'),
    [],
    'KILL_CLIENT without a number.',
    'Take the number from the column `id` of SHOW CLIENTS.',
  ),
  noSuchClient: row(
    () => answer('client not found'),
    [],
    'KILL_CLIENT of a client that is not connected any more, or never was.',
    'Take the number from the column `id` of SHOW CLIENTS.',
  ),
  reloadFailed: row(
    (detail: string) => error('F0000', 'RELOAD failed, see logs for additional details', { detail }),
    [''],
    'The configuration has mistakes, and the old one stays in force. The detail lists them.',
    'Correct the configuration and RELOAD again.',
  ),
  setFailed: row(
    (detail: string) => error(PGBOUNCER, 'SET failed', { detail }),
    [''],
    'The option does not exist, or not with this value. The detail says which.',
    'Correct the statement; SHOW CONFIG lists the options.',
  ),
  canceled: row(
    () => error('57014', 'canceling statement due to user request'),
    [],
    'The operator has canceled a statement that was waiting.',
    'None needed.',
  ),
  notOwnProcess: row(
    () => answer('only a process of the same user can take over'),
    [],
    'TAKEOVER from a connection that is not of the same system user.',
    'Start the new process with -R, as the same user.',
  ),
  cannotPassDescriptors: row(
    () => answer('descriptors cannot be passed here'),
    [],
    'TAKEOVER where sockets cannot be handed to another process.',
    'Use Linux, a Node with node:ffi, and the Unix socket.',
  ),
} as const;
