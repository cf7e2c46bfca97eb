/**
 * TCP sockets whose buffers have their size from the beginning. The handshake fixes the size of the window: one that shrinks
 * afterwards makes the sender wait for a window that never opens as far again (RFC 1122, 4.2.3.4), for 0.2 s and more each
 * time. Node gives no access to a socket that is not connected yet, so these are made with socket(2) and bind(2) through
 * node:ffi. Linux's numbers.
 */
import { closeSync } from 'node:fs';
import { isIP, type Socket } from 'node:net';
import { closeOnExec } from './descriptors.ts';
import { loadLibc } from './libc.ts';
import { setBuffers, type TcpSettings } from './socket-options.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

interface Libc {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly bind: (fd: number, address: Buffer, size: number) => number;
  readonly inet_pton: (family: number, text: Buffer, address: Buffer) => number;
  readonly setsockopt: (fd: number, level: number, option: number, value: Buffer, size: number) => number;
}

/** undefined: not loaded yet; null: there is no node:ffi, or this is not Linux */
let libc: Libc | null | undefined;

function system(): Libc | null {
  libc ??= loadLibc<Libc>({
    socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
    bind: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
    inet_pton: { arguments: ['i32', 'pointer', 'pointer'], return: 'i32' },
    setsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'], return: 'i32' },
  });
  return libc;
}

/**
 * Gives a socket buffers of tcp_socket_buffer before it connects. Call this in the same turn as `createConnection` to an IP
 * address, which connects in the next one.
 */
export function prepareConnection(
  socket: Socket,
  host: string,
  settings: Pick<TcpSettings, 'tcp_socket_buffer'>,
): void {
  if (settings.tcp_socket_buffer === 0) return;
  const handle = (socket as unknown as { _handle?: { open?: (fd: number) => number } | null })._handle;
  const fd = typeof handle?.open === 'function' ? openSocket(host) : -1;
  if (fd < 0) return;
  setBuffers(fd, settings);
  // the connection is made on this socket; otherwise on one of Node's own, with the system's buffers
  if (handle!.open!(fd) !== 0) closeSync(fd);
}

/**
 * A TCP socket that is bound and does not listen yet, with buffers that its connections inherit.
 * @param host an IP address
 * @returns -1: it can't be made, and Node's own way reports why
 */
export function bindTcp(
  host: string,
  port: number,
  settings: Pick<TcpSettings, 'tcp_socket_buffer'> & { readonly so_reuseport: boolean },
): number {
  const address = socketAddress(host, port);
  const fd = address === null ? -1 : openSocket(host);
  if (fd < 0) return -1;
  const turnOn = (level: number, option: number): void => {
    const value = Buffer.from([1, 0, 0, 0]);
    system()!.setsockopt(fd, level, option, value, value.length);
  };
  turnOn(SOL_SOCKET, SO_REUSEADDR);
  if (settings.so_reuseport) turnOn(SOL_SOCKET, SO_REUSEPORT);
  // otherwise `::` would take IPv4's port too
  if (isIP(host) === 6) turnOn(IPPROTO_IPV6, IPV6_V6ONLY);
  setBuffers(fd, settings);
  if (system()!.bind(fd, address!, address!.length) === 0) return fd;
  closeSync(fd);
  return -1;
}

function openSocket(host: string): number {
  const family = isIP(host);
  const fd = family === 0 ? -1 : (system()?.socket(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM, 0) ?? -1);
  if (fd >= 0) closeOnExec(fd);
  return fd;
}

/** struct sockaddr_in or sockaddr_in6; null: not an address, or one of an interface (`fe80::1%eth0`) */
function socketAddress(host: string, port: number): Buffer | null {
  const isV4 = isIP(host) === 4;
  const bytes = Buffer.alloc(isV4 ? 4 : 16);
  const text = Buffer.from(`${host}\0`);
  if (system()?.inet_pton(isV4 ? AF_INET : AF_INET6, text, bytes) !== 1) return null;
  const address = Buffer.alloc(isV4 ? 16 : 28);
  address.writeUInt16LE(isV4 ? AF_INET : AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  bytes.copy(address, isV4 ? 4 : 8);
  return address;
}
