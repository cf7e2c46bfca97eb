/** Cancel requests on their way to one pool's servers, or to one peer. Their number at a time is limited. */
import type { IdCounter } from '../telemetry/id-counter.ts';
import { Slots } from './slots.ts';

/** A separate connection that takes one cancel request to a server or to a peer. */
export class CancelDelivery {
  readonly id: number;
  /** The client that asked for it. */
  readonly requesterId: number;
  /** ms of performance.now() */
  readonly startedAt = performance.now();
  #isSent = false;

  constructor(id: number, requesterId: number) {
    this.id = id;
    this.requesterId = requesterId;
  }

  /** The connection exists, and the request has been sent on it. */
  get isSent(): boolean {
    return this.#isSent;
  }

  noteSent(): void {
    this.#isSent = true;
  }
}

export class Cancels {
  readonly #deliveries = new Map<number, CancelDelivery>();
  readonly #slots = new Slots();

  /** By requester. */
  get deliveries(): ReadonlyMap<number, CancelDelivery> {
    return this.#deliveries;
  }

  /** The number of requests that were sent and not yet taken. */
  get active(): number {
    let count = 0;
    for (const { isSent } of this.#deliveries.values()) if (isSent) count++;
    return count;
  }

  /** The number of requests whose connection is being made. */
  get connecting(): number {
    return this.#deliveries.size - this.active;
  }

  /** The number of requests that were not yet sent, for lack of a place or a connection. */
  get waiting(): number {
    return this.#slots.waiting + this.connecting;
  }

  /** Waits for a place and holds it during `work`. Rejects with the signal's reason if none comes free. */
  async inTurn<T>(limit: number, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#slots.take(limit, signal);
    try {
      return await work();
    } finally {
      this.#slots.free();
    }
  }

  /** Registers a delivery for the duration of `send`. */
  async deliver(
    ids: IdCounter,
    requesterId: number,
    send: (delivery: CancelDelivery) => Promise<void>,
  ): Promise<void> {
    const delivery = new CancelDelivery(ids.next(), requesterId);
    this.#deliveries.set(requesterId, delivery);
    try {
      await send(delivery);
    } finally {
      this.#deliveries.delete(requesterId);
    }
  }
}
