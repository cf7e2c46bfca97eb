/** RELOAD, SET, SHUTDOWN and TAKEOVER: the process and its configuration. */
import { applySet } from '../config/change.ts';
import { isOptionName, optionOf } from '../config/options.ts';
import { canPassDescriptors, sendDescriptors } from '../platform/descriptors.ts';
import { fdOf } from '../platform/libc.ts';
import { notice, UsageError } from './answers.ts';
import { logCommand } from './command.ts';
import { consoleErrors } from './errors.ts';
import type { Operator } from './operator.ts';
import { commandComplete } from './result.ts';
import type { StopMode } from './steer.ts';

/** The length of the DETAIL of a refused RELOAD; the log has all of it. */
const MISTAKES_SHOWN = 10;
const MISTAKE_CHARACTERS = 500;

export async function reload(operator: Operator, argument: string): Promise<Buffer> {
  if (argument !== '') throw new UsageError();
  operator.requireAdmin();
  const { log, steer } = operator;
  logCommand(operator, 'RELOAD', '');
  // a rotated log file is released even if the new configuration is refused
  log.reopen();
  try {
    await steer.reload();
  } catch (error) {
    const lines = (error as Error).message.split('\n');
    for (const line of lines) log.error(line);
    log.error('RELOAD Failed, see logs for more details');
    throw consoleErrors.reloadFailed(shortened(lines));
  }
  return commandComplete('RELOAD');
}

/** As many of the mistakes as fit on a terminal. */
function shortened(lines: readonly string[]): string {
  const shown = lines.slice(0, MISTAKES_SHOWN).map((line) => line.slice(0, MISTAKE_CHARACTERS));
  const more = lines.length - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('\n');
}

/** SET key = value, for any option that a reload could change; the next RELOAD undoes it. */
export async function setOption(operator: Operator, key: string, value: string): Promise<Buffer> {
  operator.requireAdmin();
  const { log, observe, steer } = operator;
  const done = commandComplete(`SET ${key}=${value}`);
  if (isOptionName(key) && !optionOf(key).reload)
    return Buffer.concat([notice(`${key} cannot be changed without a restart`), done]);
  let next;
  try {
    next = applySet(observe.config, key, value);
  } catch (error) {
    const { message } = error as Error;
    log.error(`SET ${key}: ${message}`);
    throw consoleErrors.setFailed(shortened(message.split('\n')));
  }
  if (await steer.set(next)) return done;
  return Buffer.concat([notice('TLS settings could not be applied, still using old configuration'), done]);
}

const STOP_MODES: Readonly<Record<string, StopMode>> = {
  '': 'immediate',
  wait_for_clients: 'wait_for_clients',
  wait_for_servers: 'wait_for_servers',
};

export function shutdown(operator: Operator, argument: string): Buffer | null {
  const mode = STOP_MODES[argument.toLowerCase()];
  if (mode === undefined) throw new UsageError();
  operator.requireAdmin();
  const { log, steer } = operator;
  const how = argument === '' ? '' : ` ${argument.toUpperCase()}`;
  log.info({ event: 'console_command' }, `SHUTDOWN${how} command issued`);
  const stop = (): void => {
    steer.stop(mode).catch((error: Error) => log.error({ err: error }, error.message));
  };
  if (mode === 'immediate') {
    // the end of the connection is the answer
    stop();
    return null;
  }
  // after the answer: if there is nothing to wait for, the stop ends this connection at once
  setImmediate(stop);
  return commandComplete('SHUTDOWN');
}

/**
 * Sent by a new process that was started with -R. A notice carries the listening sockets to it, and it sends SHUTDOWN
 * WAIT_FOR_CLIENTS once it listens on them. pgbouncer uses SHOW FDS for that, which sends more than sockets.
 */
export function takeOver(operator: Operator, argument: string): Buffer {
  if (argument !== '') throw new UsageError();
  const { terminal, log, steer } = operator;
  operator.requireAdmin();
  const { successor } = terminal;
  if (successor === null) throw consoleErrors.notOwnProcess();
  const fd = fdOf(successor);
  if (!canPassDescriptors() || fd < 0) throw consoleErrors.cannotPassDescriptors();
  const descriptors = steer.handOver();
  successor.once('close', () => steer.takeBack());
  log.info({ event: 'takeover' }, `passing ${descriptors.length} listening sockets to a new process`);
  sendDescriptors(fd, notice('listening sockets'), descriptors);
  return commandComplete('TAKEOVER');
}
