/**
 * The process at the other end of a Unix socket. The kernel knows it (SO_PEERCRED, unix(7)). node:ffi asks it at once, where
 * Node has that. For the user's name, or without node:ffi, a perl child does, which inherits the descriptor: perl-base is part
 * of every Debian. That takes some 10 ms, so it is done only where the answer matters (the HBA method `peer`, the console's
 * own user).
 */
import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { fdOf, loadLibc } from '../platform/libc.ts';

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Name of the uid; null: it has none. */
  readonly user: string | null;
}

/** Process, user and group at the other end of a Unix socket, as they were when it connected. */
export type PeerIds = Omit<PeerCredentials, 'user'>;

type GetSocketOption = (fd: number, level: number, option: number, value: Buffer, size: Buffer) => number;

// Linux's numbers
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/** undefined: not loaded yet; null: unavailable */
let getSocketOption: GetSocketOption | null | undefined;

/** The kernel's immediate answer; null: it can't be asked that way. */
export function peerIds(socket: Socket): PeerIds | null {
  if (getSocketOption === undefined) getSocketOption = loadGetSocketOption();
  const fd = fdOf(socket);
  if (getSocketOption === null || fd < 0) return null;
  const value = Buffer.alloc(12);
  const size = Buffer.alloc(4);
  size.writeInt32LE(value.length);
  if (getSocketOption(fd, SOL_SOCKET, SO_PEERCRED, value, size) !== 0) return null;
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}

function loadGetSocketOption(): GetSocketOption | null {
  const functions = loadLibc<{ getsockopt: GetSocketOption }>({
    getsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'pointer'], return: 'i32' },
  });
  return functions?.getsockopt ?? null;
}

/** The kernel could not be asked. */
export class PeerError extends Error {}

const DEADLINE_MS = 5_000;

// Descriptor 3, not 0: libuv makes a child's standard descriptors blocking, and that would hold for our end as well.
const SCRIPT = `
use Socket;
open(my $peer, "+<&=", 3) or die "open: $!";
my ($pid, $uid, $gid) = unpack("iII", getsockopt($peer, SOL_SOCKET, SO_PEERCRED) // die "getsockopt: $!");
my $name = getpwuid($uid);
print join(" ", $pid, $uid, $gid, defined $name ? $name : ""), "\\n";
`;

/**
 * The process at the other end of a connected Unix socket, as it was when it connected. Nothing is read from the socket.
 * @throws PeerError
 */
export async function peerCredentials(socket: Socket): Promise<PeerCredentials> {
  const fd = fdOf(socket);
  if (fd < 0) throw new PeerError('the socket is closed');
  const child = spawn('perl', ['-e', SCRIPT], {
    stdio: ['ignore', 'pipe', 'pipe', fd],
    env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C' },
    timeout: DEADLINE_MS,
    killSignal: 'SIGKILL',
  });
  const exited = new Promise<void>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'ENOENT' ? 'perl is not installed' : error.message;
      reject(new PeerError(`no peer credentials: ${why}`));
    });
    child.once('close', () => resolve());
  });
  const [output, problem] = await Promise.all([text(child.stdout!), text(child.stderr!), exited]);
  const match = /^(\d+) (\d+) (\d+) (.*)\n$/.exec(output);
  if (match === null) throw new PeerError(`no peer credentials: ${problem.trim() || 'perl was too slow'}`);
  return {
    pid: Number(match[1]),
    uid: Number(match[2]),
    gid: Number(match[3]),
    user: match[4] === '' ? null : match[4]!,
  };
}
