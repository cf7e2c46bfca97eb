/** -R: a new process takes over the listening sockets of the running one, which lets its clients finish and ends. */
import { closeSync, readSync, writeSync } from 'node:fs';
import type { Settings } from '../config/options.ts';
import { canPassDescriptors, connectUnix, receiveDescriptors } from '../platform/descriptors.ts';
import { unixSocketPath, type InheritedSockets } from '../listener.ts';
import { StartError } from '../platform/process.ts';
import { FrameReader } from '../wire/frame.ts';
import { parseErrorFields, query, startupMessage } from '../wire/messages.ts';
import { Backend, HEADER_BYTES, StartupCode } from '../wire/protocol.ts';

/** Talks to the running process before this one has any other work, so reads may block. */
export class Takeover {
  readonly sockets: InheritedSockets;
  readonly #fd: number;

  private constructor(fd: number, descriptors: readonly number[]) {
    this.#fd = fd;
    this.sockets = { descriptors, from: 'old process' };
  }

  /**
   * Asks the running process for its sockets, through its console on the Unix socket.
   * @returns null: no process is running
   * @throws StartError if it does not hand them over
   */
  static begin({ unix_socket_dir: folder, listen_port: port }: Settings): Takeover | null {
    if (!folder) throw new StartError('cannot reboot if unix dir not configured');
    if (!canPassDescriptors()) throw new StartError('-R needs Linux and a Node that has node:ffi (26)');
    const fd = connectUnix(unixSocketPath(folder, port));
    if (fd < 0) return null;
    const parameters = { user: 'pgbouncer', database: 'pgbouncer' };
    writeSync(fd, startupMessage(StartupCode.V3, Object.entries(parameters)));
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

  /** Tells the old process to stop, because this one listens now. */
  finish(): void {
    try {
      say(this.#fd, 'SHUTDOWN WAIT_FOR_CLIENTS');
      untilReady(() => read(this.#fd));
    } catch (error) {
      // a process without clients may end before it has answered
      if (!(error instanceof ClosedError)) throw error;
    }
    closeSync(this.#fd);
  }
}

/** The old process has closed the connection, with an error message or without one. */
class ClosedError extends StartError {}

function say(fd: number, command: string): void {
  writeSync(fd, query(command));
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

/** Reads messages up to ReadyForQuery. @throws StartError with the error that arrived instead */
function untilReady(next: () => Buffer): void {
  const reader = new FrameReader();
  while (!reader.isBroken) {
    reader.push(next());
    for (let frame = reader.next(); frame !== null; frame = reader.next()) {
      if (frame[0] === Backend.ReadyForQuery) return;
      if (frame[0] !== Backend.ErrorResponse) continue;
      const fields = parseErrorFields(frame.subarray(HEADER_BYTES));
      const problem = `the old process refused: ${fields.get('M')}`;
      throw fields.get('S') === 'FATAL' ? new ClosedError(problem) : new StartError(problem);
    }
  }
  throw new StartError('the old process has sent a message of an impossible length');
}
