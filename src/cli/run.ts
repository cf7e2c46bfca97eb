/** Starts the proxy for a command line, in the foreground or as a daemon, and ends the process after it. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { ConfigError, formatDiagnostic } from '../config/diagnostics.ts';
import type { Config } from '../config/config.ts';
import { loadConfig, type ConfigSource } from '../config/load.ts';
import type { Settings } from '../config/options.ts';
import { requireStateDir } from '../config/state-dir.ts';
import { isInUse, unixSocketPath } from '../listener.ts';
import {
  becomeUser,
  nameProcess,
  removePidfile,
  replacePidfile,
  StartError,
  writePidfile,
} from '../platform/process.ts';
import { notifySystemd, startWatchdog, systemdSockets } from '../platform/systemd.ts';
import { Proxy } from '../proxy.ts';
import { createLog, type Logger } from '../telemetry/log.ts';
import { descriptorLimitLine } from './descriptor-limit.ts';
import { watchEnvironmentFiles } from './environment-files.ts';
import { handleSignals, reloadConfig } from './signals.ts';
import { Takeover } from './takeover.ts';
import { versionLines } from './version.ts';

/** The options of the command line. */
export interface RunOptions {
  readonly source: ConfigSource;
  readonly daemon: boolean;
  readonly quiet: boolean;
  readonly reboot: boolean;
  readonly verbose: number;
  readonly user: string | null;
}

/** Set in the daemon's own process, which reports on descriptor 3 whether it has started. */
const DAEMON_MARK = 'PGSWITCHYARD_DAEMON';

const CANNOT_LOAD = 'cannot load config file';

/** Runs the proxy until a signal or SHUTDOWN ends it; exits with 1 and the reason if it cannot start. */
export async function run(options: RunOptions): Promise<void> {
  const isDaemon = process.env[DAEMON_MARK] === '1';
  // now, because setuid removes the right to write there
  flushCompileCache();
  nameProcess('pgswitchyard');
  try {
    const config = loadConfig(options.source, null, { verbose: options.verbose });
    if (options.daemon && !isDaemon) return await startDaemon(config);
    await serve(config, options, isDaemon);
  } catch (error) {
    const last = error instanceof ConfigError ? `\n${CANNOT_LOAD}` : '';
    if (error instanceof ConfigError) logProblems(error);
    const problem = `${(error as Error).message}${last}`;
    if (!options.quiet) process.stderr.write(`${problem}\n`);
    tellStarter(`failed: ${problem}`);
    process.exit(1);
  }
}

/** Also logs the problems to the configured logfile: nobody may be reading stderr. */
function logProblems({ diagnostics, settings }: ConfigError): void {
  if (settings === null) return;
  // a log file created by root could not be written to after the switch to another user
  if (process.getuid?.() === 0 && !settings.syslog && !existsSync(settings.logfile)) return;
  try {
    const log = createLog({ settings, quiet: true });
    for (const diagnostic of diagnostics) log.error(formatDiagnostic(diagnostic));
    log.fatal(CANNOT_LOAD);
    log.close();
  } catch {
    // the log cannot be opened: the problems are on stderr
  }
}

async function serve(config: Config, options: RunOptions, isDaemon: boolean): Promise<void> {
  const { settings } = config;
  const user = options.user ?? settings.user;
  if (user) {
    becomeUser(user);
    requireStateDir(config);
  }
  if (process.getuid?.() === 0 && user !== 'root')
    throw new StartError('pgswitchyard should not run as root: start it with -u USER, or as another user');

  const log = createLog({ settings, quiet: options.quiet || isDaemon });
  let takeover: Takeover | null = null;
  try {
    const activated = systemdSockets();
    if (options.reboot && activated !== null) throw new StartError('cannot reboot under service manager');
    if (options.reboot) takeover = takeOver(settings, log);
    if (takeover === null) {
      if (activated === null) await refuseSecond(settings);
      if (settings.pidfile) writePidfile(settings.pidfile, (message) => log.info(message));
    }
    const limit = descriptorLimitLine(config);
    if (limit !== null) log.info(limit);
    for (const warning of config.warnings) log.warn(warning);
    const proxy = new Proxy({ config, log, inherited: takeover?.sockets ?? activated });
    keepRunning(log);
    handleSignals(proxy.steer, log);
    watchEnvironmentFiles(config.environment?.files ?? [], () => {
      log.info({ event: 'reload' }, 'a file that the environment names has changed, re-reading config');
      reloadConfig(proxy.steer, log);
    });
    // SHUTDOWN on the console
    void proxy.ended.then(() => process.exit());
    await proxy.start();
    // the old process may end at once, and then removes the pidfile if it still names that process
    if (settings.pidfile && takeover !== null) replacePidfile(settings.pidfile);
    takeover?.finish();
  } catch (error) {
    log.fatal((error as Error).message);
    if (settings.pidfile) removePidfile(settings.pidfile);
    tellStarter(`failed: ${(error as Error).message}`);
    process.exit(1);
  }
  process.on('exit', () => {
    if (settings.pidfile) removePidfile(settings.pidfile);
  });
  log.info({ event: 'started' }, `process up: ${versionLines().slice(0, 5).join(', ')}`);
  tellStarter('ready');
  notifySystemd('READY=1', ...(takeover === null ? [] : [`MAINPID=${process.pid}`]));
  startWatchdog();
}

/** -R. @returns null: no process to replace */
function takeOver(settings: Settings, log: Logger): Takeover | null {
  log.warn('Online restart is deprecated, use so_reuseport instead');
  const takeover = Takeover.begin(settings);
  if (takeover === null) log.info('old process not found, try to continue normally');
  return takeover;
}

/** Refuses to start next to a process with the same Unix socket: they would take it from each other. */
async function refuseSecond({ unix_socket_dir: folder, listen_port: port }: Settings): Promise<void> {
  if (folder && (await isInUse(unixSocketPath(folder, port))))
    throw new StartError('unix socket is in use, cannot continue');
}

/** A bug must not end all connections: it is logged with its stack, and the process continues. */
function keepRunning(log: Logger): void {
  const report = (error: unknown): void => {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    log.error({ event: 'bug' }, `internal error: ${text}`);
  };
  process.on('uncaughtException', report);
  process.on('unhandledRejection', report);
}

function tellStarter(message: string): void {
  if (process.env[DAEMON_MARK] === '1' && process.send) {
    process.send(message);
    process.disconnect?.();
  }
}

/**
 * Starts the same command again, detached from terminal and session, and waits until it serves, because Node can't fork.
 * @throws StartError if it does not start
 */
async function startDaemon(config: Config): Promise<void> {
  const { pidfile, logfile, syslog } = config.settings;
  if (!pidfile) throw new StartError('daemon needs pidfile configured');
  if (!logfile && !syslog) throw new StartError('daemon needs logging configured: set logfile or syslog');
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    env: { ...process.env, [DAEMON_MARK]: '1' },
  });
  const answer = await new Promise<string>((resolve) => {
    child.once('message', (message) => resolve(typeof message === 'string' ? message : 'failed: no answer'));
    child.once('error', (error) => resolve(`failed: ${error.message}`));
    child.once('exit', (code) => resolve(`failed: the process ended with ${code}; ${logfile} says more`));
  });
  if (answer !== 'ready') throw new StartError(answer.replace(/^failed: /, ''));
  child.unref();
  if (child.connected) child.disconnect();
}
