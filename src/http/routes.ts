/** The addresses that the HTTP server answers. */
import { Hono, type Context } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import type { AuditTrail } from '../admin/audit.ts';
import type { HttpBindings } from '@hono/node-server';
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

/** The longest time that a scraper may take to read its answer. */
const ANSWER_MS = 60_000;
/** Scrapes that are still being read. Each holds its text; one more ends the oldest of them, so that none waits for slow ones. */
const MOST_UNREAD = 8;

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

type Env = { Bindings: HttpBindings };

export function routes(parts: RouteParts): Hono<Env> {
  const { observe, metrics, log } = parts;
  const app = new Hono<Env>();
  const token = new MetricsToken();
  const unread = new Set<HttpBindings['outgoing']>();
  let wasMissing = false;
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
      // anybody may ask, as often as they like
      if (!wasMissing)
        log.error({ event: 'http' }, `http_metrics_token_file: "${file}" can't be read, or is empty`);
      wasMissing = true;
      return c.text('no token is configured\n', 503);
    }
    wasMissing = false;
    if (access === 'refused') {
      c.header('WWW-Authenticate', 'Bearer');
      return c.text('a bearer token is needed\n', 401);
    }
    const format = formatFor(c.req.header('accept') ?? '');
    const pieces = await metrics.print(format);
    endLate(c.env.outgoing, unread);
    return c.body(streamOf(pieces), 200, {
      'Content-Type': CONTENT_TYPES[format],
      'Content-Length': String(pieces.reduce((sum, { length }) => sum + length, 0)),
    });
  });
  app.route('/api', api(parts));
  for (const [path, file] of FILES) app.get(path, async (c) => send(c, await file()));
  app.notFound((c) => c.text('not found\n', 404));
  app.onError((error, c) => {
    // the other end has left in the middle of its request
    if (c.env.incoming.destroyed && !c.env.incoming.complete) return c.body(null, 400);
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

/** Each piece is sent when the one before it has been taken. */
function streamOf(pieces: readonly Buffer[]): ReadableStream {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < pieces.length) controller.enqueue(pieces[at++]);
      else controller.close();
    },
  });
}

/** Somebody who reads the answer byte by byte does not hold it for long, and many of them do not hold many answers. */
function endLate(answer: HttpBindings['outgoing'], unread: Set<HttpBindings['outgoing']>): void {
  const [oldest] = unread;
  if (unread.size >= MOST_UNREAD && oldest !== undefined) {
    unread.delete(oldest);
    oldest.destroy();
  }
  unread.add(answer);
  const timer = setTimeout(() => answer.destroy(), ANSWER_MS).unref();
  answer.once('close', () => {
    clearTimeout(timer);
    unread.delete(answer);
  });
}
