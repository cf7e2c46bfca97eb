/**
 * One connection to the store, straight to the database server: statements in turn, each with a time limit, and
 * notifications.
 */
import type { Client, ClientConfig } from 'pg';
import { serverTls } from '../auth/tls.ts';
import type { Settings } from '../config/options.ts';
import type { HostAndPort } from '../config/fleet-store.ts';
import { STORE_CONNECTION } from './limits.ts';
import type { StoreTarget } from './target.ts';

/** The store can't be reached, or does not answer. The message says why. */
export class StoreAway extends Error {}

/** Values are text: nothing in them is trusted to have a form. */
export type Row = Readonly<Record<string, string | null>>;
export type Parameter = string | number | boolean | Buffer | null | readonly number[];
export type Query = (text: string, values?: readonly Parameter[]) => Promise<readonly Row[]>;

export interface ConnectionOptions {
  readonly target: StoreTarget;
  readonly settings: Settings;
  /** the proxy's name in its fleet, which pg_stat_activity shows */
  readonly name: string;
  /** ms; the connection is lost if a statement takes longer */
  readonly answerMs: number;
  /** with the payload, of any length that PostgreSQL allows (8,000 bytes) */
  readonly onNotification?: (payload: string) => void;
  /** called once, unless `close` came first */
  readonly onLost?: (reason: string) => void;
}

/** pg's words if a server without TLS is asked for it. */
const NO_TLS = /does not support SSL/;
/** pg's words if it has no password. */
const NO_PASSWORD = /password must be a (?:non-empty )?string/;

export class StoreConnection {
  readonly #client: Client;
  readonly #answerMs: number;
  readonly #onLost: (reason: string) => void;
  /** the end of the last statement that has been asked for */
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #ended: string | null = null;

  private constructor(client: Client, options: ConnectionOptions) {
    const { onLost = () => {}, onNotification = () => {} } = options;
    this.#client = client;
    this.#answerMs = options.answerMs;
    this.#onLost = onLost;
    client.on('error', (error) => this.#lose(error.message));
    client.on('end', () => this.#lose('the server has closed the connection'));
    client.on('notification', ({ payload }) => onNotification(payload ?? ''));
  }

  /**
   * Connects to the first host that can be written to.
   * @throws StoreAway
   */
  static async open(options: ConnectionOptions): Promise<StoreConnection> {
    const { target } = options;
    const problems: string[] = [];
    for (const host of target.hosts) {
      try {
        return await StoreConnection.#openAt(host, options);
      } catch (error) {
        problems.push(`${host.host}:${host.port}: ${problemOf(error as Error, target)}`);
      }
    }
    throw new StoreAway(problems.join('; '));
  }

  static async #openAt(host: HostAndPort, options: ConnectionOptions): Promise<StoreConnection> {
    const { target, settings } = options;
    const common = clientConfig(host, options);
    const isUnix = host.host.startsWith('/');
    const tls = isUnix ? false : tlsOptions(host, target, settings);
    let client: Client;
    try {
      client = await connected({ ...common, ssl: tls });
    } catch (error) {
      const isOptional = target.sslmode === 'prefer' || target.sslmode === 'allow';
      if (!isOptional || !NO_TLS.test((error as Error).message)) throw error;
      client = await connected({ ...common, ssl: false });
    }
    const connection = new StoreConnection(client, options);
    try {
      const [row] = await connection.query('SELECT pg_is_in_recovery()::text AS standby');
      if (row?.['standby'] !== 'false') throw new StoreAway('it is a standby');
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  get isOpen(): boolean {
    return this.#ended === null;
  }

  /** @throws StoreAway, or pg's DatabaseError: then the connection stays */
  query(text: string, values: readonly Parameter[] = []): Promise<readonly Row[]> {
    return this.exclusively((query) => query(text, values));
  }

  /** Runs statements in a transaction. @throws what `work` throws, after a rollback */
  transaction<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return this.exclusively(async (query) => {
      await query('BEGIN');
      try {
        const result = await work(query);
        await query('COMMIT');
        return result;
      } catch (error) {
        if (this.isOpen) await query('ROLLBACK');
        throw error;
      }
    });
  }

  /** Runs statements with no other one between them. @throws StoreAway if too many wait */
  exclusively<T>(work: (query: Query) => Promise<T>): Promise<T> {
    if (this.#ended !== null) return Promise.reject(new StoreAway(this.#ended));
    if (this.#waiting >= STORE_CONNECTION.queue)
      return Promise.reject(new StoreAway('too many statements wait for it'));
    this.#waiting++;
    const result = this.#last.then(() => work((text, values) => this.#run(text, values)));
    this.#last = result.then(
      () => this.#waiting--,
      () => this.#waiting--,
    );
    return result;
  }

  /** Ends the connection without waiting for the server. */
  close(): void {
    this.#end('the connection was closed');
  }

  async #run(text: string, values: readonly Parameter[] = []): Promise<readonly Row[]> {
    if (this.#ended !== null) throw new StoreAway(this.#ended);
    const answerMs = this.#answerMs;
    const timer = setTimeout(() => this.#lose(`no answer for ${answerMs / 1000} s`), answerMs);
    try {
      const { rows } = await this.#client.query<Record<string, string | null>>(text, [...values]);
      return rows;
    } catch (error) {
      if (this.#ended !== null) throw new StoreAway(this.#ended);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #lose(reason: string): void {
    if (!this.#end(reason)) return;
    this.#onLost(reason);
  }

  #end(reason: string): boolean {
    if (this.#ended !== null) return false;
    this.#ended = reason;
    destroy(this.#client);
    return true;
  }
}

function clientConfig(
  { host, port }: HostAndPort,
  { target, name, answerMs }: ConnectionOptions,
): ClientConfig {
  const { connectMs, serverShare, keepAliveMs } = STORE_CONNECTION;
  const { database, user, password, sslnegotiation } = target;
  const statementMs = Math.round(answerMs * serverShare);
  return {
    host,
    port,
    database,
    user,
    // a function: pg would look for a missing one in the environment and in ~/.pgpass
    password: () => password ?? '',
    sslnegotiation,
    application_name: `pgswitchyard ${name}`.slice(0, 63),
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveMs,
    connectionTimeoutMillis: connectMs,
    statement_timeout: statementMs,
    lock_timeout: Math.round(statementMs / 2),
    idle_in_transaction_session_timeout: statementMs,
    types: { getTypeParser: () => (value: string) => value },
  } as ClientConfig;
}

function tlsOptions(
  { host }: HostAndPort,
  { sslmode }: StoreTarget,
  settings: Settings,
): false | ClientConfig['ssl'] {
  if (sslmode === 'disable') return false;
  return serverTls({ ...settings, server_tls_sslmode: sslmode }, host).options as ClientConfig['ssl'];
}

/** @throws pg's errors */
async function connected(config: ClientConfig): Promise<Client> {
  const { Client } = await import('pg');
  const client = new Client(config);
  // an error after a failed attempt has nobody to report to
  client.on('error', () => {});
  // the time limit covers the login: a server may accept, and then say nothing
  const timer = setTimeout(() => destroy(client), config.connectionTimeoutMillis);
  try {
    await client.connect();
    return client;
  } catch (error) {
    destroy(client);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function destroy(client: Client): void {
  const { connection } = client as unknown as {
    readonly connection: { readonly stream: { destroy(): void } };
  };
  connection.stream.destroy();
}

function problemOf(error: Error, { user, password }: StoreTarget): string {
  if (password === null && NO_PASSWORD.test(error.message))
    return `it asks for a password, and none is known for user "${user}"`;
  return error.message || (error as NodeJS.ErrnoException).code || 'no connection';
}
