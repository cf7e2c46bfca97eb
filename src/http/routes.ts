/** The addresses that the HTTP server answers. */
import { Hono, type Context } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import type { AuditTrail } from '../admin/audit.ts';
import type { Observe } from '../admin/observe.ts';
import { CONTENT_TYPES, formatFor } from '../metrics/exposition.ts';
import type { Steer } from '../admin/steer.ts';
import type { Metrics } from '../metrics/metrics.ts';
import type { Logger } from '../telemetry/log.ts';
import { hasStarted, reasonsAgainst } from './health.ts';
import { MetricsToken } from './token.ts';
import { api } from './web/api.ts';
import { FILES, type WebFile } from './web/files.ts';
import type { History } from './web/history.ts';
import type { LogTail } from './web/log-tail.ts';

/** The web console loads nothing from elsewhere, and is in no frame. */
const CONTENT_SECURITY_POLICY = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'"],
  connectSrc: ["'self'"],
  imgSrc: ["'self'", 'data:'],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
};

export interface RouteParts {
  readonly observe: Observe;
  readonly steer: Steer;
  readonly metrics: Metrics;
  readonly history: History;
  readonly logTail: LogTail;
  readonly log: Logger;
  readonly audit: AuditTrail;
  readonly isTls: boolean;
}

export function routes(parts: RouteParts): Hono {
  const { observe, metrics, log } = parts;
  const app = new Hono();
  const token = new MetricsToken();
  app.use(secureHeaders({ contentSecurityPolicy: CONTENT_SECURITY_POLICY, xFrameOptions: 'DENY' }));
  // an event loop that stands still gives no answer at all
  app.get('/livez', (c) => c.text('ok\n'));
  app.get('/startupz', (c) =>
    hasStarted(observe) ? c.text('ok\n') : c.text('the proxy is starting\n', 503),
  );
  app.get('/readyz', (c) => {
    const reasons = reasonsAgainst(observe);
    return reasons.length === 0 ? c.text('ok\n') : c.text(`${reasons.join('\n')}\n`, 503);
  });
  app.get('/metrics', async (c) => {
    const { http_metrics_token_file: file } = observe.config.settings;
    const access = token.check(file, c.req.header('authorization') ?? '');
    if (access === 'no token') {
      log.error({ event: 'http' }, `http_metrics_token_file: "${file}" can't be read, or is empty`);
      return c.text('no token is configured\n', 503);
    }
    if (access === 'refused') {
      c.header('WWW-Authenticate', 'Bearer');
      return c.text('a bearer token is needed\n', 401);
    }
    const format = formatFor(c.req.header('accept') ?? '');
    return c.body(await metrics.print(format), 200, { 'Content-Type': CONTENT_TYPES[format] });
  });
  app.route('/api', api(parts));
  for (const [path, file] of FILES) app.get(path, async (c) => send(c, await file()));
  app.notFound((c) => c.text('not found\n', 404));
  app.onError((error, c) => {
    log.error({ event: 'bug' }, `internal error in an HTTP request: ${error.stack ?? error.message}`);
    return c.text('internal error\n', 500);
  });
  return app;
}

/** A file of the web console, unless the browser has it already. */
function send(c: Context, { type, tag, plain, compressed }: WebFile): Response {
  const headers = { 'Content-Type': type, 'Cache-Control': 'no-cache', ETag: tag, Vary: 'Accept-Encoding' };
  if (c.req.header('if-none-match') === tag) return c.body(null, 304, headers);
  return /\bgzip\b/.test(c.req.header('accept-encoding') ?? '')
    ? c.body(compressed, 200, { ...headers, 'Content-Encoding': 'gzip' })
    : c.body(plain, 200, headers);
}
