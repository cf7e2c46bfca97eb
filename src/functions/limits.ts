/**
 * Every fixed limit of user functions, each with its reason: times in ms, lengths of text in characters and sizes in
 * bytes, as their names say. Limits that an operator sets are options (src/config/options.ts). This file imports
 * nothing, so that every part of `functions` can read it; the prelude is handed its group when an isolate is made.
 */

const KB = 1024;
const MB = 1024 * KB;

// --- texts that cross a border -----------------------------------------------------------------------------------------

/** Texts of errors and rejections, made inside an isolate or by the engine. */
export const TEXT = {
  /** An error message in a log line. A longer one says no more. */
  maxMessage: 500,
  /** The frames of a stack: enough to find the innermost one in the author's code. */
  maxStack: 2_000,
  /** The proxy's limit for either from a child process. The prelude never writes as much. */
  maxUntrusted: 4_000,
  /** Database names listed in the complaint about one that may not be named. */
  maxNames: 10,
} as const;

// --- inside an isolate -------------------------------------------------------------------------------------------------

/** The prelude's limits for a function. It gets them when an isolate is made. */
export const ISOLATE = {
  /** Elements of an array on which built-ins run: none of them can be interrupted. */
  maxArray: 5_000_000,
  /** A string on which slow built-ins run: none of them can be interrupted. */
  maxString: 16_000_000,
  maxMessage: TEXT.maxMessage,
  maxStack: TEXT.maxStack,
  /** The part of a long error message in which the query is looked for, to be taken out of it. */
  maxSearched: 65_536,
  /** Shorter queries are part of too many words to be taken out of messages. */
  minSecret: 6,
  maxConsoleLines: 64,
  maxConsoleLength: 16_384,
  /** JSON of contexts that are kept: a tenant may serve many databases, and each cluster's nodes change with every probe. */
  maxKeptContexts: 65_536,
  /** A batch ends after the call that passes this time: other tenants of the process wait for their turn. */
  batchMs: 20,
  /** A batch ends after the call with which its answers pass this length. */
  batchLength: 256 * KB,
  /** The longest result of a routing function: no name of a database, or alias, is longer. */
  maxRoute: 1_000,
} as const;

/** Packing calls for an isolate. */
export const PACKING = {
  /** JSON of contexts that is remembered, in characters: a tenant may serve many databases, each with a list of many names. */
  maxContexts: 1_000_000,
} as const;

/** The engine, which runs isolates. */
export const ENGINE = {
  /** Running a bundle's top level. It is longer than a call may take, because it compiles and builds tables. */
  loadMs: 2_000,
  /**
   * One crossing of a batch. Each leaves a timer behind in isolated-vm, and long ones pile up until popping them overflows
   * its stack. A call that takes longer is run again alone, with all the time that a call has.
   */
  maxBatchMs: 100,
  /** The few lines of the prelude that run after a deadline. */
  progressMs: 50,
  /**
   * How late a deadline may be; it is never later than a quarter of itself. isolated-vm's timer thread wakes for each timer,
   * also for those of crossings that have come back, unless they are due together: then it wakes once for all.
   */
  maxLateMs: 25,
  /**
   * How often a call is run again, each time with twice the time, after it was cut off before it had used half of its
   * time on a processor. A call that hangs uses its share long before that, on however busy a machine.
   */
  maxStarved: 4,
  /** The part of its time after which a call counts as having had all of it: clocks are coarse. */
  nearlyAll: 0.95,
  /** How often the heap of an isolate is measured: it takes 6 µs, and nothing grows much meanwhile. */
  measureMs: 5,
  /** isolated-vm's smallest heap. */
  minHeapMb: 8,
} as const;

// --- sandbox processes -------------------------------------------------------------------------------------------------

/** One child process that evaluates. */
export const CHILD = {
  /** What all isolates of a child may take together, beyond one tenant's own limit. The kernel enforces it. */
  baseDataMb: 400,
  /** Time to end by itself when it is closed, before it is killed. */
  closeMs: 500,
  /** The end of what it wrote to stderr, which says why it ended. */
  maxComplaint: 2_000,
} as const;

/** Messages between the proxy and a child. */
export const MESSAGE = {
  /** Messages of the proxy, which are trusted: none is longer. */
  maxTrustedBytes: 256 * MB,
  /** Messages of a child other than answers: a few numbers, or why a version could not be loaded. */
  maxSmallBytes: 16 * KB,
  /**
   * Answers, beside what the last call of a batch may return: the prelude ends a batch at ISOLATE.batchLength characters of at
   * most three bytes each, and limits what is printed.
   */
  answersBytes: 1 * MB,
  /** UTF-8 of one UTF-16 unit, at most. */
  bytesPerCharacter: 3,
  /** The digits of a safe integer, and some more. */
  maxDigits: 20,
  /** Signs that one job goes on. A child that sends more is no longer ours. */
  maxSigns: 100,
} as const;

/** The supervisor of a child. */
export const SUPERVISOR = {
  /** A child interrupts JavaScript at the deadline by itself. An answer later than this is stuck in a built-in. */
  graceMs: 50,
  /** The deadline of a batch whose version is no longer known. */
  unknownMs: 100,
  /** CPU time for building an isolate, beyond the time of its top level. */
  loadGraceMs: 500,
  /** However starved the machine is, nobody waits longer than this many deadlines. */
  hardFactor: 20,
  /** A job that has used less than this part of its time on a processor was starved, and is not to blame. */
  fairPart: 0.5,
  /** How often a child that is still starting, or one that is late, is looked at. */
  startingLookMs: 20,
  lateLookMs: 10,
  /** Jobs wait this long for a child to start. */
  startMs: 10_000,
  /** Before the next child after one that did not start; doubled each time. */
  restartMs: 1_000,
  longestRestartMs: 30_000,
  /** Children that may fail to start before a version that waits to be loaded is refused. */
  maxLoadStarts: 3,
  /** A supervisor that is retired has this long for the jobs that it was given. */
  retireMs: 5_000,
  /**
   * A job whose child was ended from outside did nothing and is run again, this often: the kernel may have ended the
   * child for the memory that the job took.
   */
  maxAccidents: 2,
  /** Attempts to build a version's isolate again in its child, before its calls are refused. */
  maxMisses: 3,
  /** After that its calls are refused for this long, doubled each time: a top level that hangs delays all neighbours. */
  pauseMs: 1_000,
  longestPauseMs: 60_000,
} as const;

/** The sharing of processes. */
export const PLACEMENT = {
  /**
   * Tenants that share a process. An isolate takes 2.7 MB of its process's data limit: this many leave half of the limit to
   * what rules keep, and to one that wants too much.
   */
  tenantsPerProcess: 64,
  /** Processes for tenants that were separated. One costs 45 MB; further tenants join the process with the fewest. */
  maxOwn: 8,
  /** The process for costly calls ends after it has been idle for this long. */
  apartIdleMs: 30_000,
  /** Before the next warm child is started: it must not take the processor from those that wait for this one. */
  warmDelayMs: 100,
} as const;

/** How much of a shared process one tenant may take. */
export const SHARE = {
  /**
   * The memory that all versions of a process may hold together before the largest has to leave. A process's data limit is 400 MB and
   * a tenant's memory limit; 64 plain isolates and Node itself take half of that.
   */
  crowdedBytes: 160 * MB,
  /** Time is measured over windows of this length. */
  windowMs: 1_000,
  /** A tenant that has had more than this part of a window has to leave. */
  largestPart: 0.3,
  /**
   * When all together have had more than this part, the tenant that has had most has to leave: a hundred tenants that take 100 ms
   * a turn delay their neighbours, although each has a small part only.
   */
  crowdedPart: 0.6,
  /** A tenant that has had less than this in a window delays nobody. */
  smallMs: 50,
} as const;

/** Trying new versions before they serve. */
export const TRIAL = {
  /** Processes for ordinary trials. */
  quickTurns: 2,
  /** A top level that takes longer is tried where only slow ones are. */
  quickMs: 300,
  /** An idle process is kept for this long: new versions come in bursts, from editors and deployments. */
  idleMs: 2_000,
} as const;

// --- calls on their way ------------------------------------------------------------------------------------------------

/** The calls of one tenant, which cross in batches. */
export const BATCH = {
  /** More at once would need more memory than an isolate has. */
  maxCalls: 64,
  maxLength: 1_000_000,
  /** A call without an answer gets an error after this long. docs/user-functions.md has this number. */
  maxWaitMs: 30_000,
  /** How often waiting calls and penalties are looked at: maxWaitMs is kept this exactly. */
  lookMs: 1_000,
  /** A call that was sent this often, alone, and not run gets an error. */
  maxTries: 3,
} as const;

/** Costly calls, which run apart from all others. */
export const APART = {
  /** The next one waits this many times as long as the last one took. */
  pace: 4,
  longestPaceMs: 2_000,
  /** A version that could not be loaded there is not tried again for this long. */
  retryMs: 5_000,
} as const;

/** How long connections and texts that were costly are remembered. */
export const PENALTY = {
  /** Doubled after each further costly call, up to the longest. */
  firstMs: 10_000,
  longestMs: 60_000,
  /** This many costly connections of one user from one address make the next one from there suspicious. */
  connections: 4,
  /** Entries of each table; the oldest goes first. */
  maxEntries: 256,
  /** Longer texts are compared by their length and this much of each end. */
  longestKey: 4_096,
  endKey: 256,
} as const;

/** When a tenant counts as broken for everybody. */
export const BREAKER = {
  /** Faults count for this long. */
  windowMs: 10_000,
  /** This many faults, of this many clients with this many kinds of queries, and no answer in between. */
  faults: 5,
  clients: 3,
  kinds: 3,
  /** A longer query may be slow because of its length alone. */
  longestQuery: 4_096,
  /** Faults that are remembered. */
  maxFaults: 32,
  /** Before the proxy's own query tries a suspended tenant again; doubled each time. */
  firstPauseMs: 1_000,
  longestPauseMs: 60_000,
} as const;

// --- files and bundles -------------------------------------------------------------------------------------------------

/** One bundle. Each limit has a message of its own, which names the file; docs/sandbox.md lists them. */
export const BUNDLE = {
  maxFiles: 2_000,
  maxBytes: 32 * MB,
  maxImports: 20_000,
  maxBundleBytes: 8 * MB,
  /** A line of code: each of esbuild's errors brings the line that it is in. */
  maxLine: 1_000_000,
  /** Errors that are shown. No more imports that lead nowhere are reported: each would bring its line. */
  maxErrors: 10,
  /** A text or source line that is shown. A longer one says no more. */
  maxShown: 500,
  /** A source file: a table of this size leaves no room for anything else in an isolate. */
  maxFileBytes: 16 * MB,
  /** esbuild reads a file over this size by itself, which is faster than handing it over. */
  largeFileBytes: 1 * MB,
} as const;

/** The processes that bundle. */
export const BUNDLER = {
  /** An ordinary job. A slower one waits for its turn among jobs that were slow before. */
  quickMs: 3_000,
  /** A slow job. The largest packages take far less, on a busy machine too. */
  longestMs: 10_000,
  /** A quick job that takes longer than this gives its turn on, so that others need not wait for it. */
  giveOnMs: 500,
  /** Two processors' worth: hundreds of tenants at once would only delay one another and the clients. */
  quickTurns: 2,
  /** Jobs beyond the number of turns that may run because they gave their turn on. */
  maxLate: 4,
  /** An idle process is kept for this long: changes come in bursts, from editors and deployments. */
  idleMs: 5_000,
  /** Files of a job without an end that are watched afterwards. */
  maxLooking: 10_000,
  /** The memory of a bundler, and of esbuild. The kernel enforces it. */
  dataMb: 768,
} as const;

/** Watching files. */
export const WATCH = {
  /** Editors save in several steps, and deployments swap several files. */
  quietMs: 50,
  /** Changes are reported after this long, however often something changes. */
  longestQuietMs: 250,
  /** How often files are compared where nothing can be watched. */
  pollMs: 2_000,
  /** Symbolic links in one path: the kernel's own limit. */
  maxLinks: 40,
  /** Paths that are looked at at once: each takes a thread of the pool, which others need too. */
  atOnce: 16,
  /** Before folders are listed again that could not be listed for lack of something. */
  retryMs: 1_000,
} as const;

// --- tenants and versions ----------------------------------------------------------------------------------------------

/** Loading versions. */
export const LOADING = {
  /** Before the next attempt when the machine was short of something; doubled each time. */
  firstRetryMs: 1_000,
  longestRetryMs: 30_000,
  /** File systems have coarse clocks: what was written this long before a build began may have come after it was read. */
  clockMs: 20,
  /** World-writable paths that a warning names. */
  maxNamed: 5,
  /** Versions whose tenant is remembered. */
  maxVersions: 10_000,
} as const;

/** Tenants that have cost others something. */
export const BLAME = {
  /** A tenant without a fault for this long starts afresh. */
  memoryMs: 5 * 60_000,
  /** Before a tenant's next version is loaded after the second fault; doubled with each further one. */
  firstWaitMs: 2_000,
  longestWaitMs: 2 * 60_000,
} as const;

/** Log lines about one tenant. */
export const JOURNAL = {
  /** At most one line about failures in this time: a broken rule fails with every query. */
  quietMs: 1_000,
  /** Refused moves that are logged in that time. */
  maxMoves: 10,
  /** Lines that a tenant may print in that time: more helps nobody, and the log belongs to everybody. */
  maxPrinted: 100,
  /** Characters that it may print in that time. */
  maxPrintedLength: 65_536,
  /** Characters that one batch may print: the prelude sends no more, unless somebody has broken out of an isolate. */
  maxPrintedText: 20_000,
} as const;

/** The catalog of tenants: RELOAD, and names that clients make up. */
export const CATALOG = {
  /** RELOAD waits this long for what it has begun, which goes on all the same. */
  longestReloadMs: 5_000,
  /** The same for tenants that have harmed others lately. */
  longestSuspectMs: 3_000,
  /** Databases that are looked at in one turn of the event loop: there may be hundreds. */
  namesPerTurn: 8,
  /** Tenants that are named among those that are late. */
  maxNamed: 10,
  /** Made-up names (the `*` entry) whose rights are remembered. */
  maxNames: 10_000,
} as const;
