/** PAUSE, RESUME, SUSPEND, DISABLE, ENABLE, RECONNECT, KILL, KILL_CLIENT and WAIT_CLOSE: control of the traffic. */
import { ADMIN_DATABASE } from '../session/state/names.ts';
import { UsageError } from './answers.ts';
import { databaseFor, databaseOrAll, logCommand } from './command.ts';
import { consoleErrors } from './errors.ts';
import type { Operator } from './operator.ts';
import { commandComplete } from './result.ts';

function refuseWhenPaused({ steer }: Operator): void {
  if (steer.lifecycle.traffic !== 'flowing') throw consoleErrors.alreadyHeld();
}

export async function pause(operator: Operator, argument: string): Promise<Buffer> {
  operator.requireAdmin();
  const { steer } = operator;
  refuseWhenPaused(operator);
  const database = databaseOrAll(operator, argument, 'pause');
  logCommand(operator, 'PAUSE', argument);
  steer.pause(database);
  const isPaused = (): boolean => (database === null ? steer.lifecycle.isPaused : database.paused);
  const undo = (): void => {
    if (database !== null || !steer.lifecycle.endsWaiting) steer.resume(database);
  };
  await operator.waitUntil(() => !isPaused() || !steer.hasServers(database), undo);
  // scripts rely on PAUSE having succeeded
  if (!isPaused()) throw consoleErrors.pauseEnded();
  return commandComplete('PAUSE');
}

export function resume(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  const { steer } = operator;
  logCommand(operator, 'RESUME', argument);
  if (argument === '') {
    const { endsWaiting, isStopping, traffic } = steer.lifecycle;
    const isHeld = traffic !== 'flowing';
    if (endsWaiting || (isStopping && !isHeld)) throw consoleErrors.shuttingDown();
    if (!isHeld) throw consoleErrors.notHeld();
    steer.resume(null);
  } else {
    const database = steer.knownDatabase(argument);
    if (database === null && argument !== ADMIN_DATABASE) throw consoleErrors.noSuchDatabase(argument);
    if (!database?.paused) throw consoleErrors.databaseNotPaused(argument);
    steer.resume(database);
  }
  return commandComplete('RESUME');
}

export async function suspend(operator: Operator, argument: string): Promise<Buffer> {
  if (argument !== '') throw new UsageError();
  operator.requireAdmin();
  const { steer } = operator;
  refuseWhenPaused(operator);
  for (const database of steer.databases()) if (database.paused) throw consoleErrors.pausedDatabases();
  logCommand(operator, 'SUSPEND', '');
  await operator.waitFor(steer.suspend(), () => steer.resume(null));
  if (!steer.lifecycle.isSuspended) throw consoleErrors.suspendEnded();
  return commandComplete('SUSPEND');
}

export function disable(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  if (argument === '') throw consoleErrors.databaseRequired();
  logCommand(operator, 'DISABLE', argument);
  databaseFor(operator, argument, 'disable').setDisabled(true);
  return commandComplete('DISABLE');
}

export function enable(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  if (argument === '') throw consoleErrors.databaseRequired();
  logCommand(operator, 'ENABLE', argument);
  databaseFor(operator, argument, 'enable').setDisabled(false);
  return commandComplete('ENABLE');
}

export function reconnect(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  logCommand(operator, 'RECONNECT', argument);
  operator.steer.reconnect(databaseOrAll(operator, argument, 'reconnect'));
  return commandComplete('RECONNECT');
}

export function kill(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  refuseWhenPaused(operator);
  logCommand(operator, 'KILL', argument);
  const { steer } = operator;
  const databases =
    argument === ''
      ? [...steer.databases()].filter(({ pools }) => pools.size > 0)
      : [databaseFor(operator, argument, 'kill')];
  for (const database of databases) steer.kill(database);
  return commandComplete('KILL');
}

export function killClient(operator: Operator, argument: string): Buffer {
  operator.requireAdmin();
  const id = /^\d+/.exec(argument);
  if (id === null) throw consoleErrors.badClientId();
  if (!operator.steer.killClient(Number(id[0]))) throw consoleErrors.noSuchClient();
  return commandComplete('KILL_CLIENT');
}

export async function waitClose(operator: Operator, argument: string): Promise<Buffer> {
  operator.requireAdmin();
  logCommand(operator, 'WAIT_CLOSE', argument);
  const database = databaseOrAll(operator, argument, 'wait in');
  await operator.waitUntil(() => !operator.steer.hasRetired(database));
  return commandComplete('WAIT_CLOSE');
}
