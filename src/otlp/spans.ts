/**
 * Traces of queries as spans: one for the query, with one for each of its parts below it. Names and attributes are those of
 * OpenTelemetry's conventions for databases, where there are any.
 */
import {
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace as traceApi,
  TraceFlags,
  type Attributes,
  type Context,
  type HrTime,
  type Tracer,
} from '@opentelemetry/api';
import type { EndedTrace, Interval, TraceSubject } from '../telemetry/query-trace.ts';
import type { BoundedSpanExporter } from './span-exporter.ts';

/** Traces that become spans in one turn of the event loop: less than a millisecond's work. */
const PER_TURN = 20;

export class Spans {
  readonly #tracer: Tracer;
  readonly #exporter: BoundedSpanExporter;
  readonly #onBug: (error: Error) => void;
  #ended: EndedTrace[] = [];

  /** @param onBug is told about an error that would otherwise end the process */
  constructor(tracer: Tracer, exporter: BoundedSpanExporter, onBug: (error: Error) => void) {
    this.#tracer = tracer;
    this.#exporter = exporter;
    this.#onBug = onBug;
  }

  add(ended: EndedTrace): void {
    const { call, wait, server } = ended;
    const parts = [call, wait, server].filter((part) => part !== null).length;
    if (!this.#exporter.admit(1 + parts)) return;
    if (this.#ended.length === 0) setImmediate(() => this.#work());
    this.#ended.push(ended);
  }

  /** Makes the spans of all traces now. */
  flush(): void {
    for (const ended of this.#ended.splice(0)) this.#tryEmit(ended);
  }

  #work(): void {
    for (const ended of this.#ended.splice(0, PER_TURN)) this.#tryEmit(ended);
    if (this.#ended.length > 0) setImmediate(() => this.#work());
  }

  #tryEmit(ended: EndedTrace): void {
    try {
      this.#emit(ended);
    } catch (error) {
      this.#onBug(error as Error);
    }
  }

  #emit(ended: EndedTrace): void {
    const { subject, call, wait, server, startedAt, endedAt } = ended;
    // the clocks may have drifted apart since the process began
    const offset = Date.now() - performance.now();
    const at = (ms: number): HrTime => hrTime(offset + ms);
    const query = this.#tracer.startSpan(
      nameOf(subject),
      { kind: SpanKind.SERVER, startTime: at(startedAt), attributes: attributesOf(subject) },
      parentOf(subject),
    );
    const inside = traceApi.setSpan(ROOT_CONTEXT, query);
    const part = (name: string, kind: SpanKind, interval: Interval | null, attributes: Attributes): void => {
      if (interval === null) return;
      const { from, to } = interval;
      this.#tracer.startSpan(name, { kind, startTime: at(from), attributes }, inside).end(at(to));
    };
    part('rule', SpanKind.INTERNAL, call, tenantOf(subject));
    part('wait for a server', SpanKind.INTERNAL, wait, {});
    part('server', SpanKind.CLIENT, server, serverOf(subject));
    const error = errorOf(ended);
    if (error !== null) {
      query.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      query.setAttributes(error.attributes);
    }
    query.end(at(endedAt));
  }
}

/** The first word of the query, as `SELECT`, and its database. */
function nameOf(subject: TraceSubject | null): string {
  if (subject === null) return 'query';
  const [, word] = /^([a-z]{1,20})\b/i.exec(subject.text ?? '') ?? [];
  return `${word?.toUpperCase() ?? 'query'} ${subject.database}`;
}

function attributesOf(subject: TraceSubject | null): Attributes {
  const attributes: Attributes = { 'db.system.name': 'postgresql' };
  if (subject === null) return attributes;
  const { database, user, clientAddress, clientPort, applicationName, text } = subject;
  return {
    ...attributes,
    ...tenantOf(subject),
    ...serverOf(subject),
    'db.namespace': database,
    'db.user': user,
    'client.address': clientAddress,
    ...(clientPort !== 0 && { 'client.port': clientPort }),
    ...(applicationName !== '' && { 'postgresql.application_name': applicationName }),
    ...(text !== null && { 'db.query.text': text }),
  };
}

function tenantOf(subject: TraceSubject | null): Attributes {
  return subject === null || subject.tenant === null ? {} : { 'pgswitchyard.tenant': subject.tenant };
}

function serverOf(subject: TraceSubject | null): Attributes {
  if (subject === null || subject.serverAddress === null) return {};
  return { 'server.address': subject.serverAddress, 'server.port': subject.serverPort };
}

/** null: the query has succeeded, as far as the proxy can see. */
function errorOf({ sqlstate, ending }: EndedTrace): { message: string; attributes: Attributes } | null {
  if (sqlstate === null && ending === 'answered') return null;
  const type = sqlstate ?? ending.replace(' ', '_');
  const message = sqlstate === null ? `the ${ending} before the query was answered` : `SQLSTATE ${sqlstate}`;
  return {
    message: ending === 'server lost' && sqlstate === null ? 'the server was lost' : message,
    attributes: { 'error.type': type, ...(sqlstate !== null && { 'db.response.status_code': sqlstate }) },
  };
}

function parentOf(subject: TraceSubject | null): Context {
  const parent = subject?.parent ?? null;
  if (parent === null) return ROOT_CONTEXT;
  const { traceId, spanId, flags } = parent;
  const traceFlags = flags & TraceFlags.SAMPLED;
  return traceApi.setSpanContext(ROOT_CONTEXT, { traceId, spanId, traceFlags, isRemote: true });
}

function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}
