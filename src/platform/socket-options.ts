/**
 * TCP options that Node has no API for, by setsockopt(2) through node:ffi. Linux's numbers. Without node:ffi the options have
 * no effect, which is logged once.
 */
import type { Socket } from 'node:net';
import { fdOf, loadLibc } from './libc.ts';

const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const IPPROTO_TCP = 6;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;

type SetSocketOption = (fd: number, level: number, option: number, value: Buffer, size: number) => number;
/** pgbouncer's options; times in seconds, tcp_user_timeout in ms; 0: the system's default. */
export interface TcpSettings {
  readonly tcp_keepalive: boolean;
  readonly tcp_keepcnt: number;
  readonly tcp_keepidle: number;
  readonly tcp_keepintvl: number;
  readonly tcp_socket_buffer: number;
  readonly tcp_user_timeout: number;
}

/** undefined: not loaded yet; null: unavailable */
let setSocketOption: SetSocketOption | null | undefined;

/** Whether `setTcpOptions` can set more than tcp_keepalive here. */
export function hasSocketOptions(): boolean {
  if (setSocketOption === undefined) setSocketOption = loadSetSocketOption();
  return setSocketOption !== null;
}

/** Whether the settings name an option that needs node:ffi. */
export function needsSocketOptions(settings: TcpSettings): boolean {
  const {
    tcp_keepalive: isAlive,
    tcp_keepidle: idle,
    tcp_keepintvl: interval,
    tcp_keepcnt: count,
  } = settings;
  return (
    settings.tcp_user_timeout > 0 ||
    settings.tcp_socket_buffer > 0 ||
    (isAlive && (idle > 0 || interval > 0 || count > 0))
  );
}

/**
 * Sets the sizes of a socket's buffers. The socket must neither listen nor be connected yet (tcp-sockets.ts); or it listens,
 * and its next connections inherit them.
 */
export function setBuffers(
  fd: number,
  { tcp_socket_buffer: size }: Pick<TcpSettings, 'tcp_socket_buffer'>,
): void {
  if (!hasSocketOptions() || fd < 0) return;
  set(fd, SOL_SOCKET, SO_RCVBUF, size);
  set(fd, SOL_SOCKET, SO_SNDBUF, size);
}

/** Applies the tcp_* options to a connected TCP socket, except for the buffers, which it has had from the beginning. */
export function setTcpOptions(socket: Socket, settings: TcpSettings): void {
  if (settings.tcp_keepalive) socket.setKeepAlive(true);
  if (!needsSocketOptions(settings)) return;
  const fd = fdOf(socket);
  if (!hasSocketOptions() || fd < 0) {
    if (settings.tcp_keepalive) socket.setKeepAlive(true, settings.tcp_keepidle * 1000);
    return;
  }
  if (settings.tcp_keepalive) {
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, settings.tcp_keepidle);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, settings.tcp_keepintvl);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, settings.tcp_keepcnt);
  }
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, settings.tcp_user_timeout);
}

function set(fd: number, level: number, option: number, value: number): void {
  // 0: the system's default
  if (value === 0) return;
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  // A value that the kernel refuses leaves the default: that is no reason to lose the connection.
  setSocketOption!(fd, level, option, bytes, bytes.length);
}

function loadSetSocketOption(): SetSocketOption | null {
  const functions = loadLibc<{ setsockopt: SetSocketOption }>({
    setsockopt: { arguments: ['i32', 'i32', 'i32', 'pointer', 'u32'], return: 'i32' },
  });
  return functions?.setsockopt ?? null;
}
