/** Notifications to systemd (sd_notify), and its socket activation. */
import { spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { canPassDescriptors, connectUnix } from './descriptors.ts';

/**
 * Tells systemd about the service's state (sd_notify(3)). Node has no datagram sockets for Unix paths, so this goes through
 * node:ffi, or without it through systemd's own tool, for which the unit needs `NotifyAccess=all`. Without systemd nothing
 * happens.
 */
export function notifySystemd(...states: string[]): void {
  const path = process.env['NOTIFY_SOCKET'];
  if (!path) return;
  if (!canPassDescriptors()) {
    const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...states], { stdio: 'ignore' });
    child.on('error', () => {});
    return;
  }
  const fd = connectUnix(path.startsWith('@') ? `\0${path.slice(1)}` : path, 'datagram');
  if (fd < 0) return;
  try {
    writeSync(fd, states.join('\n'));
  } catch {
    // no service manager to tell
  } finally {
    closeSync(fd);
  }
}

/** A reload has begun (Type=notify-reload); READY=1 ends it. */
export function notifyReloading(): void {
  notifySystemd('RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
}

/** Reports twice in each WatchdogSec= that the event loop turns. */
export function startWatchdog(): void {
  const { WATCHDOG_USEC: usec, WATCHDOG_PID: pid } = process.env;
  if (!(Number(usec) > 0) || (pid && Number(pid) !== process.pid)) return;
  setInterval(() => notifySystemd('WATCHDOG=1'), Number(usec) / 2000).unref();
}

/** The first descriptor that systemd passes (sd_listen_fds(3)). */
const FIRST_SOCKET = 3;

/** Listening sockets that systemd has opened for this process (socket activation); null: none. */
export function systemdSockets(): { descriptors: number[]; from: 'systemd' } | null {
  const { LISTEN_PID: pid, LISTEN_FDS: count } = process.env;
  if (Number(pid) !== process.pid || !(Number(count) > 0)) return null;
  // child processes must not use it
  delete process.env['LISTEN_PID'];
  delete process.env['LISTEN_FDS'];
  delete process.env['LISTEN_FDNAMES'];
  const descriptors = Array.from({ length: Number(count) }, (_, i) => FIRST_SOCKET + i);
  return { descriptors, from: 'systemd' };
}
