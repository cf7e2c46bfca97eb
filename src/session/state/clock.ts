/**
 * Times of a client: the beginning of its wait, its query and its transaction, and its last activity. Timeouts, statistics and
 * the console read them. All are milliseconds of performance.now().
 */
import { QueryTrace, type Interval, type TraceEnding } from '../../telemetry/query-trace.ts';
import { QuerySampler } from '../../telemetry/sampler.ts';
import type { DatabaseStats } from '../../telemetry/stats.ts';
import { Request } from './entry.ts';
import type { Outstanding } from './outstanding.ts';

export class Clock {
  #waitingSince = 0;
  #isWaitNoticed = false;
  #queryStart = 0;
  #xactStart = 0;
  #requestedAt: number;
  #idleSince: number;
  /**
   * bytes have arrived from the client since its query began, or since `#heardAt`, which each round of maintenance moves
   * forward
   */
  #hasSentMore = false;
  #heardAt = 0;
  /** position in the ledger at which the open pipeline was last seen with everything answered; -1: it was not */
  #idlePosition = -1;
  #idleInPipelineSince = 0;
  readonly #sampler: QuerySampler;
  /** of the running query; null: it is not traced */
  #trace: QueryTrace | null = null;
  /** the last call of user functions about a query of the client; 0: none */
  #callFrom = 0;
  #callTo = 0;

  /** @param now the time of the connection @param sampler chooses the queries that are traced */
  constructor(now: number, sampler = new QuerySampler()) {
    this.#requestedAt = now;
    this.#idleSince = now;
    this.#sampler = sampler;
  }

  /** The trace of the running query; null: it is not traced. */
  get trace(): QueryTrace | null {
    return this.#trace;
  }

  /** The beginning of the current wait for a server, or of the last one. */
  get waitingSince(): number {
    return this.#waitingSince;
  }

  /** The first message of the running query; 0: none is running. */
  get queryStart(): number {
    return this.#queryStart;
  }

  /** The first message of the running transaction; 0: none is running. */
  get xactStart(): number {
    return this.#xactStart;
  }

  /** The beginning of the last query, or the time of the connection. */
  get requestedAt(): number {
    return this.#requestedAt;
  }

  /** The end of the last query, or the time of the connection. */
  get idleSince(): number {
    return this.#idleSince;
  }

  /** The client waits for a server, or keeps its server while it waits. */
  beginWait(now: number): void {
    this.#waitingSince = now;
  }

  /** The client has got a server: its next long wait will be reported again. */
  endWait(now: number): void {
    this.#isWaitNoticed = false;
    if (this.#trace !== null) this.#trace.gotServer(this.#waitingSince, now);
  }

  /** User functions have been asked about the client's next query, and have answered. */
  noteCall(from: number, to: number): void {
    this.#callFrom = from;
    this.#callTo = to;
  }

  /** Whether a NOTICE about the current wait is still to be sent. From now on it counts as sent. */
  noticeWait(): boolean {
    const isFirst = !this.#isWaitNoticed;
    this.#isWaitNoticed = true;
    return isFirst;
  }

  /** Bytes have arrived from the client. */
  heard(): void {
    this.#hasSentMore = true;
  }

  /** A statement for the console, which has no query statistics. */
  noteConsoleRequest(now: number): void {
    this.#requestedAt = now;
  }

  /**
   * Counts queries and transactions as pgbouncer does: one for each message that a ReadyForQuery answers (a Query, a
   * FunctionCall, or the messages up to a Sync). Call it before the request is entered in the ledger.
   */
  noteRequest(request: Request, outstanding: Outstanding, stats: DatabaseStats): void {
    if (this.#queryStart === 0) {
      this.beginQuery(performance.now(), stats);
    } else if (request !== Request.Sync && outstanding.readies > 0 && !outstanding.unsynced) {
      // the first message after one that already ends a cycle: another query of the same pipeline
      stats.queryCount++;
    }
  }

  /** The client makes a request: its query and its transaction run from now on. Both include the wait for a server. */
  beginQuery(now: number, stats: DatabaseStats): void {
    if (this.#queryStart !== 0) return;
    this.#queryStart = now;
    if (this.#sampler.chooses()) this.#trace = new QueryTrace(now, this.#callSince(this.#requestedAt));
    this.#requestedAt = now;
    this.#hasSentMore = false;
    stats.queryCount++;
    if (this.#xactStart !== 0) return;
    this.#xactStart = now;
    stats.xactCount++;
  }

  /** A query has ended. `isNext`: the next one of the same pipeline runs from now on. */
  endQuery(now: number, isNext: boolean, stats: DatabaseStats): void {
    if (this.#queryStart !== 0) stats.noteQuery((now - this.#queryStart) * 1000);
    this.#queryStart = isNext ? now : 0;
    this.#idleSince = now;
    if (this.#trace !== null) this.#endTrace(now);
    if (isNext && this.#sampler.chooses()) this.#trace = new QueryTrace(now, null, true);
  }

  /** A transaction has ended. `isNext`: the next one of the same pipeline runs from now on. */
  endTransaction(now: number, isNext: boolean, stats: DatabaseStats): void {
    if (this.#xactStart !== 0) stats.noteTransaction((now - this.#xactStart) * 1000);
    this.#xactStart = isNext ? now : 0;
    if (isNext) stats.xactCount++;
  }

  /**
   * The proxy itself answered a query that waited for a server: nothing is running any more, and no time is counted.
   * @param sqlstate of the answer; null: it is no error
   */
  dropQuery(now: number, sqlstate: string | null): void {
    if (this.#queryStart === 0) return;
    if (sqlstate !== null) this.#trace?.failed(sqlstate);
    this.#stop(now, 'answered');
  }

  /** The server was lost: nothing is running any more, and no time is counted. */
  loseServer(now: number): void {
    this.#stop(now, 'server lost');
  }

  /** The client has gone. @param sqlstate of the reason that it was told; null: none */
  leave(now: number, sqlstate: string | null): void {
    if (this.#trace === null) return;
    if (sqlstate !== null) this.#trace.failed(sqlstate);
    this.#endTrace(now, 'client left');
  }

  /**
   * The proxy has refused a query that had not begun, as when user functions reject it.
   * @returns the query's trace, which ends with `endRefused`; null: it is not traced
   */
  refuse(now: number): QueryTrace | null {
    const trace = this.#sampler.chooses() ? new QueryTrace(now, this.#callSince(this.#requestedAt)) : null;
    this.#callTo = 0;
    return trace;
  }

  endRefused(trace: QueryTrace, now: number): void {
    this.#sampler.ended(trace.end(now, 'answered'));
  }

  #stop(now: number, ending: TraceEnding): void {
    this.#queryStart = 0;
    this.#xactStart = 0;
    this.#idleSince = now;
    if (this.#trace !== null) this.#endTrace(now, ending);
  }

  #endTrace(now: number, ending: TraceEnding = 'answered'): void {
    const trace = this.#trace;
    this.#trace = null;
    if (trace !== null) this.#sampler.ended(trace.end(now, ending));
  }

  /** The last call of user functions, unless it was about an earlier query, which began then. */
  #callSince(earlier: number): Interval | null {
    return this.#callTo > earlier ? { from: this.#callFrom, to: this.#callTo } : null;
  }

  /** The client is idle from now on: it was welcomed, or has given its server back. */
  beginIdle(now: number): void {
    this.#idleSince = now;
  }

  /**
   * The time from which query_timeout counts: as in pgbouncer, that of the client's last bytes. A COPY with steady data and a
   * replication connection with steady replies therefore continue. `now` if no query is running.
   */
  lastHeard(now: number): number {
    if (this.#queryStart === 0) return now;
    if (this.#hasSentMore) {
      this.#hasSentMore = false;
      this.#heardAt = now;
    }
    return Math.max(this.#queryStart, this.#heardAt);
  }

  /**
   * The time since which an open pipeline has been idle. A server reports no status within a pipeline, so this is the time at
   * which everything was first seen to be answered.
   * @param isIdle everything sent is answered, and nothing is held
   * @param position in the ledger: if it has moved, something was sent in between
   */
  idleInPipeline(now: number, isIdle: boolean, position: number): number {
    if (!isIdle) {
      this.#idlePosition = -1;
      return now;
    }
    if (this.#idlePosition !== position) {
      this.#idlePosition = position;
      this.#idleInPipelineSince = now;
    }
    return this.#idleInPipelineSince;
  }
}
