/** How many errors this process has sent to clients, by class of SQLSTATE (its first two characters). */

const counts = new Map<string, number>();

/** An error of this SQLSTATE is being sent. A rule may choose any code, but there are few classes. */
export function countError(code: string): void {
  const sqlClass = code.slice(0, 2);
  counts.set(sqlClass, (counts.get(sqlClass) ?? 0) + 1);
}

/** By class of SQLSTATE. */
export function errorCounts(): ReadonlyMap<string, number> {
  return counts;
}
