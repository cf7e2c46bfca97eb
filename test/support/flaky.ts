/** A TCP relay that misbehaves on demand. The faults are named as Toxiproxy names its toxics. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { Scope } from './scope.ts';

/** The treatment of one direction's bytes. Change it at any time: it is read for each chunk. */
export interface Toxics {
  /** Hold each chunk back for this time. */
  latencyMs?: number;
  /** Pass the bytes on in pieces of this size, each its own write. */
  sliceBytes?: number;
  /** Keep the bytes; they follow, in order, once this is false again and `release()` is called. */
  stall?: boolean;
  /** Drop the bytes: a network that has gone. */
  blackHole?: boolean;
  /** Pass on this many more bytes, then cut the connection. */
  dropAfterBytes?: number;
}

interface Pair {
  client: Socket;
  upstream: Socket;
}

/** Sits between two programs: connect to `port` instead of the target. */
export class FlakyRelay {
  readonly toUpstream: Toxics = {};
  readonly toClient: Toxics = {};
  readonly #target: { host: string; port: number };
  #port = 0;
  #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #held: (() => void)[] = [];

  private constructor(target: { host: string; port: number }) {
    this.#target = target;
    this.#server = this.#makeServer();
  }

  #makeServer(): Server {
    // Half-open connections are passed on as such.
    return createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
  }

  static async start(scope: Scope, target: { host?: string; port: number }): Promise<FlakyRelay> {
    const relay = new FlakyRelay({ host: '127.0.0.1', ...target });
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    relay.#port = (relay.#server.address() as AddressInfo).port;
    scope.after(() => relay.stop());
    return relay;
  }

  get host(): string {
    return '127.0.0.1';
  }

  get port(): number {
    return this.#port;
  }

  /** New connections are refused, as by a machine where nothing listens; existing ones continue. */
  set refuse(refused: boolean) {
    if (refused === !this.#server.listening) return;
    if (refused) this.#server.close();
    else this.#server = this.#makeServer().listen(this.#port, '127.0.0.1');
  }

  get connections(): number {
    return this.#pairs.size;
  }

  #accept(client: Socket): void {
    const upstream = connect({ ...this.#target, allowHalfOpen: true, noDelay: true });
    const pair = { client, upstream };
    this.#pairs.add(pair);
    this.#pump(client, upstream, this.toUpstream, pair);
    this.#pump(upstream, client, this.toClient, pair);
  }

  #pump(from: Socket, to: Socket, toxics: Toxics, pair: Pair): void {
    // Chunks leave in order of arrival, whatever their delays.
    let turn = Promise.resolve();
    const inTurn = (act: () => void): void => {
      const wait = this.#wait(toxics);
      turn = turn.then(() => wait).then(act);
    };
    from.on('data', (chunk: Buffer) => {
      if (toxics.blackHole === true) return;
      inTurn(() => this.#pass(chunk, to, toxics, pair));
    });
    from.on('end', () => inTurn(() => to.end()));
    from.on('error', () => to.destroy());
    from.on('close', () => {
      inTurn(() => to.destroySoon());
      this.#pairs.delete(pair);
    });
  }

  #wait(toxics: Toxics): Promise<void> {
    if (toxics.stall === true) return new Promise((resolve) => this.#held.push(resolve));
    const { latencyMs } = toxics;
    if (latencyMs === undefined) return Promise.resolve();
    return new Promise((resolve) => setTimeout(resolve, latencyMs).unref());
  }

  #pass(chunk: Buffer, to: Socket, toxics: Toxics, pair: Pair): void {
    let bytes = chunk;
    if (toxics.dropAfterBytes !== undefined) {
      bytes = chunk.subarray(0, toxics.dropAfterBytes);
      toxics.dropAfterBytes -= bytes.length;
    }
    const size = toxics.sliceBytes ?? bytes.length;
    for (let at = 0; at < bytes.length; at += size) to.write(bytes.subarray(at, at + size));
    if (toxics.dropAfterBytes === 0 && bytes.length < chunk.length) {
      to.end();
      pair.client.destroySoon();
      pair.upstream.destroySoon();
    }
  }

  /** Releases the bytes that `stall` has kept. */
  release(): void {
    for (const go of this.#held.splice(0)) go();
  }

  /** Ends the upstream's direction (or the client's) of all connections, and leaves the other one open. */
  halfClose(side: 'upstream' | 'client'): void {
    for (const pair of this.#pairs) pair[side].end();
  }

  /** Cuts all connections with a reset. */
  reset(): void {
    for (const { client, upstream } of this.#pairs) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
  }

  async stop(): Promise<void> {
    this.reset();
    this.release();
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }
}
