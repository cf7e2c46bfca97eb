/**
 * The counters of one database, as plain fields that the relay adds to and SHOW STATS reads. Times are in microseconds, sizes
 * in bytes; the names are those of SHOW STATS_TOTALS.
 */
import { DatabaseTimes } from './histogram.ts';

export class DatabaseStats {
  /** how the times are distributed; copies have the same object */
  readonly times: DatabaseTimes;
  serverAssignmentCount = 0;
  xactCount = 0;
  queryCount = 0;
  bytesReceived = 0;
  bytesSent = 0;
  xactTime = 0;
  queryTime = 0;
  waitTime = 0;
  clientParseCount = 0;
  serverParseCount = 0;
  bindCount = 0;
  clientLoginCount = 0;

  constructor(times = new DatabaseTimes()) {
    this.times = times;
  }

  /** A query has ended, after so many µs. */
  noteQuery(us: number): void {
    this.queryTime += us;
    this.times.query.note(us);
  }

  /** A transaction has ended. */
  noteTransaction(us: number): void {
    this.xactTime += us;
    this.times.transaction.note(us);
  }

  /** A client has got a server. */
  noteWait(us: number): void {
    this.serverAssignmentCount++;
    this.waitTime += us;
    this.times.wait.note(us);
  }

  /** A client has logged in. */
  noteLogin(us: number): void {
    this.clientLoginCount++;
    this.times.login.note(us);
  }

  /** A copy, whose counters no longer change. */
  copy(): DatabaseStats {
    return Object.assign(new DatabaseStats(this.times), this);
  }
}
