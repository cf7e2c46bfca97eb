/**
 * Every fixed limit of user functions, each with its reason. As their names say, times are in ms, lengths of text in
 * characters and sizes in bytes. Limits that an operator sets are options (src/config/options.ts). This file imports nothing,
 * so that every part of `functions` can read it; the prelude gets its group when an isolate is made.
 */

const KB = 1024;
const MB = 1024 * KB;

// --- texts that cross a border -----------------------------------------------------------------------------------------

/** Texts of errors and rejections, made inside an isolate or by the engine. */
export const TEXT = {
  /** An error message in a log line. A longer one adds no information. */
  maxMessage: 500,
  /** The frames of a stack: enough to find the innermost one in the author's code. */
  maxStack: 2_000,
  /** The proxy's limit on either text from a child process. The prelude never writes as much. */
  maxUntrusted: 4_000,
  /** The number of database names listed in the complaint about a name that is not allowed. */
  maxNames: 10,
} as const;

// --- inside an isolate -------------------------------------------------------------------------------------------------

/** The prelude's limits for a function. The prelude gets them when an isolate is made. */
export const ISOLATE = {
  /** The longest array that built-ins run on: none of them can be interrupted. */
  maxArray: 5_000_000,
  /** The longest string that slow built-ins run on: none of them can be interrupted. */
  maxString: 16_000_000,
  maxMessage: TEXT.maxMessage,
  maxStack: TEXT.maxStack,
  /** The part of a long error message in which the query is searched for, to be removed. */
  maxSearched: 65_536,
  /** Shorter queries occur in too many words to be removed from messages. */
  minSecret: 6,
  maxConsoleLines: 64,
  maxConsoleLength: 16_384,
  /** JSON of contexts that are kept: a tenant may serve many databases, and each cluster's nodes change with every probe. */
  maxKeptContexts: 65_536,
  /** A batch ends after the call that passes this time: other tenants of the process wait for their turn. */
  batchMs: 2,
  /** A batch ends after the call that brings its answers past this length. */
  batchLength: 256 * KB,
  /** The longest result of a routing function: no database name or alias is longer. */
  maxRoute: 1_000,
} as const;

/** Packing calls for an isolate. */
export const PACKING = {
  /** JSON of contexts that is remembered, in characters: a tenant may serve many databases, each with a list of many names. */
  maxContexts: 1_000_000,
} as const;

/** The engine, which runs isolates. */
export const ENGINE = {
  /** The time for a bundle's top level. It is longer than a call's, because a top level compiles and builds tables. */
  loadMs: 2_000,
  /**
   * One crossing of a batch. Each crossing leaves a timer in isolated-vm, and long timers pile up until removing them
   * overflows its stack. A call that takes longer is run again alone, with the full time of a call.
   */
  maxBatchMs: 100,
  /** The few lines of the prelude that run after a deadline. */
  progressMs: 50,
  /**
   * The delay that a deadline may have, at most, and as a part of the deadline. isolated-vm's timer thread wakes for
   * each timer, even those of finished crossings, unless they are due together: then it wakes once for all.
   */
  maxLateMs: 25,
  latePart: 1 / 4,
  /**
   * How often a call is run again, each time with twice the time, if it was cut off before it had used half of its time on a
   * processor. A call that hangs uses that share long before, however busy the machine is.
   */
  maxStarved: 4,
  /** The part of its time after which a call counts as having had all of it: clocks are coarse. */
  nearlyAll: 0.95,
  /**
   * The age of a processor-time mark that a crossing may use, as a part of its time: asking the kernel each time costs too
   * much.
   */
  markPart: 1 / 20,
  /** How often the heap of an isolate is measured: it takes 6 µs, and little grows in between. */
  measureMs: 5,
  /** isolated-vm's smallest heap. */
  minHeapMb: 8,
} as const;

// --- sandbox processes -------------------------------------------------------------------------------------------------

/** One child process that evaluates. */
export const CHILD = {
  /** Its priority below the proxy's: clients whose queries need no function come first. */
  niceness: 5,
  /** That of a child for tenants that are costly: they come after calls of the others. */
  lowNiceness: 15,
  /** The time that a closed child has to end by itself before it is killed. */
  closeMs: 500,
  /** The length of the kept end of its stderr, which explains why it ended. */
  maxComplaint: 2_000,
} as const;

/** Messages between the proxy and a child. */
export const MESSAGE = {
  /** The longest message from the proxy. These are trusted, and none is longer. */
  maxTrustedBytes: 256 * MB,
  /**
   * The longest message from a child other than answers: a few numbers, or the reason why a version could not be loaded. A
   * refusal is JSON, in which a control character takes six bytes: six times TEXT.maxMessage and TEXT.maxStack must fit.
   */
  maxSmallBytes: 16 * KB,
  /**
   * The length of answers, beyond the largest result of a batch's last call: the prelude ends a batch at ISOLATE.batchLength
   * characters of at most three bytes each, and limits printed text.
   */
  answersBytes: 1 * MB,
  /** The most bytes of UTF-8 for one UTF-16 unit. */
  bytesPerCharacter: 3,
  /** Bytes that the child reads from its pipe at once. */
  readBytes: 256 * KB,
  /** The digits of a safe integer, and a few more. */
  maxDigits: 20,
  /** Progress signs for one job. A child that sends more is compromised. */
  maxSigns: 100,
} as const;

/** The supervisor of a child. */
export const SUPERVISOR = {
  /** A child itself interrupts JavaScript at the deadline. If its answer is later than this, it is stuck in a built-in. */
  graceMs: 50,
  /** The deadline of a batch whose version is no longer known. */
  unknownMs: 100,
  /** CPU time for building an isolate, beyond the time of its top level. */
  loadGraceMs: 500,
  /** However starved the machine is, no call waits longer than this many deadlines. */
  hardFactor: 20,
  /** A job that used less than this part of its time on a processor was starved, and is not to blame. */
  fairPart: 0.5,
  /** How often a child that is starting, or late, is checked. */
  startingLookMs: 20,
  lateLookMs: 10,
  /** Jobs wait this long for a child to start. */
  startMs: 10_000,
  /** The pause before the next child after one that did not start; doubled each time. */
  restartMs: 1_000,
  longestRestartMs: 30_000,
  /** How many children may fail to start before a version that waits to be loaded is refused. */
  maxLoadStarts: 3,
  /** The time that a retired supervisor has for the jobs that it was given. */
  retireMs: 5_000,
  /**
   * How often a job is run again whose child was ended from outside. Such a job is not known to be at fault, but the kernel
   * may have ended the child for the job's memory.
   */
  maxAccidents: 2,
  /** Attempts to rebuild a version's isolate in its child before its calls are refused. */
  maxMisses: 3,
  /** The time for which calls are refused after that, doubled each time: a top level that hangs delays all neighbours. */
  pauseMs: 1_000,
  longestPauseMs: 60_000,
} as const;

/** The sharing of processes. */
export const PLACEMENT = {
  /**
   * The longest crossing of a batch in a shared process. A call that takes longer is run again elsewhere. Neighbours wait for
   * that long once; a shorter slice would often be over on a busy machine before its call had a processor.
   */
  sliceMs: 10,
  /** The part of a slice by which its end may be late, as deadlines may be (ENGINE.latePart). */
  sliceLatePart: 1 / 2,
  /** When a slice was over before its call had a processor for half of it, slices are this many times as long, up to ... */
  sliceGrowth: 2,
  /** ... this length: the machine is busy, and an isolate that was cut off must be built again. */
  longestSliceMs: 160,
  /** After this time without such a slice they are shorter again. */
  sliceCalmMs: 5_000,
  /** A child that comes back this long after the end of a slice is stuck in a built-in. */
  graceMs: 30,
  /** The time for a top level in a shared process. A version that takes longer is loaded elsewhere. */
  loadSliceMs: 100,
  /** Processor time for building an isolate there, beyond the time of its top level. */
  loadGraceMs: 100,
  /** How long a tenant must have behaved before it may share a process again; doubled each time. */
  probationMs: 30_000,
  longestProbationMs: 3_600_000,
  /** How often that is looked at. */
  lookMs: 5_000,
  /** The part of a process's memory above which the largest of its tenants leaves: isolates and Node itself take half of it. */
  crowdedPart: 0.4,
  /** The process for costly calls ends after it has been idle for this long. */
  apartIdleMs: 30_000,
  /** The pause before the next warm child is started: it must not take the processor from calls that wait for this one. */
  warmDelayMs: 100,
} as const;

/** Jobs that a child has been sent. The others wait in the proxy, where they can still be put in order. */
export const IN_FLIGHT = {
  /** A child always has the next job at hand. */
  fewest: 2,
  /** It has more while they take less than this together, as far as is known. */
  expectedMs: 1,
  most: 16,
  /** The time of a call of a version that has not run yet, and of a load. */
  unknownCallMs: 0.2,
  loadMs: 2,
  /** The part of a new measurement in the mean. */
  weight: 0.2,
} as const;

/** The part of a shared process that one tenant may take. */
export const SHARE = {
  /** A wait that a client does not notice. Time beyond it in one turn is a delay that neighbours have to bear. */
  noticedMs: 2,
  /** The time for building an isolate, on a busy machine too, that is not held against its tenant. */
  buildMs: 20,
  /** Delays are counted over about this time ... */
  delayWindowMs: 10_000,
  /**
   * ... and when there are more than this, the tenant that has caused most of them leaves: 0.5 % of the time. With 1 %, the
   * neighbours' 99th percentile would have moved.
   */
  mostDelayMs: 50,
  /** A tenant that has caused less than this is not to blame: collecting garbage takes as long, and so does a new version. */
  smallDelayMs: 20,
  /** Nor is one that has caused less than this part: a busy machine makes all jobs take longer. */
  smallDelayPart: 0.1,
  /** Processor time is counted over about this time. */
  windowMs: 1_000,
  /** A tenant that takes more than this part of a processor leaves. */
  largestPart: 0.3,
  /** If all tenants together take more than this part, the one that takes most leaves. */
  crowdedPart: 0.6,
  /** A tenant that has taken less than this in a window delays no neighbour. */
  smallMs: 50,
  /** A tenant that holds less than this does not fill a process. */
  smallBytes: 8 * MB,
} as const;

/** Trying new versions before they serve. */
export const TRIAL = {
  /** Processes for ordinary trials. */
  quickTurns: 2,
  /** A top level that takes longer is tried in the process for slow ones. */
  quickMs: 300,
  /** An idle process is kept for this long: new versions come in bursts, from editors and deployments. */
  idleMs: 2_000,
} as const;

// --- calls on their way ------------------------------------------------------------------------------------------------

/** The calls of one tenant, which cross in batches. */
export const BATCH = {
  /** A larger batch would need more memory than an isolate has. */
  maxCalls: 64,
  maxLength: 1_000_000,
  /** A call of the proxy's own gets an error after this long; a client's, after the client's query_wait_timeout. */
  maxWaitMs: 30_000,
  /** Calls of one tenant that may wait, and the length of their queries together: more get an error at once. */
  maxWaiting: 50_000,
  maxWaitingLength: 64 * MB,
  /** How often waiting calls and penalties are checked: the precision of maxWaitMs. */
  lookMs: 1_000,
  /** The pause before calls that could not be made are tried again; doubled each time. */
  firstRetryMs: 100,
  longestRetryMs: 2_000,
} as const;

/** Costly calls, which run apart from all others. */
export const APART = {
  /** The next costly call waits this many times as long as the last one took. */
  pace: 4,
  longestPaceMs: 2_000,
  /** A version that could not be loaded there is tried again after this time. */
  retryMs: 5_000,
} as const;

/** How long costly connections and texts are remembered. */
export const PENALTY = {
  /** The limit up to which that time is doubled, after each further costly call. */
  firstMs: 10_000,
  longestMs: 60_000,
  /** After this many costly connections of one user from one address, the next one from there is suspect. */
  connections: 4,
  /** Entries of each table; the oldest is dropped first. */
  maxEntries: 256,
  /** Longer texts are compared by their length and this many characters of each end. */
  longestKey: 4_096,
  endKey: 256,
} as const;

/** A tenant's budget of processor time (cpu_limit). */
export const BUDGET = {
  /** A full bucket holds what the limit allows in this time. */
  burstMs: 1_000,
  /** A full bucket holds at least this much: loading a version takes up to 100 ms, and small limits must allow it. */
  leastBurstMs: 250,
  /** A bucket that was empty counts as refilled when it holds what the limit allows in this time. */
  refilledMs: 1_000,
  /** How often waiting calls look at the bucket: limits and policies may have changed. */
  longestLookMs: 1_000,
  /** An overrun has ended when no call has failed or waited for this long: then its second line is logged. */
  calmMs: 10_000,
  /** The time over which the recent use is shown. */
  minuteMs: 60_000,
} as const;

/** The threshold at which a tenant counts as broken for all clients. */
export const BREAKER = {
  /** Faults count for this long. */
  windowMs: 10_000,
  /** This many faults, of this many clients with this many kinds of queries, with no answer in between. */
  faults: 5,
  clients: 3,
  kinds: 3,
  /** A longer query may be slow because of its length alone. */
  longestQuery: 4_096,
  /** Faults that are remembered. */
  maxFaults: 32,
  /** The pause before the proxy's own query tests a suspended tenant again; doubled each time. */
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
  /** A line of code: each of esbuild's errors includes its whole line. */
  maxLine: 1_000_000,
  /** Errors that are shown. No more unresolved imports are reported: each would include its line. */
  maxErrors: 10,
  /** A shown text or source line. A longer one adds no information. */
  maxShown: 500,
  /** Segments of a source map between two checkpoints: the most that the proxy decodes for one search. */
  checkpointSegments: 500,
  /** A source file: a table of this size leaves no room for anything else in an isolate. */
  maxFileBytes: 16 * MB,
  /** esbuild itself reads a file over this size, which is faster than handing it over. */
  largeFileBytes: 1 * MB,
} as const;

/** Artifacts: bundles in files. */
export const ARTIFACT = {
  /** Its code, source map and header together. A larger file is not read. */
  maxBytes: 32 * MB,
  /** It lists the files of a bundle, 2,000 at most, with long paths. */
  maxHeaderBytes: 2 * MB,
  /** Files of a bundle, with each package.json that led to one. */
  maxFiles: 4_000,
  /** A path, or another text in its header. */
  maxText: 8_192,
} as const;

/** The analysis of a bundle for state that outlives a call. */
export const PURITY = {
  /** Characters of a bundle. A syntax tree takes a hundred times its length, and the bundler's memory is limited. */
  maxCode: 2 * MB,
  /** The part of a parser's message that is shown. */
  maxMessage: 200,
} as const;

/** The processes that bundle. */
export const BUNDLER = {
  /** Its priority below the proxy's: clients come first, but an ordinary job must not take so long that it counts as slow. */
  niceness: 10,
  /** An ordinary job. A slower one takes its turn among jobs that were slow before. */
  quickMs: 3_000,
  /** A slow job. The largest packages take far less, even on a busy machine. */
  longestMs: 10_000,
  /** A quick job that takes longer than this gives up its turn, so that others need not wait for it. */
  giveOnMs: 500,
  /** Two processors' worth: hundreds of tenants at once would only delay one another and the clients. */
  quickTurns: 2,
  /** Jobs beyond the number of turns that may run because they gave up their turn. */
  maxLate: 4,
  /** An idle process is kept for this long: changes come in bursts, from editors and deployments. */
  idleMs: 5_000,
  /** The files of a job without an end that are watched afterwards. */
  maxLooking: 10_000,
  /** The memory of a bundler, and of esbuild. The kernel enforces it. */
  dataMb: 768,
  /** The bundler's JavaScript heap: half of that, so that V8 reports an error before the kernel ends the process. */
  heapMb: 384,
} as const;

/** Watching files. */
export const WATCH = {
  /** Editors save in several steps, and deployments swap several files. */
  quietMs: 50,
  /** Changes are reported after this time at the latest, however often something changes. */
  longestQuietMs: 250,
  /** How often files are compared where watching is impossible. */
  pollMs: 2_000,
  /** Symbolic links in one path: the kernel's own limit. */
  maxLinks: 40,
  /** Paths that are examined at once: each takes a thread of the pool, which others need too. */
  atOnce: 16,
  /** The pause before folders are listed again after a resource was lacking. */
  retryMs: 1_000,
} as const;

// --- remembered decisions ----------------------------------------------------------------------------------------------

/** Decisions that are kept and given again (user_function_cache). */
export const MEMORY = {
  /** Entries of all tenants: each is an object that the garbage collector visits. */
  maxEntries: 200_000,
  /** Entries of one tenant. */
  maxEntriesOfOne: 50_000,
  /** Longer queries are not remembered: texts of this length are seldom sent twice, and looking one up takes time. */
  longestQuery: 16 * KB,
  /** A larger entry is not kept: it would take the place of hundreds of others. */
  longestEntry: 128 * KB,
  /** Decisions about one question that differ in ctx: what is known of a cluster's nodes changes with every probe. */
  maxVariants: 4,
  /** What an entry takes besides its texts. */
  entryBytes: 250,
  /** What a decision takes besides its texts. */
  variantBytes: 100,
  /** What the error of a rejection takes. */
  rejectionBytes: 4 * KB,
  /** One hit in so many is evaluated again. */
  checkEvery: 1_000,
  /** And at least one in this time. */
  checkMs: 1_000,
} as const;

// --- tenants and versions ----------------------------------------------------------------------------------------------

/** Loading versions. */
export const LOADING = {
  /** The pause before the next attempt if the machine lacked a resource; doubled each time. */
  firstRetryMs: 1_000,
  longestRetryMs: 30_000,
  /** A tenant over its budget of processor time waits this long at most before its next version is loaded. */
  longestDebtMs: 2 * 60_000,
  /** File systems have coarse clocks: a file written this long before a build began may have changed after it was read. */
  clockMs: 20,
  /** World-writable paths that a warning names. */
  maxNamed: 5,
  /** The number of versions whose tenant is remembered. */
  maxVersions: 10_000,
} as const;

/** The history of versions. */
export const SHARING = {
  /** The wait for what the fleet serves, when a proxy starts. Its clients can't be served before. */
  longestStartMs: 2_000,
  /** The wait of a command for the fleet's store. Then the answer says that the others do not know of it yet. */
  longestCommandMs: 3_000,
  /** Attempts to enter a version, where several proxies do so at once. */
  maxTries: 20,
  /** Values of one tenant that are kept: a few for each set of its functions. */
  maxValues: 4_000,
} as const;

export const STORE = {
  /** Versions of one set of functions that are kept as bundles. docs/tenants.md has this number. */
  versions: 10,
  /** Numbers of versions are below this one: they are a part of files' names. */
  endOfNumbers: 1_000_000_000,
  /** Records of a tenant's versions, those without a bundle included. */
  records: 50,
  /** Versions that have served, for ROLLBACK without a number. */
  served: 20,
  /** Files of a version that are shown and kept in memory: hundreds of tenants have ten versions each. */
  shownFiles: 50,
  /** Characters of a version's own files that are kept beside its bundle, to be shown: rules have a few thousand. */
  sourceBytes: MB / 2,
  /** Bundles that are kept in memory where there is no state folder, all tenants together. */
  memoryBytes: 64 * MB,
  /** Versions of a tenant that are looked at on disk: there are more only if something else writes there. */
  maxListed: 200,
  /** Sets of functions of one tenant. */
  maxSets: 1_000,
  /** Numbers that are tried one after the other, where several processes share the folder. */
  maxTries: 100,
  /** Files whose disappearance is noticed over a restart. */
  knownFiles: 10_000,
  /** They are written this long after the first change: a start finds hundreds. */
  knownDelayMs: 500,
  /** The versions of a tenant that is gone are removed this long after the last change. docs/tenants.md has this number. */
  goneMs: 30 * 24 * 3_600_000,
  /** A file that has been begun this long ago is not being written any more. */
  draftMs: 3_600_000,
  /** A file of the state folder other than an artifact. */
  maxJsonBytes: 4 * MB,
  /** Folders whose contents may decide where an import leads. With more, files are bundled again at each start. */
  folders: 100,
  /** Names in one of them. */
  namesInFolder: 5_000,
  /** What could not be written is written again after this time. */
  retryMs: 30_000,
  /** Classes of servers' errors that a canary counts: there are some forty. */
  errorClasses: 1_000,
  /** The wait for a version to be written, before it serves. A disk that hangs must not hold functions up. */
  longestWriteMs: 2_000,
} as const;

/** Loading functions when they are used, and unloading them. */
export const IDLE = {
  /** Under `user_function_preload = auto`: with so few tenants, all of them are loaded at the start. */
  maxPreloaded: 64,
  /** Looks for idle tenants during one timeout: a tenant stays at most a quarter longer than that. */
  looks: 4,
  shortestLookMs: 100,
  longestLookMs: 60_000,
  /** Unloaded tenants that a log line names. */
  maxNamed: 10,
} as const;

/** Tenants that were costly to others. */
export const BLAME = {
  /** A tenant without a fault for this long starts afresh. */
  memoryMs: 5 * 60_000,
  /** The pause before a tenant's next version is loaded after the second fault; doubled with each further one. */
  firstWaitMs: 2_000,
  longestWaitMs: 2 * 60_000,
} as const;

/** Log lines about one tenant. */
export const JOURNAL = {
  /** At most one line about failures in this time: a broken rule fails with every query. */
  quietMs: 1_000,
  /** Refused moves that are logged in that time. */
  maxMoves: 10,
  /** Lines that a tenant may print in that time: more helps no reader, and all share the log. */
  maxPrinted: 100,
  /** Characters that a tenant may print in that time. */
  maxPrintedLength: 65_536,
  /** Characters that one batch may print: the prelude never sends more, unless code has broken out of an isolate. */
  maxPrintedText: 20_000,
} as const;

/** The last log lines about a tenant, which the console shows. */
export const LOG_LINES = {
  kept: 100,
  /** Lines that functions have printed: they must not push out the others. */
  printed: 50,
  /** Characters of a line that are kept: hundreds of tenants have lines. */
  maxLength: 1_000,
  /** Characters of the source lines of a mistake that are kept. */
  maxFrame: 2_000,
  /** Tenants that have lines. */
  tenants: 2_000,
} as const;

/** The live tail of decisions, which administrators may watch. */
export const TAP = {
  /** Watchers at the same time: each costs a comparison for every decision. */
  watchers: 8,
  /** A watcher sees one decision in this time at most: masking a query takes longer than deciding from memory. */
  everyMs: 50,
} as const;

/** The catalog of tenants: RELOAD, and names that clients make up. */
export const CATALOG = {
  /** How long RELOAD waits for the work that it has begun, which continues afterwards. */
  longestReloadMs: 5_000,
  /** The same for tenants that have harmed others lately. */
  longestSuspectMs: 3_000,
  /** Databases that are handled in one turn of the event loop: there may be hundreds. */
  namesPerTurn: 8,
  /** Late tenants that are named. */
  maxNamed: 10,
  /** Made-up names (the `*` entry) whose rights are remembered. */
  maxNames: 10_000,
} as const;

/** The candidate of a tenant, which is asked about queries that have already been forwarded. */
export const SHADOW = {
  /** Queries that wait for the candidate, and their characters: more are dropped and counted. */
  maxCalls: 256,
  maxLength: 1_000_000,
  /** Queries that the candidate is asked about at once. */
  batch: 16,
  /** The pause before each batch, and before each further look whether clients' calls wait. */
  yieldMs: 2,
  /** A tenant whose calls always wait is shadowed all the same, after this long. */
  longestYieldMs: 100,
  /** Of a tenant's CPU budget, the part that its candidate may use besides. */
  largestPart: 1 / 4,
  /** Unused processor time is saved up for this long. */
  burstMs: 1_000,
  /** The longest pause after one costly batch. */
  longestRestMs: 60_000,
  /** Samples of each kind of difference. */
  samples: 5,
  /** A kind that has its samples gets a new one at most this often: masking a query takes time. */
  quietMs: 1_000,
} as const;

/** A candidate that some of the clients are given. */
export const CANARY = {
  /** How often the two versions are compared. */
  lookMs: 1_000,
  /**
   * How often what was counted is written, for a restart: a process that crashes loses as much. docs/tenants.md has this
   * number.
   */
  keepMs: 10_000,
  /** Calls are compared over the last one to two of these, and since the canary began. */
  windowMs: 60_000,
  /** Each version must have had this many calls before they are compared. */
  minCalls: 50,
  /** Calls of one client that count in a window: no client can decide the comparison alone. */
  callsPerClient: 100,
  /** Clients that are told apart in a window; the calls of others do not count. */
  maxClients: 10_000,
  /** A difference counts if it exceeds the tolerance by this many standard errors. */
  deviations: 3,
  /** A difference between mean call times that is shorter never counts. */
  minSlowerUs: 1_000,
} as const;
