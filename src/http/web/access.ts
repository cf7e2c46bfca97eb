/** Who a request comes from: logins, sessions in cookies, and the present rights of their users. */
import type { Socket } from 'node:net';
import type { Context } from 'hono';
import { Hono } from 'hono';
import { deleteCookie, getCookie, setCookie } from 'hono/cookie';
import { rightsOfUser, type Rights } from '../../admin/entrance.ts';
import type { Observe } from '../../admin/observe.ts';
import { printable } from '../../telemetry/printable.ts';
import type { Logger } from '../../telemetry/log.ts';
import { Attempts } from './attempts.ts';
import { isIdentified } from './identity.ts';
import { WebSessions, type WebSession } from './sessions.ts';

/** Characters of a user's name: it is logged, and remembered after a failed login. */
const MAX_USER = 256;

export interface AccessParts {
  readonly observe: Observe;
  readonly log: Logger;
  readonly isTls: boolean;
}

/** The session of a request, and its user's present rights. */
export interface Access {
  readonly session: WebSession;
  readonly rights: Rights;
  /** Whether the session lasts, and its user has the same rights, some time later. */
  stillHolds(): boolean;
}

export type Env = { Variables: { access: Access } };
export type WebContext = Context<Env>;

/**
 * `/login`, `/session` and `/logout`, and a check of everything that is added to the application after this.
 * @param onLogout called after a session has been ended
 */
export function withAccess(app: Hono<Env>, { observe, log, isTls }: AccessParts, onLogout: () => void): void {
  const sessions = new WebSessions();
  const attempts = new Attempts();
  // the prefix makes browsers refuse the cookie from other hosts and without TLS
  const cookie = isTls ? '__Host-pgswitchyard' : 'pgswitchyard';

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
    // a session that the browser had before is not taken over
    sessions.end(getCookie(c, cookie));
    const key = sessions.begin(user, address);
    setCookie(c, cookie, key, { path: '/', httpOnly: true, sameSite: 'Strict', secure: isTls });
    c.header('Cache-Control', 'no-store');
    return c.json(describe(sessions.find(key)!, rights));
  });

  app.use(async (c, next) => {
    const key = getCookie(c, cookie);
    const session = sessions.find(key);
    // as of now: a RELOAD may have taken the user's rights away
    const rights = session === null ? null : rightsOfUser(session.user, observe.config);
    if (session === null || rights === null) return c.json({ error: 'log in first' }, 401);
    const isSafe = c.req.method === 'GET' || c.req.method === 'HEAD';
    if (!isSafe && c.req.header('x-csrf-token') !== session.csrfToken)
      return c.json({ error: 'the request lacks its token' }, 403);
    const stillHolds = (): boolean =>
      sessions.lasts(key) && rightsOfUser(session.user, observe.config) === rights;
    c.set('access', { session, rights, stillHolds });
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
    onLogout();
    return c.json({});
  });
}

function describe({ user, csrfToken }: WebSession, rights: Rights): Record<string, string> {
  return { user, rights, csrfToken };
}

function credentialsOf(given: unknown): { readonly user: string | null; readonly password: string | null } {
  const { user, password } = (given ?? {}) as { readonly user?: unknown; readonly password?: unknown };
  return {
    user: typeof user === 'string' && user !== '' && user.length <= MAX_USER ? user : null,
    password: typeof password === 'string' && password !== '' ? password : null,
  };
}

/** Of the other end of the connection: headers of proxies in between can be made up. */
function addressOf(c: Context): string {
  return socketOf(c)?.remoteAddress ?? '';
}

/** The answer to a request may take long, while neither side sends anything: its connection is not closed for that. */
export function allowSilence(c: Context, ms: number): void {
  socketOf(c)?.setTimeout(ms);
}

function socketOf(c: Context): Socket | undefined {
  const { incoming } = c.env as { readonly incoming?: { readonly socket: Socket } };
  return incoming?.socket;
}
