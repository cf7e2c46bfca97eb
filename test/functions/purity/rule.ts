/** Rules for the tests of purity. */

/** The text of a file, and of other files that it imports, by name. */
export type Rule = readonly [name: string, text: string, files?: Readonly<Record<string, string>>];

/** The beginning of most of them. */
export const R = 'export const routing_rules = ';
