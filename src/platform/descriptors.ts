/**
 * Descriptors passed over a Unix socket (SCM_RIGHTS, unix(7)), which Node has no API for: sendmsg(2) and recvmsg(2) through
 * node:ffi. Linux's numbers; structures of a 64-bit system.
 */
import { closeSync } from 'node:fs';
import { withFfi } from './libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const CMSG_HEADER = 16;
const MAX_DESCRIPTORS = 64;

interface Libc {
  readonly socket: (domain: number, type: number, protocol: number) => number;
  readonly bind: (fd: number, address: Buffer, size: number) => number;
  readonly connect: (fd: number, address: Buffer, size: number) => number;
  readonly fcntl: (fd: number, command: number, value: number) => number;
  readonly sendmsg: (fd: number, message: Buffer, flags: number) => bigint;
  readonly recvmsg: (fd: number, message: Buffer, flags: number) => bigint;
}

/** undefined: not loaded yet; null: there is no node:ffi, or this is not Linux */
let libc: Libc | null | undefined;
let pointerTo: (bytes: Buffer) => bigint;

/** Whether descriptors can be passed here. */
export function canPassDescriptors(): boolean {
  if (libc === undefined) libc = load();
  return libc !== null;
}

/**
 * A blocking connection to a Unix socket; the caller closes it.
 * @param path `\0` at its start: an abstract one
 * @returns -1: no process listens there
 */
export function connectUnix(path: string, kind: 'stream' | 'datagram' = 'stream'): number {
  return openUnix(path, kind === 'stream' ? SOCK_STREAM : SOCK_DGRAM, system().connect);
}

/**
 * A Unix socket that is bound and does not listen yet. Unlike Node's own, it does not remove its file when it is closed, since
 * another process may have taken the file over.
 * @returns -1: it can't be bound
 */
export function bindUnix(path: string): number {
  return openUnix(path, SOCK_STREAM, system().bind);
}

function openUnix(path: string, kind: number, open: Libc['connect']): number {
  const fd = system().socket(AF_UNIX, kind, 0);
  if (fd < 0) return -1;
  const isAbstract = path.startsWith('\0');
  const name = Buffer.from(path);
  const address = Buffer.alloc(2 + name.length + (isAbstract ? 0 : 1));
  address.writeUInt16LE(AF_UNIX, 0);
  name.copy(address, 2);
  closeOnExec(fd);
  if (open(fd, address, address.length) === 0) return fd;
  closeSync(fd);
  return -1;
}

/** Child processes do not inherit this descriptor. */
export function closeOnExec(fd: number): void {
  if (canPassDescriptors()) libc!.fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/** Sends bytes, and the descriptors with them. @throws Error if the kernel refuses */
export function sendDescriptors(fd: number, bytes: Buffer, descriptors: readonly number[]): void {
  const control = Buffer.alloc(align(CMSG_HEADER + 4 * descriptors.length));
  control.writeBigUInt64LE(BigInt(CMSG_HEADER + 4 * descriptors.length), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  descriptors.forEach((each, i) => control.writeInt32LE(each, CMSG_HEADER + 4 * i));
  const header = messageHeader(bytes, control);
  const sent = Number(system().sendmsg(fd, header.message, MSG_NOSIGNAL));
  if (sent !== bytes.length || header.vector.length === 0)
    throw new Error('the descriptors could not be sent');
}

/** Waits for bytes, and takes the descriptors that arrive with them. @throws Error if the other side is gone */
export function receiveDescriptors(fd: number): { bytes: Buffer; descriptors: number[] } {
  const bytes = Buffer.alloc(16 * 1024);
  const control = Buffer.alloc(align(CMSG_HEADER + 4 * MAX_DESCRIPTORS));
  const { message, vector } = messageHeader(bytes, control);
  const size = Number(system().recvmsg(fd, message, MSG_CMSG_CLOEXEC));
  if (size <= 0 || vector.length === 0) throw new Error('the connection was closed');
  const descriptors: number[] = [];
  const used = Number(message.readBigUInt64LE(40));
  if (
    used >= CMSG_HEADER &&
    control.readInt32LE(8) === SOL_SOCKET &&
    control.readInt32LE(12) === SCM_RIGHTS
  ) {
    const end = Number(control.readBigUInt64LE(0));
    for (let at = CMSG_HEADER; at + 4 <= end; at += 4) descriptors.push(control.readInt32LE(at));
  }
  return { bytes: bytes.subarray(0, size), descriptors };
}

/**
 * struct msghdr with one struct iovec. The caller must keep both alive until its call is done: the native code has only
 * pointers to them.
 */
function messageHeader(bytes: Buffer, control: Buffer): { message: Buffer; vector: Buffer } {
  const vector = Buffer.alloc(16);
  vector.writeBigUInt64LE(pointerTo(bytes), 0);
  vector.writeBigUInt64LE(BigInt(bytes.length), 8);
  const message = Buffer.alloc(56);
  message.writeBigUInt64LE(pointerTo(vector), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(pointerTo(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  return { message, vector };
}

function align(size: number): number {
  return Math.ceil(size / 8) * 8;
}

function system(): Libc {
  if (!canPassDescriptors())
    throw new Error('descriptors can only be passed on Linux, by a Node that has node:ffi');
  return libc!;
}

function load(): Libc | null {
  return withFfi((ffi) => {
    pointerTo = (bytes) => BigInt(ffi.getRawPointer(bytes));
    return ffi.dlopen(null, {
      socket: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
      bind: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
      connect: { arguments: ['i32', 'pointer', 'u32'], return: 'i32' },
      fcntl: { arguments: ['i32', 'i32', 'i32'], return: 'i32' },
      sendmsg: { arguments: ['i32', 'pointer', 'i32'], return: 'i64' },
      recvmsg: { arguments: ['i32', 'pointer', 'i32'], return: 'i64' },
    }).functions as unknown as Libc;
  });
}
