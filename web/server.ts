/** Requests to the proxy's API. */

export interface Session {
  readonly user: string;
  /** `tenant`: an administrator of tenants only */
  readonly rights: 'admin' | 'watcher' | 'tenant';
  readonly csrfToken: string;
}

/** The answer to a statement of the console's language. */
export interface Answer {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | null)[])[];
  readonly tag: string;
  readonly notices: readonly string[];
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly detail: string | null;
    readonly hint: string | null;
  } | null;
}

/** Figures of a few seconds; src/http/web/history.ts makes them. */
export interface Point {
  readonly atMs: number;
  readonly queriesPerSecond: number;
  readonly transactionsPerSecond: number;
  readonly errorsPerSecond: number;
  readonly p50Ms: number | null;
  readonly p99Ms: number | null;
  readonly clients: number;
  readonly waiting: number;
  readonly servers: number;
  readonly longestWaitMs: number;
}

export interface LogLine {
  readonly atMs: number;
  readonly level: string;
  readonly text: string;
}

export interface Entry {
  readonly section: string;
  readonly key: string;
  /** secrets are stars */
  readonly value: string;
  /** file and line, or variable */
  readonly place: string;
}

/** The session has ended, or was never there. */
export class LoggedOut extends Error {}

let csrfToken = '';

async function ask<Result>(method: 'GET' | 'POST', path: string, body?: unknown): Promise<Result> {
  const answer = await fetch(`api${path}`, {
    method,
    headers: {
      'x-csrf-token': csrfToken,
      ...(body !== undefined && { 'content-type': 'application/json' }),
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const given = (await answer.json()) as Result & { readonly error?: unknown };
  if (answer.status === 401 && path !== '/login') throw new LoggedOut();
  if (!answer.ok) throw new Error(String(given.error));
  return given;
}

function begin(session: Session): Session {
  ({ csrfToken } = session);
  return session;
}

/** @throws Error with the reason for the user */
export async function login(user: string, password: string): Promise<Session> {
  return begin(await ask<Session>('POST', '/login', { user, password }));
}

/** The session that the browser's cookie belongs to; null: none. */
export async function session(): Promise<Session | null> {
  try {
    return begin(await ask<Session>('GET', '/session'));
  } catch (error) {
    if (error instanceof LoggedOut) return null;
    throw error;
  }
}

export async function logout(): Promise<void> {
  await ask('POST', '/logout', {});
}

export async function show(table: string): Promise<Answer> {
  return await ask('GET', `/show/${table}`);
}

export async function run(statement: string): Promise<Answer> {
  return await ask('POST', '/statement', { statement });
}

export async function history(): Promise<readonly Point[]> {
  return await ask('GET', '/history');
}

export async function log(): Promise<readonly LogLine[]> {
  return await ask('GET', '/log');
}

export async function configuration(): Promise<readonly Entry[]> {
  return await ask('GET', '/configuration');
}

/** Calls back with each new point, until the returned function is called. */
export function onPoint(callback: (point: Point) => void): () => void {
  const source = new EventSource('api/live');
  source.addEventListener('point', ({ data }) => callback(JSON.parse(String(data)) as Point));
  return () => source.close();
}

/** A name as the console's language wants it. */
export function quoted(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}
