/**
 * The counters of one database, as plain fields that the relay adds to and SHOW STATS reads. Times are in microseconds, sizes
 * in bytes; the names are those of SHOW STATS_TOTALS.
 */
export class DatabaseStats {
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

  /** A copy, which no longer changes. */
  copy(): DatabaseStats {
    return Object.assign(new DatabaseStats(), this);
  }
}
