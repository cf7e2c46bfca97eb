/** Waiting for a condition, never for a time. */
import { setTimeout as delay } from 'node:timers/promises';

/**
 * A condition that has not come true after this time fails the test. Test files run beside others, and on a busy machine some
 * processes of the proxy wait long for the processor (docs/sandbox.md).
 */
const PATIENCE_MS = 60_000;

/**
 * Asks again and again until the answer is truthy, and returns that answer.
 * @throws with `what` if it does not become true in time; the condition's last error is the cause.
 */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs: number = PATIENCE_MS,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let failure: unknown;
    try {
      const answer = await condition();
      if (answer) return answer;
    } catch (error) {
      failure = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`waited ${timeoutMs} ms in vain for ${what}`, { cause: failure });
    }
    await delay(5);
  }
}

/** The promise's value, or an error that names the missing event. */
export async function within<T>(
  what: string,
  promise: Promise<T>,
  timeoutMs: number = PATIENCE_MS,
): Promise<T> {
  const timer = new AbortController();
  const late = delay(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
