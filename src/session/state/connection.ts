/** The connection of a client: its origin, its socket, plain or encrypted, and its writes. */
import type { Socket } from 'node:net';
import { peerIds } from '../../auth/peer.ts';

export class Connection {
  /** when it was accepted, in ms of performance.now() */
  readonly since = performance.now();
  /** the client came through the Unix socket */
  readonly isUnix: boolean;
  /** IP address of the other end, or `unix` */
  readonly host: string;
  /** port of the other end; on the Unix socket, the port that the proxy listens on */
  readonly port: number;
  /** process at the other end of the Unix socket; 0: unknown */
  readonly pid: number;
  #socket: Socket;
  #tls = '';

  /** @param listenPort the port that the proxy listens on */
  constructor(socket: Socket, isUnix: boolean, listenPort: number) {
    this.#socket = socket;
    this.isUnix = isUnix;
    this.host = isUnix ? 'unix' : (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
    this.port = isUnix ? listenPort : (socket.remotePort ?? 0);
    this.pid = isUnix ? (peerIds(socket)?.pid ?? 0) : 0;
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** Protocol and cipher; HANDSHAKE: not yet agreed on; '': the connection is not encrypted. */
  get tls(): string {
    return this.#tls;
  }

  /** `10.0.0.1:5432`, `[::1]:5432` or `unix(pid):port`, as pgbouncer writes it. */
  get address(): string {
    if (this.isUnix) return `unix(${this.pid}):${this.port}`;
    return `${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`;
  }

  get ageSeconds(): number {
    return Math.floor((performance.now() - this.since) / 1000);
  }

  /** The connection continues through another socket. */
  useSocket(socket: Socket): void {
    this.#socket = socket;
  }

  /** @param tls as the getter has it */
  noteEncryption(tls: string): void {
    this.#tls = tls;
  }

  /**
   * Sends bytes. Bytes of a server's read buffer are borrowed: they must have left before the server is read again. An
   * encrypted connection copies them instead, because its writes never complete at once.
   * @returns whether all bytes have left this process, or need not be waited for
   */
  write(bytes: Buffer, isBorrowed: boolean): boolean {
    if (this.#tls !== '') return this.#socket.write(isBorrowed ? Buffer.from(bytes) : bytes);
    this.#socket.write(bytes);
    return this.#socket.writableLength === 0;
  }
}
