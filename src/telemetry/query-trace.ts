/** The trace of one query, while it runs: plain data once it has ended. Times are ms of performance.now(). */

/** Whose query it is, and where it goes. */
export interface TraceSubject {
  readonly database: string;
  readonly user: string;
  /** whose functions judge the query; null: nobody's */
  readonly tenant: string | null;
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly applicationName: string;
  /** null: the query has had no server */
  readonly serverAddress: string | null;
  readonly serverPort: number;
  /** with `?` for each constant; null: not known, or left out */
  readonly text: string | null;
  /** of a W3C trace that the query's text names; null: none */
  readonly parent: TraceParent | null;
}

export interface TraceParent {
  /** 32 and 16 hex digits */
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
}

export interface Interval {
  readonly from: number;
  readonly to: number;
}

export interface EndedTrace {
  /** null: the query ended before anything was known about it */
  readonly subject: TraceSubject | null;
  /** the call of user functions included */
  readonly startedAt: number;
  readonly endedAt: number;
  /** null: no function was asked, or a remembered decision was taken */
  readonly call: Interval | null;
  /** null: the client had a server already, or got none */
  readonly wait: Interval | null;
  /** null: the query was sent to no server */
  readonly server: Interval | null;
  /** of the first error; null: there was none */
  readonly sqlstate: string | null;
  readonly ending: TraceEnding;
}

/** `answered`: by a server, or by the proxy with an error. */
export type TraceEnding = 'answered' | 'server lost' | 'client left';

export class QueryTrace {
  /** It began while other queries of its pipeline were under way, so its text has gone by. */
  readonly isPipelined: boolean;
  readonly #startedAt: number;
  readonly #call: Interval | null;
  #subject: TraceSubject | null = null;
  #waitedFrom: number | null = null;
  /** when the query could be sent to a server; null: not yet */
  #sentAt: number | null = null;
  #sqlstate: string | null = null;

  /** @param call of user functions about this query; null: none */
  constructor(startedAt: number, call: Interval | null, isPipelined = false) {
    this.isPipelined = isPipelined;
    if (isPipelined) this.#sentAt = startedAt;
    this.#startedAt = startedAt;
    this.#call = call;
  }

  get isDescribed(): boolean {
    return this.#subject !== null;
  }

  describe(subject: TraceSubject): void {
    this.#subject ??= subject;
  }

  /** The client has got a server. After the loss of one it may get another. */
  gotServer(waitedFrom: number, now: number): void {
    this.#waitedFrom ??= waitedFrom;
    this.#sentAt = now;
  }

  /** The client has a server already. */
  hasServer(now: number): void {
    this.#sentAt ??= now;
  }

  failed(sqlstate: string): void {
    this.#sqlstate ??= sqlstate;
  }

  end(now: number, ending: TraceEnding): EndedTrace {
    const startedAt = Math.min(this.#startedAt, this.#call?.from ?? Infinity);
    const wait =
      this.#waitedFrom === null || this.#sentAt === null
        ? null
        : { from: this.#waitedFrom, to: this.#sentAt };
    return {
      subject: this.#subject,
      startedAt,
      endedAt: now,
      call: this.#call,
      wait,
      server: this.#sentAt === null ? null : { from: this.#sentAt, to: now },
      sqlstate: this.#sqlstate,
      ending,
    };
  }
}
