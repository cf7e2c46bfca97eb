import { chmodSync, chownSync, existsSync, rmSync } from 'node:fs';
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
    this.#unix?.close();
    this.#unix = null;
    if (this.#unixPath && !this.#unixPath.startsWith('\0')) rmSync(this.#unixPath, { force: true });
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
