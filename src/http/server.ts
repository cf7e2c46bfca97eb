/** The HTTP server's sockets: bounded in number, size and time, so that no request can hold memory or descriptors for long. */
import { createServer, type Server as PlainServer } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { createAdaptorServer } from '@hono/node-server';
import type { AuditTrail } from '../admin/audit.ts';
import type { Observe } from '../admin/observe.ts';
import type { Steer } from '../admin/steer.ts';
import { Metrics } from '../metrics/metrics.ts';
import type { Logger } from '../telemetry/log.ts';
import { routes } from './routes.ts';
import { History } from './web/history.ts';
import { LogTail } from './web/log-tail.ts';

const LIMITS = {
  connections: 128,
  /** of one address: health checks come from others, and are answered whatever it does */
  connectionsOfAddress: 64,
  headerBytes: 8 * 1024,
  /** for the head of a request, and for all of it */
  requestMs: 10_000,
  lookMs: 2_000,
  /** a peer that neither sends nor reads for this long is disconnected */
  idleMs: 30_000,
  /** between two requests */
  keepAliveMs: 5_000,
};

export interface HttpServerParts {
  readonly observe: Observe;
  readonly steer: Steer;
  readonly log: Logger;
  readonly audit: AuditTrail;
  /** null: without TLS */
  readonly tls: SecureContextOptions | null;
}

export class HttpServer {
  readonly #servers: (PlainServer | TlsServer)[] = [];
  readonly #metrics: Metrics;
  readonly #history: History;
  readonly #logTail: LogTail;
  readonly #parts: HttpServerParts;
  /** open ones, by the address of the other end */
  readonly #connections = new Map<string, number>();
  readonly #fetch: ReturnType<typeof routes>['fetch'];

  constructor(parts: HttpServerParts) {
    this.#parts = parts;
    this.#metrics = new Metrics(parts.observe);
    this.#history = new History(parts.observe);
    this.#logTail = new LogTail(parts.log);
    // once for all addresses: sessions, and the slowing of logins, are shared
    const { fetch } = routes({
      ...parts,
      metrics: this.#metrics,
      history: this.#history,
      logTail: this.#logTail,
      isTls: parts.tls !== null,
    });
    this.#fetch = fetch;
  }

  /** @throws Error if an address can't be listened on; then none is */
  async listen(addresses: readonly string[], port: number): Promise<void> {
    for (const address of addresses) {
      try {
        await this.#listen(address, port);
      } catch (error) {
        this.close();
        throw new Error(`failed to listen for HTTP on ${address}:${port}: ${(error as Error).message}`, {
          cause: error,
        });
      }
    }
  }

  /** Its certificate has changed. */
  useTls(tls: SecureContextOptions): void {
    for (const server of this.#servers) if ('setSecureContext' in server) server.setSecureContext(tls);
  }

  close(): void {
    this.#metrics.stop();
    this.#history.stop();
    this.#logTail.stop();
    for (const server of this.#servers.splice(0)) {
      server.close();
      server.closeAllConnections();
    }
  }

  /** An address that has too many connections gets no further one. */
  #count(socket: Socket): void {
    const { remoteAddress: address = '' } = socket;
    const count = (this.#connections.get(address) ?? 0) + 1;
    if (count > LIMITS.connectionsOfAddress) {
      socket.destroy();
      return;
    }
    this.#connections.set(address, count);
    socket.once('close', () => {
      const left = this.#connections.get(address)! - 1;
      if (left === 0) this.#connections.delete(address);
      else this.#connections.set(address, left);
    });
  }

  async #listen(address: string, port: number): Promise<void> {
    const { log, tls } = this.#parts;
    const isTls = tls !== null;
    const limits = {
      maxHeaderSize: LIMITS.headerBytes,
      requestTimeout: LIMITS.requestMs,
      headersTimeout: LIMITS.requestMs,
      // how often Node looks for requests that are over these limits; otherwise 30 s
      connectionsCheckingInterval: LIMITS.lookMs,
    };
    const server = createAdaptorServer({
      fetch: this.#fetch,
      // for requests without a Host header, such as the health checks of load balancers
      hostname: 'localhost',
      ...(tls === null
        ? { createServer, serverOptions: limits }
        : { createServer: createTlsServer, serverOptions: { ...limits, ...tls } }),
    }) as PlainServer | TlsServer;
    server.maxConnections = LIMITS.connections;
    server.on('connection', (socket: Socket) => this.#count(socket));
    server.keepAliveTimeout = LIMITS.keepAliveMs;
    server.setTimeout(LIMITS.idleMs);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port, ...(address === '*' ? {} : { host: address }) }, resolve);
    });
    server.removeAllListeners('error');
    server.on('error', (error: Error) => log.warn({ event: 'http' }, `HTTP: ${error.message}`));
    this.#servers.push(server);
    log.info({ event: 'listening' }, `listening on ${address}:${port} for HTTP${isTls ? ' over TLS' : ''}`);
  }
}
