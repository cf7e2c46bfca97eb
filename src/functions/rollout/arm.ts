/** What the clients of one of the two versions of a canary have seen: calls, failures, rejections, times and servers' errors. */
import { CANARY } from '../limits.ts';

/** Sums over some calls, as plain data. Times are in µs. */
export interface TallySums {
  readonly calls: number;
  readonly failures: number;
  readonly rejections: number;
  readonly timed: number;
  readonly sumUs: number;
  readonly sumSquares: number;
  readonly answers: number;
  /** by the class of the SQLSTATE, as `sqlstateClass` has it */
  readonly errors: readonly (readonly [errorClass: number, count: number])[];
}

/** Sums over some calls. */
export class Tally {
  calls = 0;
  /** calls that this version failed on, while the other one answered */
  failures = 0;
  rejections = 0;
  /** calls whose time is known, and the sums of their times and of the squares of these, in µs */
  timed = 0;
  sumUs = 0;
  sumSquares = 0;
  /** queries that a server has answered, to the last row or with an error */
  answers = 0;
  /** by the class of the SQLSTATE: its two characters, as one number (`sqlstateClass`) */
  readonly errors = new Map<number, number>();

  get meanUs(): number | null {
    return this.timed === 0 ? null : this.sumUs / this.timed;
  }

  clear(): void {
    this.calls = this.failures = this.rejections = 0;
    this.timed = this.sumUs = this.sumSquares = 0;
    this.answers = 0;
    this.errors.clear();
  }

  get sums(): TallySums {
    const { calls, failures, rejections, timed, sumUs, sumSquares, answers, errors } = this;
    return { calls, failures, rejections, timed, sumUs, sumSquares, answers, errors: [...errors] };
  }

  /** Takes over sums from before a restart. */
  restore({ errors, ...sums }: TallySums): void {
    Object.assign(this, sums);
    this.errors.clear();
    for (const [errorClass, count] of errors) this.errors.set(errorClass, count);
  }

  /** The sums of this tally and another one. */
  plus(other: Tally): Tally {
    const sum = new Tally();
    for (const each of [this, other]) {
      sum.calls += each.calls;
      sum.failures += each.failures;
      sum.rejections += each.rejections;
      sum.timed += each.timed;
      sum.sumUs += each.sumUs;
      sum.sumSquares += each.sumSquares;
      sum.answers += each.answers;
      for (const [key, count] of each.errors) sum.errors.set(key, (sum.errors.get(key) ?? 0) + count);
    }
    return sum;
  }
}

/** One call, as it counts. */
export interface Counted {
  readonly clientId: number;
  /** the version failed on it, and the other one answered */
  readonly hasFailed: boolean;
  readonly isRejected: boolean;
  /** from question to answer, in µs; null: not measured */
  readonly tookUs: number | null;
}

export class Arm {
  readonly #total = new Tally();
  #present = new Tally();
  #past = new Tally();
  #endsAt = -Infinity;
  /** by client, the calls and answers that have counted in this window */
  readonly #calls = new Map<number, number>();
  readonly #answers = new Map<number, number>();

  /** Since the canary began. */
  get total(): Tally {
    return this.#total;
  }

  /** Takes over what was counted before a restart. */
  restore(sums: TallySums): void {
    this.#total.restore(sums);
  }

  /** Over the last one to two windows. @param now of the same clock as all others, in ms */
  recent(now: number): Tally {
    this.#turn(now);
    return this.#present.plus(this.#past);
  }

  /** Clients that have had a call in this window, as far as they are told apart. */
  get clients(): number {
    return this.#calls.size;
  }

  noteCall({ clientId, hasFailed, isRejected, tookUs }: Counted, now: number): void {
    this.#turn(now);
    if (!counts(this.#calls, clientId)) return;
    for (const tally of [this.#total, this.#present]) {
      tally.calls++;
      if (hasFailed) tally.failures++;
      if (isRejected) tally.rejections++;
      if (tookUs === null) continue;
      tally.timed++;
      tally.sumUs += tookUs;
      tally.sumSquares += tookUs * tookUs;
    }
  }

  /** A server has answered a query of this client. @param errorClass of an ErrorResponse; 0: it was answered without one */
  noteAnswer(clientId: number, errorClass: number, now: number): void {
    this.#turn(now);
    if (errorClass !== 0) {
      // it is the beginning of an answer that has its own turn
      if ((this.#answers.get(clientId) ?? 0) >= CANARY.callsPerClient) return;
      for (const { errors } of [this.#total, this.#present])
        errors.set(errorClass, (errors.get(errorClass) ?? 0) + 1);
    } else if (counts(this.#answers, clientId)) {
      this.#total.answers++;
      this.#present.answers++;
    }
  }

  #turn(now: number): void {
    if (now < this.#endsAt) return;
    const wasLongAgo = now >= this.#endsAt + CANARY.windowMs;
    [this.#present, this.#past] = [this.#past, this.#present];
    this.#present.clear();
    if (wasLongAgo) this.#past.clear();
    this.#calls.clear();
    this.#answers.clear();
    this.#endsAt = now + CANARY.windowMs;
  }
}

/** Whether one more of a client's calls counts. */
function counts(counted: Map<number, number>, clientId: number): boolean {
  const count = counted.get(clientId) ?? 0;
  if (count >= CANARY.callsPerClient || (count === 0 && counted.size >= CANARY.maxClients)) return false;
  counted.set(clientId, count + 1);
  return true;
}

/**
 * The class of the SQLSTATE in an ErrorResponse, as one number.
 * @param start of its fields
 * @param end of what has arrived of them
 * @returns 0: it has not arrived, or there is none
 */
export function sqlstateClass(bytes: Buffer, start: number, end: number): number {
  for (let at = start; at + 2 < end && bytes[at] !== 0;) {
    if (bytes[at] === 0x43) return bytes[at + 1]! * 256 + bytes[at + 2]!;
    while (at < end && bytes[at] !== 0) at++;
    at++;
  }
  return 0;
}

/** `42` for the number that `sqlstateClass` returns. */
export function className(errorClass: number): string {
  return String.fromCharCode(errorClass >> 8, errorClass & 0xff);
}
