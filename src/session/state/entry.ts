/** The entries of the ledger (outstanding.ts): messages sent to a server, and the effects that depend on its answers. */

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

/** A CopyDone or CopyFail that the client sent before the server asked for data. It gets no answer. */
export const COPY_END = 9;
/** A Sync that the server ignored because it arrived in the middle of a COPY. It gets no answer. */
export const IGNORED = 10;

/** State that depends on a message. Exactly one of `done` and `undo` is called, or neither if the link ends first. */
export interface Effect {
  /** the message failed, or the server skipped it because of an earlier error */
  undo?(): void;
  /** the message was carried out */
  done?(): void;
  /** a Describe was answered: the payload of the RowDescription, empty for NoData */
  described?(columns: Buffer): void;
}

/** A message that was sent and is not fully answered. */
export interface Entry {
  readonly request: Request | typeof COPY_END | typeof IGNORED;
  /** the proxy itself sent the message: the client must not see its answer */
  readonly dropped: boolean;
  /** the proxy's own answer, because the message was not sent; null: the server answers */
  readonly fake: Buffer | null;
  /** an ErrorResponse that replaces the server's, for a message that was made to fail */
  readonly replacement: Buffer | null;
  readonly effect: Effect | null;
  /** the object that an error about this message concerns; null: none in particular */
  readonly subject: object | null;
}

function plain(request: Entry['request'], subject: object | null = null): Entry {
  return { request, dropped: false, fake: null, replacement: null, effect: null, subject };
}

/** An entry with an effect. */
export function entryWith(
  effect: Effect,
  request: Request,
  dropped = false,
  subject: object | null = null,
): Entry {
  return { request, dropped, fake: null, replacement: null, effect, subject };
}

/** An entry for messages about one object. Make it once and pass it to `Outstanding.sentAbout` each time. */
export function entryAbout(request: Request, subject: object): Entry {
  return plain(request, subject);
}

/** Entries without details are shared: they cost no allocation. */
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
