/** The web console's API: logins, statements of the console's language, and live figures. */
import type { Context } from 'hono';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { streamSSE } from 'hono/streaming';
import { rightsOfUser, type Rights } from '../../admin/entrance.ts';
import type { Observe } from '../../admin/observe.ts';
import type { Steer } from '../../admin/steer.ts';
import { formatPlace } from '../../config/diagnostics.ts';
import { shownValue } from '../../config/print.ts';
import { printable } from '../../telemetry/printable.ts';
import type { Logger } from '../../telemetry/log.ts';
import { Attempts } from './attempts.ts';
import { EVERY_MS, type History } from './history.ts';
import { isIdentified } from './identity.ts';
import type { LogTail } from './log-tail.ts';
import { WebSessions, type WebSession } from './sessions.ts';
import { runStatement } from './statement.ts';

const MAX_BODY = 128 * 1024;
/** Consoles that get live figures at the same time. */
const MAX_LIVE = 32;

export interface ApiParts {
  readonly observe: Observe;
  readonly steer: Steer;
  readonly log: Logger;
  readonly history: History;
  readonly logTail: LogTail;
  readonly isTls: boolean;
}

/** The session of a request, and its user's present rights. */
interface Access {
  readonly session: WebSession;
  readonly rights: Rights;
}

type Env = { Variables: { access: Access } };

export function api(parts: ApiParts): Hono<Env> {
  const { observe, log, history, logTail, isTls } = parts;
  const sessions = new WebSessions();
  const attempts = new Attempts();
  // the prefix makes browsers refuse the cookie from other hosts and without TLS
  const cookie = isTls ? '__Host-pgswitchyard' : 'pgswitchyard';
  const app = new Hono<Env>();
  app.use(
    bodyLimit({ maxSize: MAX_BODY, onError: (c) => c.json({ error: 'the request is too large' }, 413) }),
  );

  app.post('/login', async (c) => {
    // a form of another site can't send this type
    if (!/^application\/json\b/.test(c.req.header('content-type') ?? ''))
      return c.json({ error: 'JSON is needed' }, 415);
    const given: unknown = await c.req.json().catch(() => null);
    const { user, password } = credentialsOf(given);
    if (user === null || password === null) return c.json({ error: 'user and password are needed' }, 400);
    const address = addressOf(c);
    const waitMs = attempts.waitMs(user, address);
    if (waitMs > 0) {
      c.header('Retry-After', String(Math.ceil(waitMs / 1000)));
      return c.json({ error: 'too many failed attempts: try again later' }, 429);
    }
    // counted now, so that attempts at the same time are counted too
    attempts.failed(user, address);
    const { config } = observe;
    const isRight = await isIdentified(config, { user, password, address, isTls }).catch((error: unknown) => {
      log.error(
        { event: 'web_login' },
        `web console: login of ${printable(user)}: ${(error as Error).message}`,
      );
      return false;
    });
    const rights = isRight ? rightsOfUser(user, config) : null;
    if (rights === null) {
      log.warn(
        { event: 'web_login', user },
        `web console: failed login of ${printable(user)} from ${address}`,
      );
      return c.json({ error: 'wrong user or password, or no rights on the console' }, 401);
    }
    attempts.succeeded(user, address);
    log.info({ event: 'web_login', user }, `web console: ${printable(user)} logged in from ${address}`);
    const key = sessions.begin(user, address);
    setCookie(c, cookie, key, { path: '/', httpOnly: true, sameSite: 'Strict', secure: isTls });
    return c.json(describe(sessions.find(key)!, rights));
  });

  app.use(async (c, next) => {
    const session = sessions.find(getCookie(c, cookie));
    // as of now: a RELOAD may have taken the user's rights away
    const rights = session === null ? null : rightsOfUser(session.user, observe.config);
    if (session === null || rights === null) return c.json({ error: 'log in first' }, 401);
    const isSafe = c.req.method === 'GET' || c.req.method === 'HEAD';
    if (!isSafe && c.req.header('x-csrf-token') !== session.csrfToken)
      return c.json({ error: 'the request lacks its token' }, 403);
    c.set('access', { session, rights });
    c.header('Cache-Control', 'no-store');
    await next();
    return;
  });

  app.get('/session', (c) => {
    const { session, rights } = c.get('access');
    return c.json(describe(session, rights));
  });

  app.post('/logout', (c) => {
    const { session } = c.get('access');
    log.info(
      { event: 'web_logout', user: session.user },
      `web console: ${printable(session.user)} logged out`,
    );
    sessions.end(getCookie(c, cookie));
    deleteCookie(c, cookie, { path: '/', secure: isTls });
    return c.json({});
  });

  app.get('/show/:table', async (c) => {
    const table = c.req.param('table');
    if (!/^[a-z_]+$/.test(table)) return c.json({ error: 'no such table' }, 404);
    return c.json(await run(c, `SHOW ${table}`, parts));
  });

  app.post('/statement', async (c) => {
    const { statement } = ((await c.req.json().catch(() => null)) ?? {}) as { statement?: unknown };
    if (typeof statement !== 'string') return c.json({ error: 'a statement is needed' }, 400);
    const { session } = c.get('access');
    log.info(
      { event: 'web_command', user: session.user, peer: session.address },
      `web console: ${printable(session.user)} asks for ${printable(withoutValue(statement))}`,
    );
    return c.json(await run(c, statement, parts));
  });

  app.get('/history', (c) =>
    isTenants(c) ? c.json({ error: 'permission denied' }, 403) : c.json(history.points),
  );

  app.get('/log', (c) =>
    c.get('access').rights === 'admin' ? c.json(logTail.lines) : c.json({ error: 'permission denied' }, 403),
  );

  app.get('/configuration', (c) => {
    if (isTenants(c)) return c.json({ error: 'permission denied' }, 403);
    const entries = observe.config.entries.map((entry) => ({
      section: entry.section,
      key: entry.key,
      value: shownValue(entry),
      place: formatPlace(entry),
    }));
    return c.json(entries);
  });

  let live = 0;
  app.get('/live', (c) => {
    if (isTenants(c)) return c.json({ error: 'permission denied' }, 403);
    if (live >= MAX_LIVE) return c.json({ error: 'too many consoles are open' }, 503);
    live++;
    const { user } = c.get('access').session;
    return streamSSE(c, async (stream) => {
      let isOpen = true;
      stream.onAbort(() => {
        isOpen = false;
      });
      let last = 0;
      try {
        // rights may have been taken away meanwhile
        while (isOpen && rightsOfUser(user, observe.config) !== null) {
          const point = history.points.at(-1);
          if (point !== undefined && point.atMs !== last) {
            last = point.atMs;
            // waits until the browser has taken it: nothing piles up
            await stream.writeSSE({ event: 'point', data: JSON.stringify(point) });
          }
          await stream.sleep(EVERY_MS / 5);
        }
      } finally {
        live--;
      }
    });
  });

  app.notFound((c) => c.json({ error: 'not found' }, 404));
  return app;
}

function isTenants(c: Context<Env>): boolean {
  return c.get('access').rights === 'tenant';
}

async function run(c: Context<Env>, text: string, parts: ApiParts): ReturnType<typeof runStatement> {
  const { session, rights } = c.get('access');
  const { user, address } = session;
  return await runStatement({ user, address, rights, signal: c.req.raw.signal }, text, parts);
}

function describe({ user, csrfToken }: WebSession, rights: Rights): Record<string, string> {
  return { user, rights, csrfToken };
}

function credentialsOf(given: unknown): { readonly user: string | null; readonly password: string | null } {
  const { user, password } = (given ?? {}) as { readonly user?: unknown; readonly password?: unknown };
  return {
    user: typeof user === 'string' && user !== '' ? user : null,
    password: typeof password === 'string' && password !== '' ? password : null,
  };
}

/** Of the other end of the connection: headers of proxies in between can be made up. */
function addressOf(c: Context): string {
  const { incoming } = c.env as {
    readonly incoming?: { readonly socket: { readonly remoteAddress?: string } };
  };
  return incoming?.socket.remoteAddress ?? '';
}

/** A SET may hold a secret. */
function withoutValue(statement: string): string {
  const [, head] = /^(\s*set\s+[^\s=]+)/i.exec(statement) ?? [];
  return head === undefined ? statement : `${head} = …`;
}
