/**
 * Reads of accepted connections into one buffer that all of them share.
 * Node offers `onread` (a buffer of the caller's own) for outgoing connections only; an accepted one allocates 64 KB for each
 * read and goes through a Readable. For a short query that is a tenth of the proxy's whole cost. So the accepted socket's
 * handle is moved to a socket made with `onread`, by the constructor's `handle` option, which Node's own net.Server uses. If a
 * Node version lacks it, the socket stays as it is.
 */
import { Socket } from 'node:net';

const BUFFER_BYTES = 64 * 1024;
const shared = Buffer.allocUnsafeSlow(BUFFER_BYTES);

interface WithHandle {
  _handle?: object | null;
}

/**
 * @param onChunk gets bytes of its own, never a view of the shared buffer: small chunks come from Node's pool
 * @returns the socket to use from now on, without listeners, reading; null: the handle can't be moved
 */
export function moveToSharedRead(accepted: Socket, onChunk: (chunk: Buffer) => void): Socket | null {
  const holder = accepted as unknown as WithHandle;
  const handle = holder._handle;
  if (!handle || accepted.destroyed || accepted.errored !== null) return null;
  if (accepted.readableLength > 0 || accepted.writableLength > 0) return null;
  let moved: Socket;
  try {
    const options = {
      handle,
      onread: {
        buffer: shared,
        callback(size: number): boolean {
          onChunk(Buffer.from(shared.subarray(0, size)));
          return true;
        },
      },
    };
    moved = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  } catch {
    return null;
  }
  accepted.removeAllListeners();
  // its remaining events are about the same connection
  accepted.on('error', (error) => moved.destroy(error));
  holder._handle = null;
  moved.read(0);
  moved.resume();
  return moved;
}
