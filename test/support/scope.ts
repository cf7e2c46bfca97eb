/** Anything that runs clean-up when it ends: a test's context, or `{ after }` of node:test for a whole file. */
export interface Scope {
  after(cleanUp: () => Promise<void> | void): void;
}
