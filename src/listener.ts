import { chmodSync, chownSync, existsSync, linkSync, renameSync, rmSync } from 'node:fs';
import { createServer, createConnection, type Server as NetServer, type Socket } from 'node:net';
import type { ListeningSocket } from './admin/actions.ts';
import type { Settings } from './config/options.ts';
import { groupId } from './platform/process.ts';
import type { Logger } from './telemetry/log.ts';

/** Accepts clients on TCP and on the Unix socket. */
export class Listener {
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #accept: (socket: Socket, isUnix: boolean) => void;
  readonly #tcp: NetServer[] = [];
  #unix: NetServer | null = null;
  #unixPath: string | null = null;
  /** another process listens on the same sockets now, and will remove the socket file */
  #isHandedOver = false;

  constructor(settings: Settings, log: Logger, accept: (socket: Socket, isUnix: boolean) => void) {
    this.#settings = settings;
    this.#log = log;
    this.#accept = accept;
  }

  /**
   * Opens every address of listen_addr and the Unix socket.
   * @throws Error with the address and the reason; nothing is left open then
   */
  async open(): Promise<void> {
    const { listen_addr: addresses, listen_port: port, unix_socket_dir: folder } = this.#settings;
    try {
      for (const address of addresses) await this.#openTcp(address, port);
      if (folder) await this.#openUnix(folder, port);
    } catch (error) {
      this.closeTcp();
      this.closeUnix();
      throw error;
    }
    if (this.#tcp.length === 0 && this.#unix === null)
      throw new Error('nowhere to listen on: set listen_addr or unix_socket_dir');
  }

  /**
   * Listens on sockets that somebody else has bound: systemd's, or those of the process that is replaced. Neither
   * listen_addr nor unix_socket_dir counts then.
   * @throws Error when one of them is no listening socket; nothing is left open then
   */
  async adopt(descriptors: readonly number[]): Promise<void> {
    try {
      for (const fd of descriptors) {
        const server = createServer((socket) => {
          const isUnix = typeof server.address() === 'string';
          if (!isUnix) socket.setNoDelay(true);
          this.#accept(socket, isUnix);
        });
        await listen(server, { fd }, `descriptor ${fd}`);
        const at = server.address();
        if (at === null || typeof at === 'string') {
          this.#unix = server;
          this.#unixPath = at;
        } else {
          this.#tcp.push(server);
        }
        const where = at === null || typeof at === 'string' ? `unix:${at ?? ''}` : `${at.address}:${at.port}`;
        this.#log.info({ event: 'listening' }, `listening on ${where} (descriptor ${fd})`);
      }
    } catch (error) {
      this.#isHandedOver = true;
      this.closeTcp();
      this.closeUnix();
      throw error;
    }
  }

  /** Descriptors of all listening sockets, for the process that takes over: it goes on with them. */
  handOver(): number[] {
    this.#isHandedOver = true;
    return this.sockets().map(({ fd }) => fd);
  }

  /** Whether another process has the sockets too. */
  get isHandedOver(): boolean {
    return this.#isHandedOver;
  }

  /** What is open now. Node has no public way to a listening socket's descriptor: -1 where it has none at all. */
  sockets(): ListeningSocket[] {
    const port = this.#settings.listen_port;
    const all = [...this.#tcp, ...(this.#unix === null ? [] : [this.#unix])];
    return all.map((server) => {
      const { _handle: handle } = server as { _handle?: { fd?: number } | null };
      const at = server.address();
      const address = at === null || typeof at === 'string' ? 'unix' : at.address;
      return { fd: handle?.fd ?? -1, address, port };
    });
  }

  /** No new clients over TCP. */
  closeTcp(): void {
    for (const server of this.#tcp.splice(0)) server.close();
  }

  closeUnix(): void {
    const path = this.#unixPath;
    const isFile = path !== null && path !== '' && !path.startsWith('\0');
    // Closing removes the file: a second name for it puts it back at once.
    const kept = isFile && this.#isHandedOver ? `${path}.${process.pid}` : null;
    if (kept !== null) linkSync(path!, kept);
    this.#unix?.close();
    if (kept !== null) renameSync(kept, path!);
    else if (isFile) rmSync(path, { force: true });
    this.#unix = null;
    this.#unixPath = null;
  }

  async #openTcp(address: string, port: number): Promise<void> {
    // `*` means every address, IPv6's included where there is any (pgbouncer config.md, listen_addr)
    const host = address === '*' ? undefined : address;
    const server = this.#server(false);
    const { listen_backlog: backlog, so_reuseport: reusePort } = this.#settings;
    await listen(
      server,
      { ...(host === undefined ? {} : { host }), port, backlog, reusePort },
      `${address}:${port}`,
    );
    this.#tcp.push(server);
    this.#log.info(
      { event: 'listening' },
      `listening on ${address === '*' ? '*' : address.includes(':') ? `[${address}]` : address}:${port}`,
    );
  }

  async #openUnix(folder: string, port: number): Promise<void> {
    const abstract = folder.startsWith('@');
    const path = abstract ? `\0${folder.slice(1)}/.s.PGSQL.${port}` : `${folder}/.s.PGSQL.${port}`;
    if (!abstract && existsSync(path)) {
      if (await answers(path)) throw new Error(`unix socket is in use, cannot continue: ${path}`);
      rmSync(path);
    }
    const server = this.#server(true);
    await listen(server, { path, backlog: this.#settings.listen_backlog }, `unix:${path.replace('\0', '@')}`);
    this.#unix = server;
    this.#unixPath = path;
    if (!abstract) {
      const { unix_socket_group: group } = this.#settings;
      if (group !== '') chownSync(path, -1, groupId(group));
      chmodSync(path, this.#settings.unix_socket_mode);
    }
    this.#log.info({ event: 'listening' }, `listening on unix:${path.replace('\0', '@')}`);
  }

  #server(isUnix: boolean): NetServer {
    return createServer({ noDelay: !isUnix }, (socket) => this.#accept(socket, isUnix));
  }
}

function listen(server: NetServer, options: object, where: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new Error(`cannot listen on ${where}: ${error.message}`)));
    server.listen(options, () => {
      server.removeAllListeners('error');
      // out of descriptors: the client is lost, the listener stays
      server.on('error', () => {});
      resolve();
    });
  });
}

/** Whether somebody accepts connections on a socket file, or it was left behind. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
