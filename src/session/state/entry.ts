/** The entries of the ledger (outstanding.ts): messages that were sent to a server, and the effects that depend on its answer. */

/** The kinds of messages that get an answer of their own. All up to Sync are answered by a ReadyForQuery. */
export const Request = {
  Query: 1,
  FunctionCall: 2,
  Sync: 3,
  Parse: 4,
  Bind: 5,
  Describe: 6,
  Execute: 7,
  Close: 8,
} as const;
export type Request = (typeof Request)[keyof typeof Request];

/** Requests that execute something. A Bind or Describe may run functions too, but commits nothing. */
export const EXECUTES: ReadonlySet<Request> = new Set([Request.Query, Request.FunctionCall, Request.Execute]);

/** A CopyDone or CopyFail that the client sent before the server asked for data; it gets no answer. */
export const COPY_END = 9;
/** A Sync that the server has ignored, because it came in the middle of a COPY; it gets no answer. */
export const IGNORED = 10;

/** The state that depends on a message. Exactly one of `done` and `undo` is called, or neither if the link ends before. */
export interface Effect {
  /** the message failed, or the server skipped it because of an error before it */
  undo?(): void;
  /** the message was carried out */
  done?(): void;
  /** a Describe was answered: the payload of the RowDescription, empty for NoData */
  described?(columns: Buffer): void;
}

/** A message that is on its way. */
export interface Entry {
  readonly request: Request | typeof COPY_END | typeof IGNORED;
  /** the proxy itself sent the message: its answer is not for the client */
  readonly dropped: boolean;
  /** the answer if the proxy itself gives it, because the message was not sent; null: the server answers */
  readonly fake: Buffer | null;
  /** an ErrorResponse that takes the place of the server's, for a message that was made to fail */
  readonly replacement: Buffer | null;
  readonly effect: Effect | null;
  /** the object that an error in answer to the message is about; null: nothing in particular */
  readonly subject: object | null;
}

function plain(request: Entry['request'], subject: object | null = null): Entry {
  return { request, dropped: false, fake: null, replacement: null, effect: null, subject };
}

/** An entry for messages about one object, to be made once and given to `Outstanding.sentAbout` each time. */
export function entryAbout(request: Request, subject: object): Entry {
  return plain(request, subject);
}

/** Entries without particulars are shared: nothing is allocated for them. */
export const PLAIN: Readonly<Record<Entry['request'], Entry>> = {
  [Request.Query]: plain(Request.Query),
  [Request.FunctionCall]: plain(Request.FunctionCall),
  [Request.Sync]: plain(Request.Sync),
  [Request.Parse]: plain(Request.Parse),
  [Request.Bind]: plain(Request.Bind),
  [Request.Describe]: plain(Request.Describe),
  [Request.Execute]: plain(Request.Execute),
  [Request.Close]: plain(Request.Close),
  [COPY_END]: plain(COPY_END),
  [IGNORED]: plain(IGNORED),
};
