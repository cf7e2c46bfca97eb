/** The order of names in the console's tables: by UTF-16 code unit, whatever the locale is. */
export function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
