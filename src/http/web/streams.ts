/** Server-sent events: the tables that a page shows, as long as its session lasts. */
import type { Context } from 'hono';
import { streamSSE, type SSEStreamingApi } from 'hono/streaming';
import type { Channel, Feed } from './feed.ts';

/** Streams of all consoles at the same time, and of one user. */
const LIMITS: StreamLimits = { all: 48, ofUser: 24 };
/** A stream without news says that it is there, before anything in between takes it for dead. */
const QUIET_MS = 15_000;

export interface StreamLimits {
  readonly all: number;
  readonly ofUser: number;
}

export class Streams {
  readonly #limits: StreamLimits;
  /** by user */
  readonly #open = new Map<string, number>();

  constructor(limits: StreamLimits = LIMITS) {
    this.#limits = limits;
  }

  /** Whether a user may have one more. */
  hasRoomFor(user: string): boolean {
    const all = [...this.#open.values()].reduce((sum, count) => sum + count, 0);
    return all < this.#limits.all && (this.#open.get(user) ?? 0) < this.#limits.ofUser;
  }

  /** @param work writes to the stream until it ends, or `signal` says that the browser has gone */
  open(
    c: Context,
    user: string,
    work: (stream: SSEStreamingApi, signal: AbortSignal) => Promise<void>,
  ): Response {
    this.#count(user, 1);
    const gone = new AbortController();
    return streamSSE(c, async (stream) => {
      stream.onAbort(() => gone.abort());
      try {
        await work(stream, gone.signal);
      } finally {
        this.#count(user, -1);
      }
    });
  }

  #count(user: string, by: number): void {
    const count = (this.#open.get(user) ?? 0) + by;
    if (count === 0) this.#open.delete(user);
    else this.#open.set(user, count);
  }
}

export interface LiveParts {
  readonly feed: Feed;
  readonly channels: readonly Channel[];
  /** the session lasts, and its user's rights are still the same */
  readonly mayGoOn: () => boolean;
}

/** Writes what is new in some channels. A browser that reads slowly misses versions in between: nothing piles up. */
export async function writeLive(
  stream: SSEStreamingApi,
  signal: AbortSignal,
  { feed, channels, mayGoOn }: LiveParts,
): Promise<void> {
  const seen = new Map<Channel, number>();
  const write = quietly(stream);
  while (!signal.aborted && mayGoOn()) {
    const { next } = feed;
    let events = '';
    for (const channel of channels) {
      events += channel.since(seen.get(channel) ?? 0) ?? '';
      seen.set(channel, channel.version);
    }
    await write(events);
    await untilEither(next, signal);
  }
}

/**
 * A function that writes events, or now and then a comment if there are none.
 * @returns resolves when the browser has taken them
 */
export function quietly(stream: SSEStreamingApi): (events: string) => Promise<void> {
  let writtenAt = performance.now();
  return async (events) => {
    const now = performance.now();
    if (events === '' && now - writtenAt < QUIET_MS) return;
    writtenAt = now;
    await stream.write(events === '' ? ': nothing new\n\n' : events);
  };
}

/** Resolves with the promise, or when the browser has gone. */
export async function untilEither(done: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const gone = Promise.withResolvers<void>();
  const resolve = (): void => gone.resolve();
  signal.addEventListener('abort', resolve, { once: true });
  await Promise.race([done, gone.promise]);
  signal.removeEventListener('abort', resolve);
}
