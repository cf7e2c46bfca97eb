/** A relay to a real server that can end a connection right after one of its answers, as a shutdown may at any time. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import * as raw from './raw.ts';
import type { Scope } from './scope.ts';

/** The last message of a server that is shut down. */
export const SHUTDOWN = raw.message(
  'E',
  Buffer.from('SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0'),
);

/** The treatment of the answer to a query. */
export interface Fault {
  /** matches the text of a Query or Parse */
  readonly query: RegExp;
  /** bytes that replace the answer; without them the answer arrives, and the last words in the same write */
  readonly answer?: Buffer;
  /** bytes of the last words that arrive with the answer; the others follow in a write of their own. Default: all */
  readonly split?: number;
}

/** Connect to `port` instead of the server. */
export class LastWords {
  readonly host = '127.0.0.1';
  /** Future faults: each happens once, in this order, and then the connection ends. */
  readonly faults: Fault[] = [];
  /** connections that have logged in, by application_name */
  readonly logins: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(target: { host: string; port: number }) {
    this.#server = createServer({ noDelay: true }, (client) => this.#accept(client, target));
  }

  static async start(scope: Scope, target: { host: string; port: number }): Promise<LastWords> {
    const relay = new LastWords(target);
    relay.#server.listen(0, relay.host);
    await once(relay.#server, 'listening');
    scope.after(() => relay.stop());
    return relay;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #accept(client: Socket, target: { host: string; port: number }): void {
    const upstream = connect({ ...target, noDelay: true });
    let fault: Fault | null = null;
    let answer = Buffer.alloc(0);
    for (const socket of [client, upstream]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.on('data', (chunk: Buffer) => {
      const [next] = this.faults;
      if (
        next !== undefined &&
        /[QP]/.test(String.fromCharCode(chunk[0]!)) &&
        next.query.test(chunk.toString('latin1'))
      ) {
        this.faults.shift();
        fault = next;
        if (next.answer !== undefined) return void client.end(next.answer);
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      if (fault === null) return void client.write(chunk);
      answer = Buffer.concat([answer, chunk]);
      // ReadyForQuery is the only message of six bytes that ends an answer
      if (answer.toString('latin1', answer.length - 6, answer.length - 1) !== 'Z\0\0\0\x05') return;
      const { split = SHUTDOWN.length } = fault;
      client.write(Buffer.concat([answer, SHUTDOWN.subarray(0, split)]), () =>
        client.end(SHUTDOWN.subarray(split)),
      );
    });
  }
}
