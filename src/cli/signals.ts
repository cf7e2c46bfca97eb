/** The signals, as pgbouncer takes them (usage.md, Signals). */
import type { Steer } from '../admin/steer.ts';
import type { Logger } from '../telemetry/log.ts';
import { onLauncherGone } from '../platform/launcher.ts';

export function handleSignals(steer: Steer, log: Logger): void {
  const { lifecycle } = steer;
  let hasTerm = false;
  /**
   * Kubernetes sends SIGTERM as soon as a `preStop` hook has ended, which may have given SHUTDOWN WAIT_FOR_CLIENTS: both ask for
   * the same. Two signals mean that the sender does not want to wait any more.
   */
  const isAskedFor = (signal: string): boolean => {
    const isFirst = signal === 'SIGTERM' && !hasTerm;
    if (signal === 'SIGTERM') hasTerm = true;
    const waitsForClients = lifecycle.isStopping && !lifecycle.isStopped && !lifecycle.endsWaiting;
    return isFirst && (lifecycle.isLeaving || waitsForClients);
  };
  const stop = (signal: string, mode: 'wait_for_clients' | 'wait_for_servers'): void => {
    if (isAskedFor(signal)) return log.info(`got ${signal} after SHUTDOWN WAIT_FOR_CLIENTS, which goes on`);
    if (lifecycle.isStopping) {
      log.info(`got ${signal} while shutting down, fast exit`);
      return exit();
    }
    log.info(
      `got ${signal}, shutting down, waiting for all ${mode === 'wait_for_clients' ? 'clients disconnect' : 'servers connections to be released'}`,
    );
    if (lifecycle.isSuspended) {
      log.fatal('suspend was in progress, going down immediately');
      process.exitCode = 1;
      return exit();
    }
    steer
      .stop(mode)
      .catch((error: Error) => log.error(`shutdown failed: ${error.message}`))
      .finally(exit);
  };

  process.on('SIGTERM', () => stop('SIGTERM', 'wait_for_clients'));
  process.on('SIGINT', () => stop('SIGINT', 'wait_for_servers'));
  process.on('SIGQUIT', () => {
    log.info('got SIGQUIT, fast exit');
    exit();
  });
  onLauncherGone(() => {
    log.fatal('the process that started this one is gone without a signal, fast exit');
    process.exitCode = 1;
    exit();
  });
  process.on('SIGHUP', () => {
    log.info('got SIGHUP, re-reading config');
    log.reopen();
    reloadConfig(steer, log);
  });
  process.on('SIGUSR1', () => {
    if (lifecycle.traffic !== 'flowing') return log.info('got SIGUSR1, but already paused/suspended');
    log.info('got SIGUSR1, pausing all activity');
    steer.pause(null);
  });
  process.on('SIGUSR2', () => {
    const isHeld = lifecycle.traffic !== 'flowing';
    if (lifecycle.endsWaiting || (lifecycle.isStopping && !isHeld))
      return log.info('got SIGUSR2 while shutting down, ignoring');
    if (lifecycle.isSuspended) log.info('got SIGUSR2, continuing from SUSPEND');
    else if (lifecycle.isPaused) log.info('got SIGUSR2, continuing from PAUSE');
    else return log.info('got SIGUSR2, but not paused/suspended');
    steer.resume(null);
  });

  // Connections that are still open are closed with the process; socket files and sandbox children are removed.
  const exit = (): void => {
    void steer.stop('immediate').finally(() => process.exit());
    setTimeout(() => process.exit(), 1_000).unref();
  };
}

/** Reads the configuration again. Its problems are logged, and the old one stays in force. */
export function reloadConfig(steer: Steer, log: Logger): void {
  steer.reload().catch((error: Error) => {
    for (const line of error.message.split('\n')) log.error(line);
    log.error('RELOAD Failed, see logs for more details');
  });
}
