/** Errors that a healthy writer does not report. */

/** The server shuts down (57P01), has crashed (57P02), does not accept connections (57P03), or is read-only (25006). */
const ALARMS = new Set(['57P01', '57P02', '57P03', '25006']);

/** Whether a SQLSTATE says that its server is going down or is not the writer. */
export function isAlarm(sqlstate: string): boolean {
  return ALARMS.has(sqlstate);
}
