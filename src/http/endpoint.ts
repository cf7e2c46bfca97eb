/**
 * Metrics, health checks and the web console over HTTP, if http_listen_port is set. Without it, none of the code for it is
 * loaded.
 */
import type { AuditTrail } from '../admin/audit.ts';
import type { Observe } from '../admin/observe.ts';
import type { Steer } from '../admin/steer.ts';
import { httpTls } from '../auth/tls.ts';
import type { Settings } from '../config/options.ts';
import type { Logger } from '../telemetry/log.ts';
import type { HttpServer } from './server.ts';

export interface HttpEndpointParts {
  readonly observe: Observe;
  readonly steer: () => Steer;
  readonly log: Logger;
  readonly audit: AuditTrail;
}

export class HttpEndpoint {
  readonly #parts: HttpEndpointParts;
  #server: HttpServer | null = null;
  /** closed before it was open */
  #isWanted = false;

  constructor(parts: HttpEndpointParts) {
    this.#parts = parts;
  }

  /** Listens. @throws Error if an address can't be listened on, or TlsSetupError */
  async open(): Promise<void> {
    const { settings } = this.#parts.observe.config;
    if (settings.http_listen_port === 0 || this.#isWanted) return;
    this.#isWanted = true;
    const tls = httpTls(settings);
    const { HttpServer } = await import('./server.ts');
    const server = new HttpServer({ ...this.#parts, steer: this.#parts.steer(), tls });
    await server.listen(settings.http_listen_addr, settings.http_listen_port);
    if (this.#isWanted) this.#server = server;
    else server.close();
  }

  /** Opens it again after the process that was to take over has gone. A failure is logged. */
  reopen(): void {
    this.open().catch((error: unknown) => {
      this.#isWanted = false;
      this.#parts.log.error({ event: 'http' }, (error as Error).message);
    });
  }

  /** RELOAD: its certificate may have changed. A mistake is logged, and the old one stays. */
  reconfigure(settings: Settings): void {
    if (this.#server === null) return;
    try {
      const tls = httpTls(settings);
      if (tls !== null) this.#server.useTls(tls);
    } catch (error) {
      this.#parts.log.error({ event: 'http' }, (error as Error).message);
    }
  }

  close(): void {
    this.#isWanted = false;
    this.#server?.close();
    this.#server = null;
  }
}
