import { closeSync, readSync, writeSync } from 'node:fs';
import type { Settings } from '../config/options.ts';
import { canPassDescriptors, connectUnix, receiveDescriptors } from '../platform/descriptors.ts';
import { unixSocketPath, type InheritedSockets } from '../listener.ts';
import { StartError } from '../platform/process.ts';
import { message } from '../wire/messages.ts';
import { Backend, Frontend, HEADER_BYTES } from '../wire/protocol.ts';

/**
 * -R: a new process goes on with the listening sockets of the one that runs, which then lets its clients finish and ends.
 * All of it happens before there is anything else to do, so reads may block.
 */
export class Takeover {
  readonly sockets: InheritedSockets;
  readonly #fd: number;

  private constructor(fd: number, descriptors: readonly number[]) {
    this.#fd = fd;
    this.sockets = { descriptors, from: 'old process' };
  }

  /**
   * Asks the running process for its sockets, through its console on the Unix socket.
   * @returns null: there is none
   * @throws StartError when it does not give them
   */
  static begin({ unix_socket_dir: folder, listen_port: port }: Settings): Takeover | null {
    if (!folder) throw new StartError('cannot reboot if unix dir not configured');
    if (!canPassDescriptors()) throw new StartError('-R needs Linux and a Node that has node:ffi (26)');
    const fd = connectUnix(unixSocketPath(folder, port));
    if (fd < 0) return null;
    const startup = Buffer.from(`user\0pgbouncer\0database\0pgbouncer\0\0`);
    const head = Buffer.alloc(8);
    head.writeInt32BE(head.length + startup.length, 0);
    head.writeInt32BE(3 << 16, 4);
    writeSync(fd, Buffer.concat([head, startup]));
    untilReady(() => read(fd));
    const descriptors: number[] = [];
    say(fd, 'TAKEOVER');
    untilReady(() => {
      const received = receiveDescriptors(fd);
      descriptors.push(...received.descriptors);
      return received.bytes;
    });
    if (descriptors.length === 0) throw new StartError('the old process has given no listening sockets');
    return new Takeover(fd, descriptors);
  }

  /** This process listens: the old one may stop doing so. */
  finish(): void {
    try {
      say(this.#fd, 'SHUTDOWN WAIT_FOR_CLIENTS');
      untilReady(() => read(this.#fd));
    } catch (error) {
      // one that has nobody to wait for may end before it has answered
      if (!(error instanceof ClosedError)) throw error;
    }
    closeSync(this.#fd);
  }
}

/** The old process has closed the connection, with a last word or without. */
class ClosedError extends StartError {}

function say(fd: number, command: string): void {
  writeSync(fd, message(Frontend.Query, command));
}

function read(fd: number): Buffer {
  const chunk = Buffer.alloc(16 * 1024);
  let size = 0;
  try {
    size = readSync(fd, chunk);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNRESET') throw error;
  }
  if (size === 0) throw new ClosedError('the old process has closed the connection');
  return chunk.subarray(0, size);
}

/** Reads messages up to ReadyForQuery. @throws StartError with the error that came instead */
function untilReady(next: () => Buffer): void {
  let rest = Buffer.alloc(0);
  for (;;) {
    rest = Buffer.concat([rest, next()]);
    while (rest.length >= HEADER_BYTES && rest.length > rest.readInt32BE(1)) {
      const end = rest.readInt32BE(1) + 1;
      if (rest[0] === Backend.ErrorResponse) {
        const fields = rest.toString('utf8', HEADER_BYTES, end);
        const problem = `the old process refused: ${/(?:^|\0)M([^\0]*)/.exec(fields)?.[1]}`;
        throw /(?:^|\0)SFATAL\0/.test(fields) ? new ClosedError(problem) : new StartError(problem);
      }
      if (rest[0] === Backend.ReadyForQuery) return;
      rest = rest.subarray(end);
    }
  }
}
