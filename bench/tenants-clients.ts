/** Clients of the benchmark of tenants: each sends one query after the other on a connection of its own. */
import { connect, type Socket } from 'node:net';
import { query, startupMessage } from '../src/wire/messages.ts';

const READY = 0x5a;
const ERROR = 0x45;

export class Client {
  readonly #socket: Socket;
  /** bytes of a message that has not arrived as a whole */
  #rest: Buffer = Buffer.alloc(0);
  #isFailed = false;
  #onReady: (isFailed: boolean) => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.#onReady(true));
  }

  /** Logs in, without a password. */
  static async connect(port: number, database: string): Promise<Client> {
    const client = new Client(connect(port, '127.0.0.1'));
    const startup = startupMessage(0x30000, [
      ['user', 'postgres'],
      ['database', database],
    ]);
    if (await client.#send(startup)) throw new Error(`no login to ${database} on port ${port}`);
    return client;
  }

  /** @returns whether it failed */
  ask(sql: string): Promise<boolean> {
    return this.#send(query(sql));
  }

  close(): void {
    this.#onReady = () => {};
    this.#socket.destroy();
  }

  #send(bytes: Buffer): Promise<boolean> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve(true);
      this.#isFailed = false;
      this.#onReady = resolve;
      this.#socket.write(bytes);
    });
  }

  #read(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 5) {
      const size = bytes.readInt32BE(1) + 1;
      if (bytes.length < size) break;
      if (bytes[0] === ERROR) this.#isFailed = true;
      if (bytes[0] === READY) this.#onReady(this.#isFailed);
      bytes = bytes.subarray(size);
    }
    this.#rest = bytes;
  }
}

/** A load's outcome. */
export interface Outcome {
  /** of each query, in ms */
  readonly tookMs: number[];
  failed: number;
  seconds: number;
}

export const nothing = (): Outcome => ({ tookMs: [], failed: 0, seconds: 0 });

/**
 * Each client asks at regular times, whatever happens to its last query: a late answer counts from the time when its question
 * was due.
 * @param everyMs of each client; 0: as soon as it has been answered
 */
export async function ask(
  clients: readonly Client[],
  seconds: number,
  everyMs: number,
  into: Outcome,
): Promise<void> {
  const begin = performance.now();
  const end = begin + seconds * 1_000;
  await Promise.all(
    clients.map(async (client, i) => {
      let due = begin + (everyMs * i) / clients.length;
      for (;;) {
        if (everyMs > 0) await at(due);
        const from = everyMs > 0 ? due : performance.now();
        if (from >= end) return;
        if (await client.ask('SELECT 1')) into.failed++;
        into.tookMs.push(performance.now() - from);
        due += everyMs;
      }
    }),
  );
  into.seconds += seconds;
}

/** Waits until a time of performance.now(). A timer alone is up to 1 ms early or late. */
function at(time: number): Promise<void> {
  return new Promise((resolve) => {
    const leftMs = time - performance.now();
    if (leftMs <= 0) resolve();
    else setTimeout(resolve, leftMs);
  });
}

/** @param part 0.99: the 99th percentile; 1: the longest */
export function percentile(tookMs: readonly number[], part: number): number {
  const sorted = tookMs.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
}
