import { applySet } from '../config/change.ts';
import { isOptionName, optionOf } from '../config/options.ts';
import { canPassDescriptors, sendDescriptors } from '../platform/descriptors.ts';
import { fdOf } from '../platform/libc.ts';
import type { Database } from '../pool/database.ts';
import { ADMIN_DATABASE } from '../session/names.ts';
import { clientPhase } from '../session/phase.ts';
import { ClientError, clientErrors } from '../wire/errors.ts';
import { noticeResponse } from '../wire/messages.ts';
import type { AdminActions, StopMode } from './actions.ts';
import { commandError, type Operator } from './operator.ts';
import { commandComplete } from './result.ts';

/**
 * One of the console's verbs. What it returns is the answer, without ReadyForQuery; null: there is none, ever.
 * @throws ClientError for the operator
 */
export type Command = (operator: Operator, argument: string) => Buffer | null | Promise<Buffer | null>;

/** How much the DETAIL of a refused RELOAD holds; the log has all of it. */
const MISTAKES_SHOWN = 10;
const MISTAKE_CHARACTERS = 500;

/** The verb is known, but not with this argument. */
export class UsageError extends Error {}

/** Every verb but SHOW and SET, in lower case. */
export const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['reload', reload],
  ['pause', pause],
  ['resume', resume],
  ['suspend', suspend],
  ['disable', disable],
  ['enable', enable],
  ['reconnect', reconnect],
  ['kill', kill],
  ['kill_client', killClient],
  ['wait_close', waitClose],
  ['shutdown', shutdown],
  ['takeover', takeOver],
]);

function logCommand({ log }: AdminActions, verb: string, argument: string): void {
  const target = argument === '' ? '' : ` '${argument}'`;
  log.info({ event: 'console_command' }, `${verb}${target} command issued`);
}

/** The database that a command names; one of `*` comes to be by that, as it does when a client names it. */
function databaseFor({ registry }: AdminActions, name: string, action: string): Database {
  if (name === ADMIN_DATABASE) throw commandError(`cannot ${action} admin db: ${name}`);
  const database = registry.find(name);
  if (database === null) throw commandError(`no such database: ${name}`);
  return database;
}

function refuseWhenPaused({ registry, sessions }: AdminActions): void {
  if (registry.paused || sessions.suspended) throw commandError('already suspended/paused');
}

async function reload(operator: Operator, argument: string): Promise<Buffer> {
  if (argument !== '') throw new UsageError();
  operator.requireAdmin();
  const { actions } = operator;
  logCommand(actions, 'RELOAD', '');
  // a rotated file is left even when the new configuration is refused
  actions.log.reopen();
  try {
    await actions.reload();
  } catch (error) {
    const lines = (error as Error).message.split('\n');
    for (const line of lines) actions.log.error(line);
    actions.log.error('RELOAD Failed, see logs for more details');
    throw new ClientError('ERROR', 'F0000', 'RELOAD failed, see logs for additional details', {
      detail: shortened(lines),
    });
  }
  return commandComplete('RELOAD');
}

/** As many of the mistakes as fit a terminal. */
function shortened(lines: readonly string[]): string {
  const shown = lines.slice(0, MISTAKES_SHOWN).map((line) => line.slice(0, MISTAKE_CHARACTERS));
  const more = lines.length - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('\n');
}

async function pause(operator: Operator, argument: string): Promise<Buffer> {
  operator.requireAdmin();
  const { actions } = operator;
  const { registry } = actions;
  refuseWhenPaused(actions);
  const database = argument === '' ? null : databaseFor(actions, argument, 'pause');
  logCommand(actions, 'PAUSE', argument);
  if (database === null) actions.pause();
  else registry.pause(database);
  const isPaused = (): boolean => (database === null ? registry.paused : database.paused);
  const undo = (): void => {
    if (database !== null) registry.resume(database);
    else if (!actions.sessions.endsWaiting) actions.resume();
  };
  await operator.waitUntil(() => !isPaused() || !registry.hasServers(database), undo);
  // Whoever goes on after PAUSE relies on it.
  if (!isPaused()) throw commandError('pause was ended by RESUME');
  return commandComplete('PAUSE');
}

function resume(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  const { actions } = operator;
  const { registry, sessions } = actions;
  logCommand(actions, 'RESUME', argument);
  if (argument === '') {
    const isPaused = registry.paused || sessions.suspended;
    if (sessions.endsWaiting || (actions.isStopping && !isPaused))
      throw commandError('pooler is shutting down');
    if (!isPaused) throw commandError('pooler is not paused/suspended');
    actions.resume();
  } else {
    const database = registry.databases.get(argument);
    if (database === undefined && argument !== ADMIN_DATABASE)
      throw commandError(`no such database: ${argument}`);
    if (!database?.paused) throw commandError(`database ${argument} is not paused`);
    registry.resume(database);
  }
  return commandComplete('RESUME');
}

async function suspend(operator: Operator, argument: string): Promise<Buffer> {
  if (argument !== '') throw new UsageError();
  operator.requireAdmin();
  const { actions } = operator;
  refuseWhenPaused(actions);
  for (const database of actions.registry.databases.values()) {
    if (database.paused) throw commandError('cannot suspend with paused databases');
  }
  logCommand(actions, 'SUSPEND', '');
  await operator.waitFor(actions.suspend(), () => actions.resume());
  if (!actions.sessions.suspended) throw commandError('suspend was ended by RESUME');
  return commandComplete('SUSPEND');
}

function disable(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  if (argument === '') throw commandError('a database is required');
  logCommand(operator.actions, 'DISABLE', argument);
  databaseFor(operator.actions, argument, 'disable').setDisabled(true);
  return commandComplete('DISABLE');
}

function enable(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  if (argument === '') throw commandError('a database is required');
  logCommand(operator.actions, 'ENABLE', argument);
  databaseFor(operator.actions, argument, 'enable').setDisabled(false);
  return commandComplete('ENABLE');
}

function reconnect(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  const { actions } = operator;
  logCommand(actions, 'RECONNECT', argument);
  const database = argument === '' ? null : databaseFor(actions, argument, 'reconnect');
  for (const pool of actions.registry.poolsOf(database)) pool.retire('database configuration changed');
  return commandComplete('RECONNECT');
}

function kill(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  const { actions } = operator;
  refuseWhenPaused(actions);
  logCommand(actions, 'KILL', argument);
  const databases =
    argument === ''
      ? [...actions.registry.databases.values()].filter((each) => each.pools.size > 0)
      : [databaseFor(actions, argument, 'kill')];
  for (const database of databases) killDatabase(actions, database);
  return commandComplete('KILL');
}

function killDatabase({ sessions }: AdminActions, database: Database): void {
  const error = clientErrors.databaseRemoved();
  database.setPaused(true);
  sessions.drop(database, error);
  for (const pool of database.pools.values()) {
    for (const server of [...pool.servers]) server.close(error.message);
    pool.opener.abort(error.message);
  }
}

function killClient(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  const id = /^\d+/.exec(argument);
  if (id === null) throw commandError('invalid client pointer supplied');
  const wanted = Number(id[0]);
  for (const client of operator.actions.sessions.clients) {
    if (client.id !== wanted || clientPhase(client) === 'login') continue;
    const error = clientErrors.forcedDisconnect();
    client.close(error.message, error);
    return commandComplete('KILL_CLIENT');
  }
  throw commandError('client not found');
}

async function waitClose(operator: Operator, argument: string): Promise<Buffer> {
  operator.requireAdmin();
  const { actions } = operator;
  logCommand(actions, 'WAIT_CLOSE', argument);
  const database = argument === '' ? null : databaseFor(actions, argument, 'wait in');
  await operator.waitUntil(() => !actions.registry.hasRetired(database));
  return commandComplete('WAIT_CLOSE');
}

const STOP_MODES: Readonly<Record<string, StopMode>> = {
  '': 'immediate',
  wait_for_clients: 'wait_for_clients',
  wait_for_servers: 'wait_for_servers',
};

function shutdown(operator: Operator, argument: string): Buffer | null {
  const mode = STOP_MODES[argument.toLowerCase()];
  if (mode === undefined) throw new UsageError();
  operator.requireAdmin();
  const { actions } = operator;
  const how = argument === '' ? '' : ` ${argument.toUpperCase()}`;
  actions.log.info({ event: 'console_command' }, `SHUTDOWN${how} command issued`);
  const stop = (): void => {
    actions.stop(mode).catch((error: Error) => actions.log.error({ err: error }, error.message));
  };
  if (mode === 'immediate') {
    // it is answered by the connection's end
    stop();
    return null;
  }
  // after the answer: where there is nobody to wait for, the connection ends with it
  setImmediate(stop);
  return commandComplete('SHUTDOWN');
}

/**
 * What a new process says that was started with -R: its listening sockets come with a notice, and SHUTDOWN
 * WAIT_FOR_CLIENTS follows when it listens on them. pgbouncer has SHOW FDS for that, which sends more than sockets.
 */
function takeOver(operator: Operator, argument: string): Buffer {
  if (argument !== '') throw new UsageError();
  const { actions, client } = operator;
  operator.requireAdmin();
  if (!client.isOwnProcess) throw commandError('only a process of the same user can take over');
  const fd = fdOf(client.socket);
  if (!canPassDescriptors() || fd < 0) throw commandError('descriptors cannot be passed here');
  const descriptors = actions.handOver();
  client.socket.once('close', () => actions.takeBack());
  actions.log.info({ event: 'takeover' }, `passing ${descriptors.length} listening sockets to a new process`);
  sendDescriptors(fd, notice('listening sockets'), descriptors);
  return commandComplete('TAKEOVER');
}

/** SET key = value, of any option that a reload could change; the next RELOAD undoes it. */
export async function setOption(operator: Operator, key: string, value: string): Promise<Buffer> {
  operator.requireAdmin();
  const { actions } = operator;
  const { config } = actions.registry;
  const done = commandComplete(`SET ${key}=${value}`);
  if (isOptionName(key) && !optionOf(key).reload)
    return Buffer.concat([notice(`${key} cannot be changed without a restart`), done]);
  let next;
  try {
    next = applySet(config, key, value);
  } catch (error) {
    const { message } = error as Error;
    actions.log.error(`SET ${key}: ${message}`);
    throw new ClientError('ERROR', '08P01', 'SET failed', { detail: shortened(message.split('\n')) });
  }
  if (await actions.applySettings(next)) return done;
  return Buffer.concat([notice('TLS settings could not be applied, still using old configuration'), done]);
}

/** A NOTICE for the operator. */
export function notice(message: string, detail: string | null = null): Buffer {
  return noticeResponse({ severity: 'NOTICE', code: '00000', message, detail });
}
