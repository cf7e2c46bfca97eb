/** The web console's API: statements of the console's language, live topics, and what is known of tenants besides. */
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { allowSilence, withAccess, type AccessParts, type Env } from './access.ts';
import { Feed, type Channel } from './feed.ts';
import { tenantRoutes } from './rules.ts';
import { runStatement } from './statement.ts';
import { Streams, writeLive } from './streams.ts';
import { accessTo, make, type TopicParts } from './topics.ts';

const MAX_BODY = 128 * 1024;
/** PAUSE and SWITCHOVER wait for transactions to end. */
const LONGEST_STATEMENT_MS = 60 * 60_000;
/** Topics of one stream: a page has five tables at most. */
const MAX_TOPICS = 8;

export interface ApiParts extends AccessParts, TopicParts {}

export function api(parts: ApiParts): Hono<Env> {
  const { history, log } = parts;
  const streams = new Streams();
  const feed = new Feed(
    (topic, audience) => make(topic, audience, parts),
    (error) => log.error({ event: 'bug', err: error }, `web console: ${error.message}`),
  );
  history.onPoint(() => void feed.make());
  const app = new Hono<Env>();
  app.use(
    bodyLimit({ maxSize: MAX_BODY, onError: (c) => c.json({ error: 'the request is too large' }, 413) }),
  );
  // nobody reads the body of the answer to a HEAD, so a stream in it would never end
  app.use((c, next) =>
    c.req.method === 'HEAD' ? Promise.resolve(c.body(null, 405, { Allow: 'GET, POST' })) : next(),
  );
  // streams of the session end
  withAccess(app, parts, () => feed.soon());

  app.post('/statement', async (c) => {
    const { statement } = ((await c.req.json().catch(() => null)) ?? {}) as { statement?: unknown };
    if (typeof statement !== 'string') return c.json({ error: 'a statement is needed' }, 400);
    const { session, rights } = c.get('access');
    allowSilence(c, LONGEST_STATEMENT_MS);
    const asker = { user: session.user, address: session.address, rights, signal: c.req.raw.signal };
    const answer = await runStatement(asker, statement, parts);
    // all consoles show the effect
    if (rights !== 'watcher' && answer.tag !== 'SHOW' && answer.error === null) feed.soon();
    return c.json(answer);
  });

  app.get('/live', (c) => {
    const { session, rights, stillHolds } = c.get('access');
    const topics = [...new Set(c.req.queries('topic') ?? [])];
    const access = topics.map((topic) => accessTo(topic, rights));
    if (topics.length === 0 || topics.length > MAX_TOPICS || access.includes('no topic'))
      return c.json({ error: 'no such topics' }, 400);
    if (access.includes('denied')) return c.json({ error: 'permission denied' }, 403);
    if (!streams.hasRoomFor(session.user)) return c.json({ error: 'too many consoles are open' }, 503);
    return streams.open(c, session.user, async (stream, signal) => {
      const channels: Channel[] = [];
      try {
        for (const topic of topics) {
          const channel = await feed.watch(topic, { user: session.user, rights });
          if (channel !== null) channels.push(channel);
        }
        await writeLive(stream, signal, { feed, channels, mayGoOn: stillHolds });
      } finally {
        for (const channel of channels) feed.unwatch(channel);
      }
    });
  });

  app.get('/history', (c) =>
    c.get('access').rights === 'tenant'
      ? c.json({ error: 'permission denied' }, 403)
      : c.json(history.points),
  );
  app.route('/tenants', tenantRoutes(parts));
  app.notFound((c) => c.json({ error: 'not found' }, 404));
  return app;
}
