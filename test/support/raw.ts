/**
 * A client that speaks the protocol byte by byte: for malformed input, pipelining, and everything that a well-behaved driver
 * never sends.
 */
import { connect as connectTcp, type Socket } from 'node:net';
import { once } from 'node:events';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { Scope } from './scope.ts';
import { until } from './wait.ts';

/** One message of the server: its type's letter and the bytes after the length. */
export interface Frame {
  type: string;
  payload: Buffer;
}

const cstring = (text: string): Buffer => Buffer.from(`${text}\0`);

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

/** A typed message: letter, length (which counts itself), payload. */
export function message(type: string, ...payload: Buffer[]): Buffer {
  const body = Buffer.concat(payload);
  return Buffer.concat([Buffer.from(type, 'latin1'), int32(body.length + 4), body]);
}

/** A start-up packet: no letter; 196608 is protocol 3.0, 196610 is 3.2. */
export function startup(parameters: Record<string, string>, version = 196_608): Buffer {
  const pairs = Object.entries(parameters).flatMap(([name, value]) => [cstring(name), cstring(value)]);
  const body = Buffer.concat([int32(version), ...pairs, Buffer.from([0])]);
  return Buffer.concat([int32(body.length + 4), body]);
}

const special = (code: number, ...payload: Buffer[]): Buffer => {
  const body = Buffer.concat([int32(code), ...payload]);
  return Buffer.concat([int32(body.length + 4), body]);
};

export const sslRequest = (): Buffer => special(80_877_103);
export const gssEncRequest = (): Buffer => special(80_877_104);
export const cancelRequest = (pid: number, secret: Buffer): Buffer => special(80_877_102, int32(pid), secret);

export const query = (sql: string): Buffer => message('Q', cstring(sql));
export const password = (text: string): Buffer => message('p', cstring(text));
export const sync = (): Buffer => message('S');
export const flush = (): Buffer => message('H');
export const terminate = (): Buffer => message('X');
export const describe = (kind: 'S' | 'P', name = ''): Buffer => message('D', cstring(kind + name));
export const close = (kind: 'S' | 'P', name = ''): Buffer => message('C', cstring(kind + name));
export const execute = (portal = '', maxRows = 0): Buffer => message('E', cstring(portal), int32(maxRows));
export const copyData = (data: string | Buffer): Buffer => message('d', Buffer.from(data));
export const copyDone = (): Buffer => message('c');
export const copyFail = (reason: string): Buffer => message('f', cstring(reason));

/** A FunctionCall with arguments in text form; the result too. */
export function functionCall(oid: number, ...values: string[]): Buffer {
  const encoded = values.map((value) => Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]));
  return message('F', int32(oid), int16(0), int16(values.length), ...encoded, int16(0));
}

export function parse(name: string, sql: string, parameterTypes: number[] = []): Buffer {
  return message(
    'P',
    cstring(name),
    cstring(sql),
    int16(parameterTypes.length),
    ...parameterTypes.map(int32),
  );
}

/** Text parameters (null: SQL's NULL), text results. */
export function bind(statement = '', values: (string | null)[] = [], portal = ''): Buffer {
  const encoded = values.map((value) => {
    if (value === null) return int32(-1);
    const bytes = Buffer.from(value);
    return Buffer.concat([int32(bytes.length), bytes]);
  });
  return message(
    'B',
    cstring(portal),
    cstring(statement),
    int16(0),
    int16(values.length),
    ...encoded,
    int16(0),
  );
}

/** The fields of an ErrorResponse or NoticeResponse by letter: S severity, C SQLSTATE, M message, D, H... */
export function errorFields(frame: Frame): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const field of frame.payload.toString('utf8').split('\0')) {
    if (field !== '') fields[field.charAt(0)] = field.slice(1);
  }
  return fields;
}

/** Types of the messages; an error is its SQLSTATE, ReadyForQuery has its status: `1 2 D C ZI`. */
export function shown(frames: readonly Frame[]): string {
  return frames
    .map((frame) => {
      if (frame.type === 'E') return errorFields(frame)['C'];
      return frame.type === 'Z' ? `Z${frame.payload.toString()}` : frame.type;
    })
    .join(' ');
}

/** The columns of a DataRow as text; null is NULL. */
export function rowValues(frame: Frame): (string | null)[] {
  const values: (string | null)[] = [];
  let at = 2;
  for (let count = frame.payload.readInt16BE(0); count > 0; count--) {
    const length = frame.payload.readInt32BE(at);
    at += 4;
    values.push(length < 0 ? null : frame.payload.toString('utf8', at, at + length));
    if (length > 0) at += length;
  }
  return values;
}

/** Types of the messages, a letter each: `12DCZ`. */
export const types = (frames: readonly Frame[]): string => frames.map(({ type }) => type).join('');

/** The first column of the first row. @throws Error if there is no row */
export function firstValue(frames: readonly Frame[]): string | null {
  const row = frames.find(({ type }) => type === 'D');
  if (row === undefined) throw new Error(`no row in ${shown(frames)}`);
  return rowValues(row)[0] ?? null;
}

/** A socket to the proxy; received bytes are cut into frames. */
export class RawClient {
  socket: Socket;
  /** True once the other side has ended the connection, with or without an error. */
  closed = false;
  /** Of BackendKeyData, after `login`: what a CancelRequest needs. */
  backendPid = 0;
  backendSecret = Buffer.alloc(0);
  #received = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    this.#listen();
  }

  static async connect(target: { port: number; host?: string } | { path: string }): Promise<RawClient> {
    const socket = connectTcp(target);
    socket.setNoDelay(true);
    await once(socket, 'connect');
    return new RawClient(socket);
  }

  /** Connects and logs in without a password, up to the first ReadyForQuery. */
  static async login(
    target: { port: number; host?: string } | { path: string },
    parameters: Record<string, string>,
  ): Promise<RawClient> {
    const client = await RawClient.connect(target);
    client.send(startup(parameters));
    const key = (await client.readUntil('Z')).find((frame) => frame.type === 'K');
    if (key !== undefined) {
      client.backendPid = key.payload.readInt32BE(0);
      client.backendSecret = Buffer.from(key.payload.subarray(4));
    }
    return client;
  }

  /** A client that has logged in, for as long as a test lasts. */
  static async session(
    scope: Scope,
    target: { port: number; host?: string } | { path: string },
    parameters: Record<string, string>,
  ): Promise<RawClient> {
    const client = await RawClient.login(target, parameters);
    scope.after(() => client.destroy());
    return client;
  }

  #listen(): void {
    this.socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
    });
    this.socket.on('close', () => {
      this.closed = true;
    });
    this.socket.on('end', () => {
      this.closed = true;
    });
    // A reset is an end like any other here; `closed` shows it.
    this.socket.on('error', () => {});
  }

  /** All in one write, so that they arrive together. */
  send(...messages: Buffer[]): void {
    this.socket.write(Buffer.concat(messages));
  }

  /** Speaks TLS from now on; after the `S` that answers an SSLRequest. */
  async startTls(options: ConnectionOptions = {}): Promise<void> {
    this.socket.removeAllListeners();
    this.socket = connectTls({ socket: this.socket, rejectUnauthorized: false, ...options });
    await once(this.socket, 'secureConnect');
    this.#listen();
  }

  /** Bytes that have arrived and were not read yet. */
  get available(): number {
    return this.#received.length;
  }

  /** Waits for so many bytes: for the answer to an SSLRequest, which has no frame. */
  async readBytes(count: number): Promise<Buffer> {
    await until(`${count} bytes from the proxy`, () => this.closed || this.#enough(count));
    this.#enough(count);
    return this.#take(count);
  }

  #enough(count: number): boolean {
    if (this.#received.length >= count) return true;
    if (this.closed) throw new Error(`the connection was closed; ${this.#received.length} bytes are unread`);
    return false;
  }

  #take(count: number): Buffer {
    const bytes = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return bytes;
  }

  async readFrame(): Promise<Frame> {
    await until('a message from the proxy', () => this.closed || this.#enough(5));
    this.#enough(5);
    const size = this.#received.readInt32BE(1) + 1;
    await until('the rest of a message', () => this.closed || this.#enough(size));
    this.#enough(size);
    const bytes = this.#take(size);
    return { type: bytes.toString('latin1', 0, 1), payload: bytes.subarray(5) };
  }

  /** All frames up to the first of this type, which is the last one of the result. */
  async readUntil(type: string): Promise<Frame[]> {
    const frames: Frame[] = [];
    for (;;) {
      const frame = await this.readFrame();
      frames.push(frame);
      if (frame.type === type) return frames;
      if (frame.type === 'E' && errorFields(frame)['S'] === 'FATAL') {
        throw new Error(`FATAL: ${errorFields(frame)['M']} (${errorFields(frame)['C']}) instead of ${type}`);
      }
    }
  }

  /** All frames until the connection is closed. */
  async readToEnd(): Promise<Frame[]> {
    await until('the connection to be closed', () => this.closed);
    const frames: Frame[] = [];
    while (this.#received.length >= 5) frames.push(await this.readFrame());
    return frames;
  }

  /** One simple query: the frames up to its ReadyForQuery. */
  async query(sql: string): Promise<Frame[]> {
    this.send(query(sql));
    return await this.readUntil('Z');
  }

  /** One simple query: the first column of its first row. */
  async value(sql: string): Promise<string | null> {
    return firstValue(await this.query(sql));
  }

  /** Process ID of the server that answers now. */
  pid(): Promise<string | null> {
    return this.value('SELECT pg_backend_pid()');
  }

  /** Ends our side; the other side may still send. */
  end(): void {
    this.socket.end();
  }

  /** Closes with a reset, as a crashed machine's kernel would. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }
}
