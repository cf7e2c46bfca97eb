/** An OpenTelemetry collector that keeps what it gets (OTLP over HTTP, in protobuf). */
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Scope } from './scope.ts';

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** '': none */
  readonly parentId: string;
  readonly name: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly attributes: Readonly<Record<string, unknown>>;
  /** 2: error */
  readonly status: number;
}

export interface CollectedPoint {
  readonly name: string;
  readonly unit: string;
  readonly type: 'gauge' | 'sum' | 'histogram';
  readonly attributes: Readonly<Record<string, unknown>>;
  /** of a histogram, the number of values */
  readonly value: number;
  readonly resource: Readonly<Record<string, unknown>>;
}

export class OtlpCollector {
  readonly spans: CollectedSpan[] = [];
  readonly points: CollectedPoint[] = [];
  readonly headers: IncomingMessage['headers'][] = [];
  requests = 0;
  /** `hang`: requests are read, and get no answer */
  mode: 'ok' | 'hang' | 'refuse' = 'ok';
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(scope: Scope, port = 0): Promise<OtlpCollector> {
    const server = createServer();
    const collector = new OtlpCollector(server);
    server.on('request', (request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        collector.requests++;
        collector.headers.push(request.headers);
        if (collector.mode === 'hang') return;
        if (collector.mode === 'refuse') return response.writeHead(403).end('no');
        collector.#take(request.url ?? '', Buffer.concat(parts));
        response.writeHead(200, { 'Content-Type': 'application/x-protobuf' }).end();
      });
    });
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    scope.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return collector;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** The spans of a query, by name: the query's own has the name of its database. */
  traceOf(root: CollectedSpan): CollectedSpan[] {
    return this.spans.filter(({ traceId }) => traceId === root.traceId);
  }

  #take(path: string, body: Buffer): void {
    for (const one of messages(fields(body), 1)) {
      const resource = attributesOf(messages(messages(one, 1)[0] ?? new Map(), 1));
      for (const scope of messages(one, 2))
        for (const each of messages(scope, 2)) {
          if (path === '/v1/traces') this.spans.push(span(each));
          if (path === '/v1/metrics') this.points.push(...pointsOf(each, resource));
        }
    }
  }
}

/** By number, the values of a protobuf message: varints and fixed numbers as bigint, everything else as bytes. */
type Fields = ReadonlyMap<number, readonly (bigint | Buffer)[]>;

function fields(bytes: Buffer): Fields {
  const all = new Map<number, (bigint | Buffer)[]>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const value = (wireType: number): bigint | Buffer => {
    if (wireType === 0) return varint();
    const size = wireType === 2 ? Number(varint()) : wireType === 1 ? 8 : 4;
    at += size;
    const part = bytes.subarray(at - size, at);
    if (wireType === 2) return part;
    return wireType === 1 ? part.readBigUInt64LE() : BigInt(part.readUInt32LE());
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const found = all.get(tag >> 3) ?? [];
    all.set(tag >> 3, [...found, value(tag & 7)]);
  }
  return all;
}

function messages(of: Fields, number: number): Fields[] {
  return (of.get(number) ?? []).map((bytes) => fields(bytes as Buffer));
}

function text(of: Fields, number: number, encoding: 'utf8' | 'hex' = 'utf8'): string {
  return ((of.get(number)?.[0] as Buffer | undefined) ?? Buffer.alloc(0)).toString(encoding);
}

function integer(of: Fields, number: number): bigint {
  return (of.get(number)?.[0] as bigint | undefined) ?? 0n;
}

function double(bits: bigint): number {
  return new Float64Array(BigUint64Array.of(bits).buffer)[0]!;
}

function attributesOf(pairs: readonly Fields[]): Record<string, unknown> {
  return Object.fromEntries(
    pairs.map((pair): [string, unknown] => {
      const value = messages(pair, 2)[0]!;
      if (value.has(1)) return [text(pair, 1), text(value, 1)];
      return [text(pair, 1), value.has(4) ? double(integer(value, 4)) : Number(integer(value, 3))];
    }),
  );
}

function span(of: Fields): CollectedSpan {
  return {
    traceId: text(of, 1, 'hex'),
    spanId: text(of, 2, 'hex'),
    parentId: text(of, 4, 'hex'),
    name: text(of, 5),
    startNs: integer(of, 7),
    endNs: integer(of, 8),
    attributes: attributesOf(messages(of, 9)),
    status: Number(integer(messages(of, 15)[0] ?? new Map(), 3)),
  };
}

function pointsOf(metric: Fields, resource: CollectedPoint['resource']): CollectedPoint[] {
  const common = { name: text(metric, 1), unit: text(metric, 3), resource };
  const number = metric.has(5) ? 5 : 7;
  const values = messages(messages(metric, number)[0] ?? new Map(), 1).map((point): CollectedPoint => ({
    ...common,
    type: number === 5 ? 'gauge' : 'sum',
    attributes: attributesOf(messages(point, 7)),
    value: double(integer(point, 4)),
  }));
  const histograms = messages(messages(metric, 9)[0] ?? new Map(), 1).map((point): CollectedPoint => ({
    ...common,
    type: 'histogram',
    attributes: attributesOf(messages(point, 9)),
    value: Number(integer(point, 4)),
  }));
  return [...values, ...histograms];
}
