/** Accepts clients on TCP and on the Unix socket: opens the sockets, or takes over open ones. */
import { chmodSync, chownSync, existsSync, rmSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import { createServer, createConnection, type Server as NetServer, type Socket } from 'node:net';
import { getSystemErrorMessage } from 'node:util';
import { optionOf, type Settings } from './config/options.ts';
import { bindUnix, canPassDescriptors, closeOnExec } from './platform/descriptors.ts';
import { fdOf } from './platform/libc.ts';
import { setBuffers } from './platform/socket-options.ts';
import { bindTcp } from './platform/tcp-sockets.ts';
import { groupId } from './platform/process.ts';
import type { LifecycleView } from './lifecycle.ts';
import type { Logger } from './telemetry/log.ts';
import type { DescriptorSnapshot } from './telemetry/snapshots/sessions.ts';

/** Listening sockets that were bound by systemd, or by the process that is being replaced. */
export interface InheritedSockets {
  readonly descriptors: readonly number[];
  /** systemd keeps its sockets and their files */
  readonly from: 'systemd' | 'old process';
}

export class Listener {
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #accept: (socket: Socket, isUnix: boolean) => void;
  readonly #tcp: NetServer[] = [];
  readonly #unix: NetServer[] = [];
  /** the file of the Unix socket, removed at the end; null: none, or another process owns it */
  #unixFile: string | null = null;
  readonly #lifecycle: LifecycleView;

  constructor(
    settings: Settings,
    log: Logger,
    lifecycle: LifecycleView,
    accept: (socket: Socket, isUnix: boolean) => void,
  ) {
    this.#lifecycle = lifecycle;
    this.#settings = settings;
    this.#log = log;
    this.#accept = accept;
  }

  /**
   * Opens every address of listen_addr and the Unix socket. An address that can't be bound is only a warning as long as
   * another one can.
   * @throws Error with the reason; then nothing is left open
   */
  async open(): Promise<void> {
    const { listen_addr: addresses, listen_port: port, unix_socket_dir: folder } = this.#settings;
    try {
      for (const address of addresses) await this.#openTcp(address, port);
      if (addresses.length > 0 && this.#tcp.length === 0)
        throw new Error(`failed to listen on any address in listen_addr list: ${addresses.join(', ')}`);
      if (folder) await this.#openUnix(folder, port);
    } catch (error) {
      this.closeTcp();
      this.closeUnix();
      throw error;
    }
    if (this.#tcp.length + this.#unix.length === 0) throw new Error('nowhere to listen on');
  }

  /**
   * Listens on sockets that are already open, whatever listen_addr and unix_socket_dir say.
   * @throws Error if one of them is not a listening socket
   */
  async adopt({ descriptors, from }: InheritedSockets): Promise<void> {
    if (from === 'systemd') this.#warnOfIgnored();
    for (const fd of descriptors) {
      const server = this.#server();
      await listen(server, { fd, backlog: this.#settings.listen_backlog }, this.#log);
      closeOnExec(fd);
      const at = server.address();
      const isUnix = at === null || typeof at === 'string';
      if (isUnix) this.#unix.push(server);
      else this.#tcp.push(server);
      if (!isUnix) setBuffers(fd, this.#settings);
      if (isUnix && from === 'old process') this.#unixFile = this.#ownUnixFile();
      const where = isUnix ? 'unix' : `${at.address}:${at.port}`;
      this.#log.info(
        { event: 'listening' },
        from === 'systemd' ? `socket passed from service manager (fd ${fd})` : `got pooler socket: ${where}`,
      );
    }
  }

  /** Applies changed options: the next connections have buffers of another size. */
  reconfigure(settings: Settings): void {
    for (const server of this.#tcp) setBuffers(fdOf(server), settings);
  }

  /** Descriptors of all listening sockets, for the process that takes over. */
  descriptors(): number[] {
    return [...this.#tcp, ...this.#unix].map((server) => fdOf(server));
  }

  /** The open listening sockets. */
  observe(): DescriptorSnapshot[] {
    const port = this.#settings.listen_port;
    return [...this.#tcp, ...this.#unix].map((server) => {
      const at = server.address();
      const address = at === null || typeof at === 'string' ? 'unix' : at.address;
      return {
        fd: fdOf(server),
        task: 'pooler',
        user: null,
        database: null,
        address,
        port,
        cancelKey: '0',
        linkedFd: 0,
        clientEncoding: null,
        standardStrings: null,
        dateStyle: null,
        timeZone: null,
      };
    });
  }

  /** Stops accepting clients over TCP. */
  closeTcp(): void {
    for (const server of this.#tcp.splice(0)) server.close();
  }

  closeUnix(): void {
    for (const server of this.#unix.splice(0)) server.close();
    if (this.#unixFile !== null && !this.#lifecycle.isHandedOver) rmSync(this.#unixFile, { force: true });
    this.#unixFile = null;
  }

  /** A name may have several addresses; `*` means every address, IPv6 included (pgbouncer config.md, listen_addr). */
  async #openTcp(name: string, port: number): Promise<void> {
    const { listen_backlog: backlog, so_reuseport: reusePort } = this.#settings;
    for (const host of name === '*' ? ['0.0.0.0', '::'] : await addressesOf(name, port)) {
      const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
      const server = this.#server();
      try {
        const fd = this.#settings.tcp_socket_buffer === 0 ? -1 : bindTcp(host, port, this.#settings);
        // without this, `::` would take the IPv4 port as well
        const own = { host, port, ipv6Only: true, backlog, reusePort };
        await listen(server, fd >= 0 ? { fd, backlog } : own, this.#log);
        if (fd < 0) setBuffers(fdOf(server), this.#settings);
      } catch (error) {
        this.#log.warn({ event: 'listen_failed' }, `cannot listen on ${where}: ${reason(error)}`);
        continue;
      }
      this.#tcp.push(server);
      this.#log.info({ event: 'listening' }, `listening on ${where}`);
    }
  }

  async #openUnix(folder: string, port: number): Promise<void> {
    const path = unixSocketPath(folder, port);
    const file = this.#ownUnixFile();
    if (file !== null) {
      // a PostgreSQL server's socket
      if (existsSync(`${file}.lock`)) throw new Error(`unix port ${port} is in use`);
      // no process listens on it: the start has checked that
      rmSync(file, { force: true });
    }
    const server = this.#server();
    const fd = canPassDescriptors() ? bindUnix(path) : -1;
    const where = `unix:${path.replace('\0', '@')}`;
    try {
      const { listen_backlog: backlog } = this.#settings;
      await listen(server, fd >= 0 ? { fd, backlog } : { path, backlog }, this.#log);
    } catch (error) {
      this.#log.warn({ event: 'listen_failed' }, `cannot listen on ${where}: ${reason(error)}`);
      throw new Error('failed to create unix socket', { cause: error });
    }
    this.#unix.push(server);
    if (file !== null) {
      this.#unixFile = file;
      const { unix_socket_group: group } = this.#settings;
      if (group !== '') chownSync(file, -1, groupId(group));
      chmodSync(file, this.#settings.unix_socket_mode);
    }
    this.#log.info({ event: 'listening' }, `listening on ${where}`);
  }

  #warnOfIgnored(): void {
    const { listen_addr: addresses, unix_socket_dir: folder } = this.#settings;
    const ignored = [
      ...(addresses.length > 0 ? ['cf_listen_addr'] : []),
      ...(folder !== '' && folder !== optionOf('unix_socket_dir').initial ? ['cf_unix_socket_dir'] : []),
    ];
    for (const name of ignored) this.#log.warn(`sockets passed from service manager, ${name} ignored`);
  }

  /** The file of the Unix socket in unix_socket_dir; null: an abstract socket has none. */
  #ownUnixFile(): string | null {
    const { unix_socket_dir: folder, listen_port: port } = this.#settings;
    const path = unixSocketPath(folder, port);
    return path.startsWith('\0') ? null : path;
  }

  #server(): NetServer {
    const server = createServer((socket) => {
      const isUnix = this.#unix.includes(server);
      if (!isUnix) socket.setNoDelay(true);
      this.#accept(socket, isUnix);
    });
    return server;
  }
}

/** The address of the Unix socket; `\0` at its start: an abstract one. */
export function unixSocketPath(folder: string, port: number): string {
  const name = `.s.PGSQL.${port}`;
  return folder.startsWith('@') ? `\0${folder.slice(1)}/${name}` : `${folder}/${name}`;
}

/** Whether a process accepts connections on a Unix socket. False: its file was left over. */
export function isInUse(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ path });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    // the queue of a stopped or busy process is full
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'EAGAIN'));
  });
}

async function addressesOf(name: string, port: number): Promise<string[]> {
  try {
    return [...new Set((await lookup(name, { all: true })).map(({ address }) => address))];
  } catch (error) {
    throw new Error(`getaddrinfo('${name}', '${port}') = ${(error as NodeJS.ErrnoException).code}`, {
      cause: error,
    });
  }
}

/** The system's message, without the address and the call that Node adds. */
function reason(error: unknown): string {
  const { errno, message } = error as NodeJS.ErrnoException;
  if (errno === undefined) return message;
  const text = getSystemErrorMessage(errno);
  // libuv has the C library's messages in lower case
  return `bind(): ${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

function listen(server: NetServer, options: object, log: Logger): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options, () => {
      server.removeAllListeners('error');
      // no descriptor is left: the client is lost, the listener stays
      server.on('error', (error) => log.error(`accept() failed: ${error.message}`));
      resolve();
    });
  });
}
