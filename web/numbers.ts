/** Numbers as texts for people. */

export function rounded(value: number): string {
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString() : value.toPrecision(2);
}
