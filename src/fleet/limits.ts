/** The fixed limits of a fleet, with the reason for each. */

const KB = 1024;
const MB = 1024 * KB;

/** The connection to the store. Times in ms. */
export const STORE_CONNECTION = {
  /** for connecting and logging in to one host: one that drops packets must not keep the next one waiting for long */
  connectMs: 5_000,
  /** the bounds of the wait for an answer, which is two heartbeats: then the network or the server is taken for gone */
  shortestAnswerMs: 1_000,
  longestAnswerMs: 10_000,
  /** the server itself ends a statement, or a wait for a lock, a little earlier: its error says more */
  serverShare: 0.9,
  /** an idle connection is probed by the kernel as well, between two long heartbeats */
  keepAliveMs: 15_000,
  /** delays between attempts to connect: doubled each time, and spread, so that a fleet does not come at once */
  firstDelayMs: 250,
  longestDelayMs: 30_000,
  /** statements that wait for their turn; more are refused, because the store is too slow */
  queue: 64,
} as const;

/** A start waits this long for the store: then all cancel keys carry the proxy's id, and its rules are the fleet's. In ms. */
export const START_WAIT_MS = 3_000;
/** A proxy that ends waits this long for the store to take its last lines and its farewell; a fast exit less. In ms. */
export const STOP_WAIT_MS = 2_000;

/** Heartbeats. Times in ms. */
export const HEARTBEAT = {
  /** the bounds of fleet_heartbeat, and of the interval that a row may claim */
  shortestMs: 200,
  longestMs: 600_000,
  /** intervals without a heartbeat after which a proxy is away */
  missed: 3,
  /** a proxy that has ended is shown for this long, so that an operator of a rolling restart sees it */
  endedShownMs: 10 * 60_000,
  /** a proxy that is away is shown for this long; then its row and its peer id are free */
  awayShownMs: 60 * 60_000,
  /** interval of looking for rows to remove */
  tidyMs: 10 * 60_000,
} as const;

/** What is read of other proxies: more, or longer, is not theirs. */
export const PROXIES = {
  /** more proxies are not shown, and are no peers */
  most: 500,
  nameBytes: 255,
  addressBytes: 255,
  versionBytes: 64,
  /** a snapshot has a few dozen numbers */
  snapshotBytes: 8 * KB,
  /** peer_id has 14 bits */
  lastPeerId: 16383,
} as const;

/** What the fleet shares about tenants. */
export const SHARED = {
  kindBytes: 32,
  tenantBytes: 255,
  keyBytes: 512,
  userBytes: 255,
  /** a record is a description of a version, or less */
  bodyBytes: 64 * KB,
  /** all values together, which proxies keep in memory: those of 1,000 tenants have a few MB */
  totalBytes: 64 * MB,
  /** rows that are read at a time */
  page: 100,
  /** comparisons with what is known, each after a read: others may go on changing it */
  verifyTries: 3,
  /** a bundle of 8 MB (limits of user functions) with its sources and map */
  artifactBytes: 32 * MB,
  /** artifacts are read in pieces, so that a large one neither takes longer than an answer may nor delays a heartbeat */
  pieceBytes: MB,
} as const;

/** The audit log. */
export const AUDIT = {
  /** characters of a line */
  textLength: 2_000,
  userBytes: 255,
  /** lines that wait for the store; the oldest ones are dropped, and counted: the proxy's own log has them */
  queue: 1_000,
  /** lines that are written at a time */
  batch: 100,
  /** lines that SHOW FLEET AUDIT shows */
  shown: 200,
} as const;

/** Notifications of this time lead to one read: any user of the database can send a flood of them. In ms. */
export const NOTIFIED_MS = 50;

/** Complaints about damaged rows that are remembered, so that each is logged once. */
export const REFUSED_ROWS = 200;
