/** The settings of the prelude at its installation: as JSON, because only strings cross into an isolate. */
export interface PreludeLimits {
  /** the version was found pure: what outlives a call is frozen */
  readonly isPure: boolean;
  /** it was, and a call tried to change something: the reason; '': it was not, or none has tried yet */
  readonly changed: string;
  /** characters that a rewriting function may return (user_function_max_result) */
  readonly maxResult: number;
  /** characters that a routing function may return */
  readonly maxRoute: number;
  /** elements of an array that built-ins run over */
  readonly maxArray: number;
  /** characters of a string that slow built-ins run over */
  readonly maxString: number;
  /** characters of an error's message, and of each text of a rejection */
  readonly maxMessage: number;
  /** characters of an error's stack */
  readonly maxStack: number;
  /** characters of a long error message in which the query is looked for */
  readonly maxSearched: number;
  /** queries of fewer characters are not taken out of messages */
  readonly minSecret: number;
  /** lines that a batch may print */
  readonly maxConsoleLines: number;
  /** characters that a batch may print */
  readonly maxConsoleLength: number;
  /** characters of JSON of the contexts that are kept */
  readonly maxKeptContexts: number;
  /** a batch ends after the call that passes this time, in ms */
  readonly batchMs: number;
  /** a batch ends after the call that brings its answers past this many characters */
  readonly batchLength: number;
}
