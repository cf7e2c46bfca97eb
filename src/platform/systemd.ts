import { spawn } from 'node:child_process';

/**
 * Tells systemd about the service's state (sd_notify(3)). Node has no datagram sockets for Unix paths: systemd's own tool
 * does it, so that the unit needs `NotifyAccess=all`. Without systemd nothing happens.
 */
export function notifySystemd(...states: string[]): void {
  if (!process.env['NOTIFY_SOCKET']) return;
  const child = spawn('systemd-notify', [`--pid=${process.pid}`, ...states], { stdio: 'ignore' });
  child.on('error', () => {});
}
