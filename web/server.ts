/** Requests to the proxy's API. */
import type { Point } from '../src/http/web/point.ts';
import type { DecisionSample } from '../src/telemetry/snapshots/decisions.ts';

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
  /** there are more rows */
  readonly isCut: boolean;
  readonly tag: string;
  readonly notices: readonly string[];
  readonly error: {
    readonly code: string;
    readonly message: string;
    readonly detail: string | null;
    readonly hint: string | null;
  } | null;
}

/** A file of a version; src/functions/store/texts.ts makes them. */
export interface SourceFile {
  readonly path: string;
  readonly sha256: string;
  /** null: it is not kept, and has changed since */
  readonly text: string | null;
}

export interface Source {
  readonly number: number;
  readonly hash: string;
  /** those of packages included */
  readonly fileCount: number;
  readonly files: readonly SourceFile[];
  /** what was made of all files; null: it is not kept any more, or not shown */
  readonly code: string | null;
}

export interface Failure {
  readonly atMs: number;
  readonly text: string;
  /** null: the place or the source is not known, or not shown */
  readonly excerpt: {
    readonly file: string;
    readonly line: number;
    readonly column: number;
    /** the number of the first of `lines` */
    readonly from: number;
    readonly lines: readonly string[];
  } | null;
  /** source lines as the bundler shows them; '': none */
  readonly frame: string;
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

/** Calls back if the session has ended. */
export function findSessionEnd(onEnd: () => void): void {
  session().then(
    (found) => {
      if (found === null) onEnd();
    },
    () => {},
  );
}

export async function logout(): Promise<void> {
  await ask('POST', '/logout', {});
}

export async function run(statement: string): Promise<Answer> {
  return await ask('POST', '/statement', { statement });
}

export async function history(): Promise<readonly Point[]> {
  return await ask('GET', '/history');
}

export async function source(tenant: string, number: number): Promise<Source> {
  return await ask('GET', `/tenants/${encodeURIComponent(tenant)}/versions/${number}/source`);
}

export async function failures(tenant: string): Promise<readonly Failure[]> {
  return await ask('GET', `/tenants/${encodeURIComponent(tenant)}/failures`);
}

/**
 * Calls back with decisions, until the returned function is called.
 * @param tenant null: of all tenants that the user may see
 */
export function watchDecisions(
  tenant: string | null,
  onSample: (sample: DecisionSample) => void,
  onRefused: () => void,
): () => void {
  const query = tenant === null ? '' : `?tenant=${encodeURIComponent(tenant)}`;
  const events = new EventSource(`api/tenants/decisions${query}`);
  events.addEventListener('decision', ({ data }) => onSample(JSON.parse(String(data)) as DecisionSample));
  events.addEventListener('error', () => {
    if (events.readyState === EventSource.CLOSED) onRefused();
  });
  return () => events.close();
}

/** A name as the console's language wants it. */
export function quoted(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** The same where anything but a plain name needs quotes: a topic is written in one way only. */
export function topicOf(table: string, tenant: string): string {
  return `SHOW ${table} "${tenant.replaceAll('"', '""')}"`;
}
