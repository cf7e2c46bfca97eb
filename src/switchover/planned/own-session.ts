/** Sessions at nodes for SWITCHOVER alone. */
import { openServer } from '../../pool/connect.ts';
import { ControlError, runControl, type Row } from '../../pool/control.ts';
import type { Pool } from '../../pool/pool.ts';
import type { Server } from '../../pool/server.ts';
import type { Target } from '../../pool/socket.ts';

/** Sessions of this name belong to a proxy and are not ended when a writer is fenced. */
export const OWN_NAMES: readonly string[] = ['pgswitchyard probe', 'pgswitchyard switchover'];

/** A connection to a node for SWITCHOVER alone, independent of pools and probes. */
export class OwnSession {
  readonly #server: Server;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(server: Server) {
    this.#server = server;
  }

  /**
   * @param pool whose user it logs in as
   * @param timeoutMs for the connection and the login
   * @throws ConnectError, LoginError, or an Error after the time has passed
   */
  static async open(pool: Pool, target: Target, timeoutMs: number): Promise<OwnSession> {
    const attempt = new AbortController();
    let made: Server | null = null;
    const timer = setTimeout(() => {
      attempt.abort(new Error(`no connection within ${timeoutMs} ms`));
      made?.close('connect timeout');
    }, timeoutMs);
    const parameters = pool.startupParameters().filter(([name]) => name !== 'application_name');
    parameters.push(['application_name', OWN_NAMES[1]!]);
    try {
      const { server } = await openServer(pool, target, {
        purpose: 'probe',
        parameters,
        signal: attempt.signal,
        onServer: (each) => {
          made = each;
        },
      });
      if (server.state === 'closed') throw new Error('server conn crashed?');
      server.moveTo('tested');
      return new OwnSession(server);
    } catch (error) {
      (made as Server | null)?.close('switchover failed', { notify: false });
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** process ID of the session at the server */
  get pid(): number {
    return this.#server.pid;
  }

  get isClosed(): boolean {
    return this.#server.state === 'closed';
  }

  /** Runs queries one after the other. @throws ControlError; the session is closed if no answer comes in time */
  query(sql: string, timeoutMs: number): Promise<Row[]> {
    const answer = this.#queue.then(() => {
      if (this.isClosed) throw new ControlError('the connection is lost', '08006');
      return runControl(this.#server, sql, { timeoutMs });
    });
    this.#queue = answer.catch(() => {});
    return answer;
  }

  close(): void {
    if (!this.isClosed) this.#server.close('switchover is over', { notify: false });
  }
}

/** A string constant of SQL. */
export function literal(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}
