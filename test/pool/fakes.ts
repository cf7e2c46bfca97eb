/** A proxy's pools without any PostgreSQL server: connections are objects that a test answers for. */
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { after } from 'node:test';
import { configFromText } from '../../src/config/load.ts';
import type { Config } from '../../src/config/config.ts';
import type { OpenOptions, OpenServer, Opened, ConnectingPool } from '../../src/pool/connect.ts';
import { Context } from '../../src/pool/context.ts';
import type { Database } from '../../src/pool/database.ts';
import { Directory, type Clusters } from '../../src/pool/directory.ts';
import { Pause } from '../../src/pool/pause.ts';
import { Lifecycle } from '../../src/lifecycle.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { LoginError } from '../../src/pool/login.ts';
import { Resolver } from '../../src/pool/resolver.ts';
import { Server } from '../../src/pool/server.ts';
import { ConnectError, type Target } from '../../src/pool/socket.ts';
import { Turnover } from '../../src/pool/turnover.ts';
import type { DedicatedWaiter, Waiter } from '../../src/pool/waiter.ts';
import type { SessionWatch } from '../../src/pool/watch.ts';
import { createLog } from '../../src/telemetry/log.ts';
import type { ClientError } from '../../src/wire/errors.ts';

const QUIET = {
  logfile: '',
  log_format: 'json',
  syslog: false,
  syslog_ident: '',
  syslog_facility: '',
  verbose: 0,
} as const;

/** A socket that keeps everything that is written to it. */
export class FakeSocket extends EventEmitter {
  readonly written: Buffer[] = [];
  destroyed = false;
  writable = true;
  writableLength = 0;
  localAddress = '127.0.0.1';
  localPort = 40000;
  remoteAddress = '127.0.0.1';

  write(bytes: Buffer): boolean {
    this.written.push(bytes);
    return true;
  }

  end(bytes: Buffer): void {
    this.write(bytes);
    this.writable = false;
  }

  destroy(): void {
    this.destroyed = true;
  }

  isPaused(): boolean {
    return false;
  }

  resume(): void {}
}

/** All servers that were made: the remaining ones are closed at the end, because of their timers. */
const made: Server[] = [];
after(() => {
  for (const server of made) server.close('the test is over');
});

/** A connection that a pool has requested and the test has not answered yet. */
export class Attempt {
  readonly target: Target;
  readonly options: OpenOptions;
  readonly #pool: ConnectingPool;
  readonly #done: PromiseWithResolvers<Opened>;

  constructor(
    pool: ConnectingPool,
    target: Target,
    options: OpenOptions,
    done: PromiseWithResolvers<Opened>,
  ) {
    this.#pool = pool;
    this.target = target;
    this.options = options;
    this.#done = done;
  }

  /** The database of the pool that asked. */
  get database(): string {
    return this.#pool.database.name;
  }

  /** The socket exists, and the login has begun. */
  connect(): Server {
    const socket = new FakeSocket() as unknown as Socket;
    const { id = 0, purpose, onServer } = this.options;
    const server = new Server(this.#pool, id, socket, this.target, purpose);
    made.push(server);
    onServer(server);
    return server;
  }

  /** The server has logged in. */
  async succeed(): Promise<Server> {
    const server = this.connect();
    this.#done.resolve({ server, welcome: new Map([['server_version', '17.0']]) });
    await settled();
    return server;
  }

  /** No connection could be made. */
  async fail(error: Error = new ConnectError('connect failed')): Promise<void> {
    this.#done.reject(error);
    await settled();
  }

  /** The server refuses the login. */
  async refuse(code: string, message: string): Promise<void> {
    const fields = new Map([
      ['S', 'FATAL'],
      ['C', code],
      ['M', message],
    ]);
    this.connect();
    await this.fail(new LoginError(`FATAL: ${message}`, fields));
  }
}

/** Lets everything that is already decided take effect. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

export class FakePools {
  readonly context: Context;
  readonly turnover = new Turnover();
  readonly lifecycle = new Lifecycle();
  readonly pause = new Pause(this.turnover, this.lifecycle);
  readonly directory: Directory;
  /** Connections that pools have requested, oldest first, the answered ones included. */
  readonly attempts: Attempt[] = [];
  /** Databases whose first pool was made, and those that were forgotten. */
  readonly told: string[] = [];

  /** @param ini sections of a configuration file, beginning with [databases] */
  constructor(ini: string, aliases: (name: string, directory: Directory) => Database | null = () => null) {
    const log = createLog({ settings: QUIET, quiet: true });
    this.context = new Context(configOf(ini), log);
    const clusters: Clusters = {
      resolveAlias: (name) => aliases(name, this.directory),
      entryOfAlias: (name) => aliases(name, this.directory)?.entry ?? null,
      used: ({ name }) => this.told.push(`used ${name}`),
      forgotten: ({ name }) => this.told.push(`forgotten ${name}`),
    };
    const connect: OpenServer = async (pool, target, options) => {
      const done = Promise.withResolvers<Opened>();
      this.attempts.push(new Attempt(pool, target, options, done));
      const aborted = (): void => done.reject(options.signal.reason as Error);
      options.signal.addEventListener('abort', aborted);
      return await done.promise;
    };
    const resolver = new Resolver({ ttls: () => this.context.settings, onChange: () => {} });
    const { context, lifecycle, turnover } = this;
    this.directory = new Directory({ context, resolver, lifecycle, turnover, clusters, connect });
  }

  /** The pool of a user in a database. */
  pool(database = 'db', user = 'joe'): Pool {
    const found = this.directory.find(database);
    if (found === null) throw new Error(`no such database: ${database}`);
    return this.directory.pool(found, user);
  }

  /** The latest requested connection. */
  get attempt(): Attempt {
    const attempt = this.attempts.at(-1);
    if (attempt === undefined) throw new Error('no connection was asked for');
    return attempt;
  }

  /** The message that was written to a server last: its type and text; '': none. */
  sentTo(server: Server): string {
    const bytes = (server.socket as unknown as FakeSocket).written.at(-1);
    if (bytes === undefined) return '';
    return `${bytes.toString('latin1', 0, 1)}:${bytes.toString('utf8', 5).replace(/\0$/, '')}`;
  }

  /** RELOAD. @returns names of the databases that vanished */
  reconfigure(ini: string): string[] {
    this.context.configure(configOf(ini));
    return this.directory.reconfigure().map(({ name }) => name);
  }
}

/** The watch of a cluster whose answers a test sets. */
export class FakeWatch implements SessionWatch {
  held = false;
  target: Target | null = null;
  epoch = 0;
  mayRetry = true;
  error: ClientError | null = null;
  onLost: (reason: string) => void = () => {};

  refusal(): ClientError | null {
    return this.error;
  }

  serverLost(_server: Server, reason: string): void {
    this.onLost(reason);
  }

  serverError(): boolean {
    return false;
  }

  onHeld(): void {}
  connectFailed(): void {}
  waitWithServer(): void {}
  stopWaiting(): void {}
  onVerdict(): void {}
  transactionBroken(): void {}
}

function configOf(ini: string): Config {
  return configFromText(ini);
}

/** Something that waits for a server, and the result of its wait. */
export class FakeWaiter implements Waiter, DedicatedWaiter {
  readonly waitingSince: number;
  readonly startupParameters: readonly [string, string][] = [['replication', 'true']];
  server: Server | null = null;
  error: ClientError | null = null;

  /** @param agoMs how long it has been waiting already */
  constructor(agoMs = 0) {
    this.waitingSince = performance.now() - agoMs;
  }

  onServer(server: Server): void {
    this.server = server;
  }

  onOwnServer(server: Server): void {
    this.server = server;
  }

  onNoServer(error: ClientError): void {
    this.error = error;
  }

  /** Asks the pool as a client does. */
  acquire(pool: Pool): this {
    this.server = pool.acquire(this);
    return this;
  }

  /** Its present result: 'served', an error's text, or 'waits'. */
  get outcome(): string {
    if (this.server !== null) return 'served';
    return this.error?.message ?? 'waits';
  }
}
