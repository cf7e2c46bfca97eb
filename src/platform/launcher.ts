/**
 * An old Node that runs bin/pgswitchyard starts this process and passes signals on to it. It holds the other end of a pipe:
 * however it ends, the kernel closes that end. A supervisor of the old process must not believe that this one has stopped
 * while it still listens.
 */
import { Socket } from 'node:net';
import { closeOnExec } from './descriptors.ts';

/** The pipe's descriptor; child processes do not learn of it. */
const { PGSWITCHYARD_LAUNCHER: descriptor } = process.env;
delete process.env['PGSWITCHYARD_LAUNCHER'];

/** Calls back when the process that started this one is gone; never if only a signal could tell. */
export function onLauncherGone(gone: () => void): void {
  if (descriptor === undefined) return;
  const fd = Number(descriptor);
  closeOnExec(fd);
  const pipe = new Socket({ fd, readable: true, writable: false });
  pipe.on('error', () => {});
  pipe.once('close', gone);
  pipe.resume();
  pipe.unref();
}
