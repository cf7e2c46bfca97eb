/** Encodes and decodes the messages that the proxy itself makes or reads. The relays pass messages on without it. */
import { STARTUP_HEAD_BYTES, writeHeader } from './frame.ts';
import { Backend, Frontend, HEADER_BYTES, StartupCode } from './protocol.ts';

/** A message from its type and its payload: bytes, strings (with a zero byte after each) and int32s. */
export function message(type: number, ...parts: readonly (Buffer | string | number)[]): Buffer {
  let size = HEADER_BYTES;
  for (const part of parts) {
    size +=
      typeof part === 'string' ? Buffer.byteLength(part) + 1 : typeof part === 'number' ? 4 : part.length;
  }
  const out = Buffer.allocUnsafe(size);
  writeHeader(out, type, size);
  let at = HEADER_BYTES;
  for (const part of parts) {
    if (typeof part === 'string') {
      at += out.write(part, at);
      out[at++] = 0;
    } else if (typeof part === 'number') {
      at = out.writeInt32BE(part, at);
    } else {
      at += part.copy(out, at);
    }
  }
  return out;
}

/** Fields of an ErrorResponse or NoticeResponse, by the letters of "Error and Notice Message Fields". */
export interface ErrorFields {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  readonly detail?: string | null;
  readonly hint?: string | null;
  /** function in PostgreSQL's source, by which drivers tell some errors apart */
  readonly routine?: string | null;
}

function errorBody(fields: ErrorFields): Buffer {
  let text = `S${fields.severity}\0V${fields.severity}\0C${fields.code}\0M${fields.message}\0`;
  if (fields.detail) text += `D${fields.detail}\0`;
  if (fields.hint) text += `H${fields.hint}\0`;
  if (fields.routine) text += `R${fields.routine}\0`;
  return Buffer.from(`${text}\0`);
}

export function errorResponse(fields: ErrorFields): Buffer {
  return message(Backend.ErrorResponse, errorBody(fields));
}

export function noticeResponse(fields: ErrorFields): Buffer {
  return message(Backend.NoticeResponse, errorBody(fields));
}

/**
 * The fields of an ErrorResponse or NoticeResponse payload, by letter. If the payload is cut off, only whole fields are
 * included.
 */
export function parseErrorFields(payload: Buffer): Map<string, string> {
  const fields = new Map<string, string>();
  let at = 0;
  while (at < payload.length && payload[at] !== 0) {
    const end = payload.indexOf(0, at + 1);
    if (end < 0) break;
    fields.set(String.fromCharCode(payload[at]!), payload.toString('utf8', at + 1, end));
    at = end + 1;
  }
  return fields;
}

/** ReadyForQuery with a status byte of TxStatus. */
export function readyForQuery(status: number): Buffer {
  return Buffer.from([Backend.ReadyForQuery, 0, 0, 0, 5, status]);
}

export function parameterStatus(name: string, value: string): Buffer {
  return message(Backend.ParameterStatus, name, value);
}

export function backendKeyData(pid: number, key: Buffer): Buffer {
  return message(Backend.BackendKeyData, pid, key);
}

/** NegotiateProtocolVersion. @param version newest minor version supported @param unknownOptions `_pq_.` options */
export function negotiateProtocolVersion(version: number, unknownOptions: readonly string[]): Buffer {
  return message(Backend.NegotiateProtocolVersion, version, unknownOptions.length, ...unknownOptions);
}

/** Authentication ('R') from its payload: int32 code and data. */
export function authentication(payload: Buffer): Buffer {
  return message(Backend.Authentication, payload);
}

export const AUTHENTICATION_OK = message(Backend.Authentication, 0);
export const PARSE_COMPLETE = message(Backend.ParseComplete);
export const CLOSE_COMPLETE = message(Backend.CloseComplete);
export const FLUSH = message(Frontend.Flush);
export const TERMINATE = message(Frontend.Terminate);

export function query(sql: string): Buffer {
  return message(Frontend.Query, sql);
}

/** Close of a prepared statement. */
export function closeStatement(name: string): Buffer {
  return message(Frontend.Close, Buffer.from('S'), name);
}

/** Describe of a prepared statement. */
export function describeStatement(name: string): Buffer {
  return message(Frontend.Describe, Buffer.from('S'), name);
}

/** An untyped packet of the start-up phase: length, code, rest. */
function startupPacket(code: number, body: Buffer): Buffer {
  const out = Buffer.allocUnsafe(STARTUP_HEAD_BYTES + body.length);
  out.writeInt32BE(out.length, 0);
  out.writeInt32BE(code, 4);
  body.copy(out, STARTUP_HEAD_BYTES);
  return out;
}

/** StartupMessage; `version` as on the wire (0x00030000 is 3.0). */
export function startupMessage(version: number, parameters: Iterable<readonly [string, string]>): Buffer {
  let text = '';
  for (const [name, value] of parameters) text += `${name}\0${value}\0`;
  return startupPacket(version, Buffer.from(`${text}\0`));
}

export function cancelRequest(pid: number, key: Buffer): Buffer {
  const body = Buffer.allocUnsafe(4 + key.length);
  body.writeInt32BE(pid, 0);
  key.copy(body, 4);
  return startupPacket(StartupCode.Cancel, body);
}

export const SSL_REQUEST = startupPacket(StartupCode.Ssl, Buffer.alloc(0));

/** The string that begins at `at` and ends before a zero byte, and the position after that; null: none. */
export function cString(buffer: Buffer, at: number): { text: string; next: number } | null {
  const end = buffer.indexOf(0, at);
  return end < 0 ? null : { text: buffer.toString('utf8', at, end), next: end + 1 };
}

/** The name and value of a ParameterStatus payload. */
export function parseParameterStatus(payload: Buffer): { name: string; value: string } | null {
  const name = cString(payload, 0);
  const value = name && cString(payload, name.next);
  return name && value ? { name: name.text, value: value.text } : null;
}

/** After a column's name: table, column, type, its size, its modifier, and the format. */
const COLUMN_BYTES = 4 + 2 + 4 + 2 + 4 + 2;

/** The names of the columns in a RowDescription payload; null: it is malformed. */
export function parseColumns(payload: Buffer): string[] | null {
  if (payload.length < 2) return null;
  const columns: string[] = [];
  let at = 2;
  for (let left = payload.readUInt16BE(0); left > 0; left--) {
    const name = cString(payload, at);
    if (name === null) return null;
    columns.push(name.text);
    at = name.next + COLUMN_BYTES;
  }
  return at === payload.length ? columns : null;
}

/**
 * The names, types and type modifiers in a RowDescription payload, which PostgreSQL compares when it plans a prepared
 * statement again. The string is only good for comparison.
 */
export function resultShape(payload: Buffer): string {
  let shape = '';
  for (let at = 2; at < payload.length;) {
    const end = payload.indexOf(0, at);
    if (end < 0) break;
    // the column's table and its number there are left out
    shape += payload.toString('latin1', at, end + 1);
    shape += payload.toString('latin1', end + 7, end + 11) + payload.toString('latin1', end + 13, end + 17);
    at = end + 1 + COLUMN_BYTES;
  }
  return shape;
}

/** The values in a DataRow payload, as text; null: it is malformed. */
export function parseRow(payload: Buffer): (string | null)[] | null {
  if (payload.length < 2) return null;
  const values: (string | null)[] = [];
  let at = 2;
  for (let left = payload.readUInt16BE(0); left > 0; left--) {
    if (payload.length - at < 4) return null;
    const size = payload.readInt32BE(at);
    at += 4;
    if (size < -1 || size > payload.length - at) return null;
    values.push(size < 0 ? null : payload.toString('utf8', at, at + size));
    if (size > 0) at += size;
  }
  return at === payload.length ? values : null;
}
