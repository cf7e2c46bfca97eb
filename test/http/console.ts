/** A proxy with the web console, and browsers without a window that use its API. */
import assert from 'node:assert/strict';
import { after, type TestContext } from 'node:test';
import { Bouncer, type BouncerOptions } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';

export const cluster = await Cluster.start({ after });
const RULE = `export function routing_rules(): string | null { return null; }`;

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export interface Event {
  readonly event: string;
  readonly data: unknown;
}

export class Events {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  readonly close: () => void;
  #text = '';

  constructor(reader: ReadableStreamDefaultReader<Uint8Array>, close: () => void) {
    this.#reader = reader;
    this.close = close;
  }

  /** The next event; comments are left out. */
  async next(): Promise<Event> {
    for (;;) {
      const end = this.#text.indexOf('\n\n');
      if (end >= 0) {
        const [, event, data] = /^event: (.*)\ndata: (.*)$/.exec(this.#text.slice(0, end)) ?? [];
        this.#text = this.#text.slice(end + 2);
        if (event !== undefined) return { event, data: JSON.parse(data!) };
        continue;
      }
      const { value, done } = await this.#reader.read();
      if (done) throw new Error('the stream has ended');
      this.#text += this.#decoder.decode(value, { stream: true });
    }
  }

  /** When the proxy has ended it. */
  async ended(): Promise<void> {
    while (!(await this.#reader.read()).done);
  }
}

/** A browser: it keeps its cookie and its token. */
export class Browser {
  readonly #base: string;
  cookie = '';
  token = '';

  constructor(base: string) {
    this.#base = base;
  }

  async ask(
    method: string,
    path: string,
    body?: unknown,
    more: Record<string, string> = {},
  ): Promise<Answer> {
    const answer = await fetch(`${this.#base}${path}`, {
      method,
      headers: {
        cookie: this.cookie,
        'x-csrf-token': this.token,
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...more,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const [cookie] = answer.headers.getSetCookie();
    if (cookie !== undefined) this.cookie = cookie.split(';')[0]!;
    const text = await answer.text();
    return {
      status: answer.status,
      body: text.startsWith('{') || text.startsWith('[') ? JSON.parse(text) : text,
    };
  }

  /** A stream of server-sent events. */
  async events(path: string): Promise<Events> {
    const ending = new AbortController();
    const answer = await fetch(`${this.#base}${path}`, {
      headers: { cookie: this.cookie },
      signal: ending.signal,
    });
    assert.equal(answer.status, 200, path);
    assert.equal(answer.headers.get('content-type'), 'text/event-stream');
    return new Events(answer.body!.getReader(), () => ending.abort());
  }

  async login(user: string, password: string): Promise<number> {
    const { status, body } = await this.ask('POST', '/login', { user, password });
    this.token = (body as { csrfToken?: string }).csrfToken ?? '';
    return status;
  }

  async statement(text: string): Promise<{ tag: string; error: { code: string } | null; rows: string[][] }> {
    return (await this.ask('POST', '/statement', { statement: text })).body as never;
  }
}

export interface Web {
  readonly bouncer: Bouncer;
  /** `http://127.0.0.1:PORT` */
  readonly base: string;
  browser(): Browser;
  /** a browser whose user has logged in */
  as(user: string): Promise<Browser>;
}

export async function start(t: TestContext, options: BouncerOptions = {}): Promise<Web> {
  const port = await freePort();
  const bouncer = await Bouncer.start(t, {
    databases: { db: cluster.connectionString(), acme: cluster.connectionString() },
    userlist: { boss: 'b', watch: 'w', ops: 'o', nobody: 'n' },
    files: { 'user-functions/acme/routing_rules.ts': RULE },
    ini: '[tenants]\nacme = databases=acme admin_users=ops\n',
    ...options,
    settings: {
      http_listen_port: port,
      admin_users: 'boss, pgbouncer',
      stats_users: 'watch',
      ...options.settings,
    },
  });
  const base = `http://127.0.0.1:${port}`;
  const browser = (): Browser => new Browser(`${base}/api`);
  const as = async (user: string): Promise<Browser> => {
    const one = browser();
    assert.equal(await one.login(user, user[0]!), 200);
    return one;
  };
  return { bouncer, base, browser, as };
}
