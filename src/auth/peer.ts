import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';

/**
 * Who is at the other end of a Unix socket? The kernel knows (SO_PEERCRED, unix(7)), and Node does not ask it. perl does,
 * in a child that inherits the descriptor: perl-base is part of every Debian, and asking takes some 10 ms, so it is done
 * only where the answer decides something (the HBA method `peer`, the console's own user).
 */

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Name of the uid; null: it has none. */
  readonly user: string | null;
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
  // Not public, but there since Node 0.x: the descriptor of the socket's handle.
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) throw new PeerError('the socket is closed');
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
