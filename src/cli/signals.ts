import type { Proxy } from '../proxy.ts';
import type { Logger } from '../telemetry/log.ts';
import { onLauncherGone } from '../platform/launcher.ts';

/** pgbouncer's signals (usage.md, Signals). */
export function handleSignals(proxy: Proxy, log: Logger): void {
  const stop = (signal: string, mode: 'wait_for_clients' | 'wait_for_servers'): void => {
    if (proxy.isStopping) {
      log.info(`got ${signal} while shutting down, fast exit`);
      return exit();
    }
    log.info(
      `got ${signal}, shutting down, waiting for all ${mode === 'wait_for_clients' ? 'clients disconnect' : 'servers connections to be released'}`,
    );
    if (proxy.sessions.suspended) {
      log.fatal('suspend was in progress, going down immediately');
      process.exitCode = 1;
      return exit();
    }
    proxy
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
    proxy.reload().catch((error: Error) => {
      for (const line of error.message.split('\n')) log.error(line);
      log.error('RELOAD Failed, see logs for more details');
    });
  });
  process.on('SIGUSR1', () => {
    if (proxy.registry.paused || proxy.sessions.suspended)
      return log.info('got SIGUSR1, but already paused/suspended');
    log.info('got SIGUSR1, pausing all activity');
    proxy.pause();
  });
  process.on('SIGUSR2', () => {
    const { registry, sessions } = proxy;
    const isHeld = registry.paused || sessions.suspended;
    if (sessions.endsWaiting || (proxy.isStopping && !isHeld))
      return log.info('got SIGUSR2 while shutting down, ignoring');
    if (sessions.suspended) log.info('got SIGUSR2, continuing from SUSPEND');
    else if (registry.paused) log.info('got SIGUSR2, continuing from PAUSE');
    else return log.info('got SIGUSR2, but not paused/suspended');
    proxy.resume();
  });

  // Connections that are open by then are closed with the process; socket files and sandbox children are removed.
  const exit = (): void => {
    void proxy.stop('immediate').finally(() => process.exit());
    setTimeout(() => process.exit(), 1_000).unref();
  };
}
