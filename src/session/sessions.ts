/** The set of all clients, and the context and handlers that each client gets. */
import type { Socket } from 'node:net';
import type { Functions } from '../functions/functions.ts';
import type { Database } from '../pool/database.ts';
import type { Context } from '../pool/context.ts';
import type { LifecycleView } from '../lifecycle.ts';
import type { Directory } from '../pool/directory.ts';
import type { Logger } from '../telemetry/log.ts';
import type { QuerySampler } from '../telemetry/sampler.ts';
import type { ClientTls } from '../auth/tls.ts';
import { clientErrors, type ClientError } from '../wire/errors.ts';
import type { Config } from '../config/config.ts';
import type { TrackedParameters } from '../pool/parameters.ts';
import type { Peers } from '../pool/peers.ts';
import { Client, type ClientContext, type ClientHandlers } from './client.ts';
import { leave } from './leave.ts';
import { CancelKeys } from './state/cancel-keys.ts';
import { leaveNode, takeLent } from './link/link.ts';
import { unlinkIfDone } from './link/unlink.ts';
import { decided } from './query/decide.ts';
import { relayServerBytes } from './relay/server-bytes.ts';
import { refuseWaiting } from './send/refuse-waiting.ts';
import { serverLost } from './resend/server-lost.ts';
import { startSession } from './login/startup.ts';
import { StatementRegistry } from './state/shared.ts';

const HANDLERS: ClientHandlers = {
  decided,
  serverBytes: relayServerBytes,
  serverLost,
  serverLent: takeLent,
  refused: refuseWaiting,
  nodeGone: leaveNode,
  flushed: unlinkIfDone,
  left: leave,
};

export interface SessionsOptions {
  readonly context: Context;
  readonly directory: Directory;
  readonly peers: Peers;
  readonly functions: Functions;
  readonly lifecycle: LifecycleView;
  readonly sampler: QuerySampler;
}

/** All clients of a proxy, and what they share. */
export class Sessions implements ClientContext {
  readonly directory: Directory;
  readonly peers: Peers;
  readonly functions: Functions;
  readonly log: Logger;
  readonly statements = new StatementRegistry();
  /** the clients' own texts of statements that user functions have rewritten; no server has them */
  readonly originals = new StatementRegistry();
  readonly clients = new Set<Client>();
  /** clients of the admin database: each counts for its user */
  readonly onConsole = new Set<Client>();
  /** sockets of departed clients with unsent bytes (leave.ts) */
  readonly lingering = new Set<Socket>();
  readonly cancelKeys = new CancelKeys<Client>();
  readonly lifecycle: LifecycleView;
  readonly sampler: QuerySampler;
  #tls: ClientTls | null = null;
  /** answers on the admin database; null until there is a console */
  #console: AdminConsole | null = null;
  readonly #context: Context;
  readonly #drained = new Set<() => void>();

  constructor({ context, directory, peers, functions, lifecycle, sampler }: SessionsOptions) {
    this.sampler = sampler;
    this.#context = context;
    this.log = context.log;
    this.directory = directory;
    this.peers = peers;
    this.functions = functions;
    this.lifecycle = lifecycle;
  }

  /** TLS toward clients; null: not offered */
  get tls(): ClientTls | null {
    return this.#tls;
  }

  /** The TLS offered to new connections (start, RELOAD, SET). */
  offerTls(tls: ClientTls | null): void {
    this.#tls = tls;
  }

  /** From now on the admin database answers. */
  openConsole(console: AdminConsole): void {
    this.#console = console;
  }

  get config(): Config {
    return this.#context.config;
  }

  get tracked(): TrackedParameters {
    return this.#context.tracked;
  }

  /** Takes over a new connection. */
  accept(socket: Socket, isUnix: boolean): Client {
    const client = new Client(this, HANDLERS, this.#context.ids.next(), socket, isUnix);
    this.clients.add(client);
    startSession(client);
    if (this.lifecycle.isSuspended) socket.pause();
    return client;
  }

  /** A client has gone, and no longer counts. */
  forget(client: Client): void {
    this.clients.delete(client);
    this.functions.forgetClient(client.id);
    this.cancelKeys.delete(client.login.cancelKey);
    if (client.pool !== null) {
      client.pool.leave();
      this.directory.users.left(client.user);
    }
    if (this.onConsole.delete(client)) this.directory.users.left(client.user);
    if (this.#drained.size === 0 || this.hasUsers) return;
    for (const resolve of this.#drained) resolve();
    this.#drained.clear();
  }

  /** Connections that max_client_conn counts. */
  get connectionCount(): number {
    return this.clients.size + this.lingering.size;
  }

  /** Whether there are clients other than operators on the console, who may watch to the end. */
  get hasUsers(): boolean {
    for (const client of this.clients) if (!client.isConsole) return true;
    return false;
  }

  /** Resolves when the last client has left. */
  async untilNoClients(): Promise<void> {
    if (!this.hasUsers) return;
    await new Promise<void>((resolve) => {
      this.#drained.add(resolve);
    });
  }

  /**
   * Disconnects the clients of a database, or (null) all but operators, who stay until the process ends. If an entry was
   * removed, the clients that logged in to it are disconnected too, wherever they were moved: their functions are gone.
   */
  drop(database: Database | null, error: ClientError): void {
    for (const client of [...this.clients]) {
      const isMeant =
        database === null
          ? !client.isConsole
          : client.database === database || (database.removed && client.entry === database.name);
      if (isMeant) client.close(error.message, error);
    }
  }

  /** The client has logged in to the admin database. */
  enterConsole(client: Client): void {
    if (this.#console === null)
      client.close('no such database: pgbouncer', clientErrors.noSuchDatabase('pgbouncer'));
    else this.#console.enter(client);
  }

  /** The client is on the console from now on. */
  countOnConsole(client: Client): void {
    this.onConsole.add(client);
    this.directory.users.get(client.user).enter();
  }
}

/** The admin database, as sessions see it. */
export interface AdminConsole {
  /** A client has authenticated for the admin database: it is welcomed, or refused if it has no rights there. */
  enter(client: Client): void;
}
