/**
 * Counters of one database, as plain fields: the relay adds to them, SHOW STATS and the metrics read them. Times are in
 * microseconds, sizes in bytes, names those of SHOW STATS_TOTALS.
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

  /** A copy that no longer moves. */
  snapshot(): DatabaseStats {
    return Object.assign(new DatabaseStats(), this);
  }
}
