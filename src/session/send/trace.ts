/** A traced query: whose it is, where it goes, and its text without constants. Only queries that are chosen come here. */
import { masked } from '../../sql/fingerprint.ts';
import { traceParentIn } from '../../sql/trace-parent.ts';
import type { QueryTrace, TraceSubject } from '../../telemetry/query-trace.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';

/** The longest part of a text without constants that a trace has, in characters. */
const MAX_SHOWN = 2_000;
/** PostgreSQL cuts longer names of applications; clients may send any. */
const MAX_NAME = 64;
/** A longer query is left out. Reading it is work that the query itself waits for. */
const MAX_QUERY_BYTES = 64 * 1024;

/**
 * The first message of a traced query goes to its server.
 * @param bytes the part of the message that has arrived
 */
export function describe(client: LoggedInClient, trace: QueryTrace, size: number, bytes: Buffer): void {
  trace.hasServer(performance.now());
  const isKnown = bytes.length === size && size <= MAX_QUERY_BYTES && !trace.isPipelined;
  trace.describe(subjectOf(client, isKnown ? queryIn(client, bytes) : null));
}

/** @param query its text; null: not known */
export function subjectOf(client: LoggedInClient, query: string | null): TraceSubject {
  const { server, database, connection, context } = client;
  const tenant = context.functions.tenantOf(database.entry) ?? context.functions.tenantOf(client.entry);
  const showsText = context.config.settings.otlp_query_text === 'masked';
  return {
    database: database.name,
    user: client.user,
    tenant: tenant?.owner ?? null,
    clientAddress: connection.isUnix ? 'unix' : connection.host,
    clientPort: connection.port,
    applicationName: (client.settings.value('application_name') ?? '').slice(0, MAX_NAME),
    serverAddress: server?.host ?? null,
    serverPort: server?.port ?? 0,
    text: query !== null && showsText ? masked(query, MAX_SHOWN) : null,
    parent: query === null ? null : traceParentIn(query),
  };
}

/** The text of a Query, a Parse, or the statement that a Bind names; null: not known. */
function queryIn(client: LoggedInClient, bytes: Buffer): string | null {
  const type = bytes[0];
  if (type === Frontend.Query) return textAt(bytes, HEADER_BYTES);
  if (type === Frontend.Parse) return textAt(bytes, bytes.indexOf(0, HEADER_BYTES) + 1);
  if (type !== Frontend.Bind) return null;
  const nameStart = bytes.indexOf(0, HEADER_BYTES) + 1;
  const name = bytes.toString('latin1', nameStart, Math.max(nameStart, bytes.indexOf(0, nameStart)));
  const { named, unnamed } = client.statements;
  const body = name === '' ? unnamed.body : named.find(name)?.shared.body;
  return body === undefined || body.length > MAX_QUERY_BYTES ? null : textAt(body, 0);
}

/** Encodings other than UTF-8 lose their letters beyond ASCII. */
function textAt(bytes: Buffer, start: number): string | null {
  const end = bytes.indexOf(0, start);
  return end < 0 ? null : bytes.toString('utf8', start, end);
}
