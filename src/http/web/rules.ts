/** What the web console knows about a tenant's functions besides tables: their source, failures in it, and live decisions. */
import { Hono } from 'hono';
import type { SSEStreamingApi } from 'hono/streaming';
import { isTenantAdmin } from '../../admin/entrance.ts';
import type { DecisionSample } from '../../telemetry/snapshots/decisions.ts';
import { TAP } from '../../functions/limits.ts';
import type { Access, Env } from './access.ts';
import { failuresOf } from './failures.ts';
import type { StatementParts } from './statement.ts';
import { quietly, Streams, untilEither } from './streams.ts';

/** Samples that wait for a browser which reads slowly: the oldest are left out. */
const MOST_WAITING = 100;
/** Streams of decisions that one user may have: a tenant's administrators must not keep all others from watching. */
const MOST_OF_USER = 3;
const TOO_MANY = 'too many consoles watch decisions';
/** A stream looks this often whether its session still lasts. */
const CHECK_MS = 5_000;

export function tenantRoutes(parts: StatementParts): Hono<Env> {
  const { observe, steer } = parts;
  const app = new Hono<Env>();
  const streams = new Streams({ all: TAP.watchers, ofUser: MOST_OF_USER });
  const mayManage = ({ rights, session }: Access, tenant: string): boolean =>
    rights === 'admin' || isTenantAdmin(session.user, tenant, observe.config);

  // Decisions of all tenants that the user may see, or of one of them.
  app.get('/decisions', (c) => {
    const { session, rights, stillHolds } = c.get('access');
    const only = c.req.query('tenant');
    if (!streams.hasRoomFor(session.user)) return c.json({ error: TOO_MANY }, 503);
    const sees = (tenant: string): boolean =>
      (only === undefined || tenant === only) &&
      (rights !== 'tenant' || isTenantAdmin(session.user, tenant, observe.config));
    const tail = new Tail();
    const end = steer.functions.tap.watch(sees, (sample) => tail.add(sample));
    if (end === null) return c.json({ error: TOO_MANY }, 503);
    return streams.open(c, session.user, async (stream, signal) => {
      try {
        await tail.write(stream, signal, stillHolds);
      } finally {
        end();
      }
    });
  });

  // A tenant that the user may not see looks like one that does not exist.
  app.use('/:tenant/*', async (c, next) => {
    const tenant = c.req.param('tenant');
    const access = c.get('access');
    const isVisible = access.rights === 'watcher' || mayManage(access, tenant);
    if (!isVisible || !steer.functions.administration.hasTenant(tenant))
      return c.json({ error: 'no such tenant' }, 404);
    await next();
    return;
  });

  app.get('/:tenant/versions/:number/source', async (c) => {
    const { tenant, number } = c.req.param();
    const access = c.get('access');
    if (!mayManage(access, tenant)) return c.json({ error: 'permission denied' }, 403);
    const source = await steer.functions.administration.sourceOf(tenant, Number(number), roleOf(access));
    if (source === null) return c.json({ error: 'no such version' }, 404);
    const { record, files, code } = source;
    return c.json({ number: record.number, hash: record.hash, fileCount: record.fileCount, files, code });
  });

  app.get('/:tenant/failures', async (c) => {
    const { tenant } = c.req.param();
    const access = c.get('access');
    const role = mayManage(access, tenant) ? roleOf(access) : null;
    return c.json(await failuresOf(steer.functions.administration, tenant, role));
  });
  return app;
}

function roleOf({ rights }: Access): 'operator' | 'tenant' {
  return rights === 'admin' ? 'operator' : 'tenant';
}

/** Samples on their way to one browser. */
class Tail {
  readonly #samples: DecisionSample[] = [];
  #next = Promise.withResolvers<void>();

  add(sample: DecisionSample): void {
    this.#samples.push(sample);
    if (this.#samples.length > MOST_WAITING) this.#samples.shift();
    this.#next.resolve();
  }

  async write(stream: SSEStreamingApi, signal: AbortSignal, mayGoOn: () => boolean): Promise<void> {
    const timer = setInterval(() => this.#next.resolve(), CHECK_MS);
    const quiet = quietly(stream);
    try {
      while (!signal.aborted && mayGoOn()) {
        const samples = this.#samples.splice(0);
        await quiet(samples.map((sample) => `event: decision\ndata: ${JSON.stringify(sample)}\n\n`).join(''));
        await untilEither(this.#next.promise, signal);
        this.#next = Promise.withResolvers<void>();
      }
    } finally {
      clearInterval(timer);
    }
  }
}
