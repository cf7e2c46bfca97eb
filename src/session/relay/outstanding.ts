import { Backend } from '../../wire/protocol.ts';

/**
 * The ledger of replies that a linked client still has to get ("Message Flow" in PostgreSQL's manual). One entry for each
 * message that gets an answer of its own, in the order in which they were sent. Pure: it sees message types, never bytes.
 *
 * Three things can be done with an expected reply: it is passed on; it is dropped, because the proxy itself sent the
 * message (a Parse that a server had not seen yet); or it was never asked for, and the proxy puts its own in its place
 * when its turn comes (a ParseComplete for a statement that the server knows already).
 *
 * The ledger also knows whether a pipeline is open. The server begins an implicit transaction with the first message of
 * the extended protocol and ends it with the answer to a Sync, a Query or a FunctionCall. Flush brings the answers earlier
 * and ends nothing, so a pipeline can be open with nothing left to answer, and the status byte of the last ReadyForQuery
 * says nothing about it.
 *
 *     entries:   answered | Execute  Sync | Parse  Bind  Execute
 *                         ^ #head                               ^ end
 *     #isOpen: messages of the extended protocol stand after the last message that ReadyForQuery answers
 *
 * Every operation takes constant time, whatever is outstanding; what is taken back is paid for when it is sent.
 */
/** What kind of message an entry waits for the answer of. */
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

/** What to do with a message from the server. */
export const Reply = {
  /** pass it on */
  Forward: 0,
  /** swallow it: it answers a message of the proxy's own */
  Drop: 1,
  /** pass it on, then end the query cycle: everything up to here was answered */
  Ready: 2,
  /** swallow it and send `replacement` instead */
  Replace: 3,
  /** nothing that was sent can have this answer: the connection is out of step and must be closed */
  OutOfStep: 4,
  /** no server sends such a message to a client that is logged in */
  Unknown: 6,
} as const;
export type Reply = (typeof Reply)[keyof typeof Reply];

/** Stands for the client's CopyDone or CopyFail where it was sent before the server asked for data; gets no answer. */
const COPY_END = 9;
/** A Sync that the server has ignored, because it came in the middle of a COPY; gets no answer. */
const IGNORED = 10;

/** What the sender has noted of a message, and what becomes of that. */
export interface Effect {
  /** takes it back: the message failed, or an error before it made the server skip it */
  undo?(): void;
  /** told that it has been carried out */
  done?(): void;
  /** told what a Describe is answered with: the payload of a RowDescription, empty for NoData */
  described?(columns: Buffer): void;
}

/** A message that is on its way. */
export interface Entry {
  readonly request: Request | typeof COPY_END | typeof IGNORED;
  /** sent by the proxy itself: its reply is not the client's */
  readonly dropped: boolean;
  /** bytes that stand in for a reply that was never asked for; null: the server answers */
  readonly fake: Buffer | null;
  /** an ErrorResponse that takes the place of the server's, for a message that was made to fail */
  readonly replacement: Buffer | null;
  readonly effect: Effect | null;
  /** what the message is about, for whoever looks at its error; null: nothing in particular */
  readonly subject: object | null;
}

function plain(request: Entry['request'], subject: object | null = null): Entry {
  return { request, dropped: false, fake: null, replacement: null, effect: null, subject };
}

/** An entry for messages about one thing, to be made once and given to `sentAbout` each time. */
export function entryAbout(request: Request, subject: object): Entry {
  return plain(request, subject);
}

// Entries without particulars are shared: nothing is allocated for them.
const PLAIN: readonly Entry[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, COPY_END, IGNORED].map((request) =>
  plain(request as Request),
);
const PLAIN_PARSE = PLAIN[Request.Parse]!;

/** Answered entries are dropped from the front when there are this many, and more of them than of the others. */
const TRIM_AT = 1024;

/** Positions in the ledger, in ascending order: added at the end, taken from the front. */
class Positions {
  #all: number[] = [];
  #head = 0;

  /** The lowest one; Infinity: there is none. */
  get first(): number {
    return this.#head < this.#all.length ? this.#all[this.#head]! : Infinity;
  }

  add(position: number): void {
    this.#all.push(position);
  }

  /** Takes the lowest one away. @returns how many steps that took */
  take(): number {
    this.#head++;
    if (this.#head === this.#all.length) return this.clear();
    if (this.#head < TRIM_AT || this.#head * 2 < this.#all.length) return 1;
    this.#all = this.#all.slice(this.#head);
    this.#head = 0;
    return 1 + this.#all.length;
  }

  clear(): number {
    this.#all.length = 0;
    this.#head = 0;
    return 1;
  }
}

export class Outstanding {
  #entries: Entry[] = [];
  #head = 0;
  /** position of the first of #entries: every message has one of its own, and they only ever grow */
  #base = 0;
  /** where the Syncs are that the server will answer */
  readonly #syncs = new Positions();
  /** where CopyDone and CopyFail were sent before the server asked for data */
  readonly #copyEnds = new Positions();
  /** position of the last message that ReadyForQuery answers, and of the last Parse without particulars */
  #lastClosing = -1;
  #lastParse = -1;
  #readies = 0;
  /** Extended-query messages were sent, by the client or for it, after the last that ReadyForQuery answers. */
  #isOpen = false;
  /** An Execute was among them. */
  #hasExecuted = false;
  /** A Query or FunctionCall was sent in the middle of a pipeline, behind an Execute. */
  #isMixed = false;
  /** An error was reported and no Sync has been sent since: the server ignores all until then. */
  #skipping = false;
  /** Between CopyInResponse and the client's CopyDone or CopyFail: the server ignores Sync and Flush. */
  #copyIn = false;
  /** A copy-in runs whose end was sent before the server asked for data. */
  #copyAhead = false;
  #ignoredSyncs = 0;
  /** Syncs that were taken to be ignored by a copy-in that then failed: the server may answer them after all. */
  #doubtfulSyncs = 0;
  /** How many Syncs have been sent: what came before the last one may fail without what came after it. */
  syncs = 0;
  /** The last error has taken a Parse without particulars along, and no later one is still to be answered. */
  lostParse = false;
  /** What the message was about that the last error answers. */
  failed: object | null = null;
  /** Who is to be told of the RowDescription or NoData that `reply` was asked about last; taken away by whoever tells. */
  described: Effect | null = null;
  /** The replacement that goes with Reply.Replace. */
  replacement: Buffer | null = null;
  /** Entries that were looked at or moved so far: what a test of linear time counts. */
  steps = 0;

  /** Nothing is expected any more. A pipeline may still be open. */
  get empty(): boolean {
    return this.#head === this.#entries.length;
  }

  /**
   * The server is, or will be, in a transaction of the pipeline's or in the middle of an answer. Whether a server is between
   * transactions is only known with its last status byte in addition (Client.inTransaction).
   */
  get busy(): boolean {
    return this.#isOpen || this.#head !== this.#entries.length;
  }

  /** Answers that are still to come, the proxy's own included. */
  get size(): number {
    return this.#entries.length - this.#head;
  }

  /** An error was reported, and whatever is sent before a Sync the server throws away. */
  get skipping(): boolean {
    return this.#skipping;
  }

  /** Extended-query messages have been sent, or answered, that no Sync has closed yet. */
  get unsynced(): boolean {
    return this.#isOpen;
  }

  /** The server waits for the client's data: until then there are no more answers. */
  get inCopy(): boolean {
    return this.#copyIn;
  }

  /** How many ReadyForQuery messages are still to come. */
  get readies(): number {
    return this.#readies;
  }

  /** The requests that are not answered yet, in the order in which they were sent. Not for the hot path. */
  get requests(): Request[] {
    const requests: Request[] = [];
    for (let i = this.#head; i < this.#entries.length; i++) {
      const { request } = this.#entries[i]!;
      if (request !== COPY_END && request !== IGNORED) requests.push(request);
    }
    return requests;
  }

  /** Replies may still come that nothing waits for: the server must not be used again before they have. */
  get tainted(): boolean {
    return this.#doubtfulSyncs > 0;
  }

  /**
   * A Query or FunctionCall came in the middle of a pipeline. PostgreSQL up to 18.4 may then say to the next Sync that it is
   * idle and still be in the transaction, and nobody else must be given such a server.
   */
  get mixed(): boolean {
    return this.#isMixed;
  }

  /** The position of the next message that is sent. */
  get nextPosition(): number {
    return this.#base + this.#entries.length;
  }

  /** The position of the first message that is not answered; what was sent before has a lower one. */
  get position(): number {
    return this.#base + this.#head;
  }

  /** A message of the client's goes to the server. */
  sent(request: Request): void {
    if (request === Request.Sync) {
      if (this.#copyIn) {
        this.#ignoredSyncs++;
        return;
      }
      this.#skipping = false;
      this.syncs++;
      this.#syncs.add(this.nextPosition);
    } else if (this.#skipping) {
      // "reads and discards messages until a Sync is reached": a Query too
      return;
    }
    if (request <= Request.Sync) {
      if (this.#hasExecuted) this.#endExecuted(request);
      this.#readies++;
      this.#isOpen = false;
      this.#lastClosing = this.nextPosition;
    } else {
      this.#isOpen = true;
      if (request === Request.Execute) this.#hasExecuted = true;
      else if (request === Request.Parse) this.#lastParse = this.nextPosition;
    }
    this.steps++;
    this.#entries.push(PLAIN[request]!);
  }

  /** A message of the extended protocol goes to the server, about what its entry says (entryAbout). */
  sentAbout(entry: Entry): void {
    this.#push(entry);
  }

  /** A Parse goes to the server: the client's own, or one that the proxy adds, whose answer is `dropped`. */
  sentParse(dropped: boolean, effect: Effect, subject: object | null = null): void {
    this.#push({ ...PLAIN_PARSE, dropped, effect, subject });
  }

  /** A Close of the proxy's own goes to the server. */
  sentClose(effect: Effect): void {
    this.#push({ ...PLAIN[Request.Close]!, dropped: true, effect });
  }

  /** An Execute of the client's goes to the server, of which more becomes than an answer. */
  sentExecute(effect: Effect): void {
    if (!this.#skipping) this.#hasExecuted = true;
    this.#push({ ...PLAIN[Request.Execute]!, effect });
  }

  /** A Describe of a prepared statement: the client's own, or one that the proxy adds, whose answer is `dropped`. */
  sentDescribe(dropped: boolean, effect: Effect, subject: object): void {
    this.#push({ ...PLAIN[Request.Describe]!, dropped, effect, subject });
  }

  /** A message that is made to fail at the server goes there; `replacement` is what the client gets for it. */
  sentFailing(request: Request, replacement: Buffer): void {
    this.#push({ ...PLAIN[request]!, replacement });
  }

  /**
   * A message is answered by the proxy itself.
   * @returns whether the bytes can be sent now, because nothing is expected before them
   */
  answered(request: Request, reply: Buffer, effect: Effect | null = null): boolean {
    if (this.empty && !this.#skipping) {
      if (request > Request.Sync) this.#isOpen = true;
      // it takes a position like any other
      this.#base++;
      effect?.done?.();
      return true;
    }
    this.#push({ ...PLAIN[request]!, fake: reply, effect });
    return false;
  }

  /** The client ended its copy-in (CopyDone or CopyFail), perhaps before it began. */
  copyEnded(): void {
    if (this.#copyIn) {
      this.#copyIn = false;
    } else if (!this.empty && !this.#skipping) {
      this.#copyEnds.add(this.nextPosition);
      this.steps++;
      this.#entries.push(PLAIN[COPY_END]!);
    }
  }

  /** Bytes of the proxy's own that are due now, before the server's next message; null when there are none. */
  due(): Buffer | null {
    const entry = this.#entries[this.#head];
    if (entry === undefined || entry.fake === null) return null;
    this.#pop(entry);
    entry.effect?.done?.();
    return entry.fake;
  }

  /** Type byte of a message from the server: what becomes of it. */
  reply(type: number): Reply {
    const entry = this.#entries[this.#head];
    switch (type) {
      case Backend.ReadyForQuery:
        this.#copyIn = false;
        this.#copyAhead = false;
        if (entry !== undefined && entry.request <= Request.Sync) {
          this.#pop(entry);
          return Reply.Ready;
        }
        if (this.#doubtfulSyncs === 0) return Reply.OutOfStep;
        this.#doubtfulSyncs--;
        if (this.#skipping) this.#isOpen = false;
        this.#skipping = false;
        return Reply.Ready;
      case Backend.ParseComplete:
        return this.#complete(entry, Request.Parse);
      case Backend.BindComplete:
        return this.#complete(entry, Request.Bind);
      case Backend.CloseComplete:
        return this.#complete(entry, Request.Close);
      case Backend.RowDescription:
      case Backend.NoData:
        if (entry === undefined) return Reply.OutOfStep;
        // A simple query's RowDescription belongs to the Query.
        if (entry.request !== Request.Describe) return Reply.Forward;
        this.described = entry.effect;
        this.#pop(entry);
        return entry.dropped ? Reply.Drop : Reply.Forward;
      case Backend.CommandComplete:
      case Backend.EmptyQueryResponse:
      case Backend.PortalSuspended:
        this.#copyIn = false;
        this.#copyAhead = false;
        if (entry !== undefined && entry.request === Request.Execute) {
          this.#pop(entry);
          entry.effect?.done?.();
        }
        return entry === undefined ? Reply.OutOfStep : Reply.Forward;
      case Backend.CopyInResponse:
        if (entry === undefined || (entry.request !== Request.Execute && entry.request !== Request.Query))
          return Reply.OutOfStep;
        this.#startCopyIn(entry);
        return Reply.Forward;
      case Backend.ErrorResponse:
        return this.#error(entry);
      case Backend.ParameterDescription:
        return entry !== undefined && entry.dropped ? Reply.Drop : Reply.Forward;
      case Backend.FunctionCallResponse:
      case Backend.CopyOutResponse:
      case Backend.CopyBothResponse:
      case Backend.CopyDone:
      case Backend.NoticeResponse:
      case Backend.NotificationResponse:
      case Backend.ParameterStatus:
        return Reply.Forward;
      default:
        return Reply.Unknown;
    }
  }

  /** Forgets everything: the link is gone. */
  clear(): void {
    this.#loseUntil(this.nextPosition);
    this.#syncs.clear();
    this.#copyEnds.clear();
    this.#readies = 0;
    this.#isOpen = false;
    this.#hasExecuted = false;
    this.#isMixed = false;
    this.#skipping = false;
    this.#copyIn = false;
    this.#copyAhead = false;
    this.#doubtfulSyncs = 0;
  }

  #endExecuted(request: Request): void {
    this.#hasExecuted = false;
    if (request !== Request.Sync) this.#isMixed = true;
  }

  #complete(entry: Entry | undefined, request: Request): Reply {
    if (entry === undefined || entry.request !== request) return Reply.OutOfStep;
    this.#pop(entry);
    entry.effect?.done?.();
    return entry.dropped ? Reply.Drop : Reply.Forward;
  }

  /**
   * "An error inside Parse, Bind, Describe, Execute or Close": the server reads and discards messages until a Sync.
   * An error in a Query, a FunctionCall or a Sync is followed by ReadyForQuery. With nothing outstanding it is the
   * server's own (a shutdown), and goes to the client.
   */
  #error(entry: Entry | undefined): Reply {
    if (this.#copyIn || this.#copyAhead) this.#doubtfulSyncs += this.#ignoredSyncs;
    this.#copyIn = false;
    this.#copyAhead = false;
    this.failed = null;
    this.lostParse = false;
    if (entry === undefined) return Reply.Forward;
    this.replacement = entry.replacement;
    this.failed = entry.subject;
    if (entry.request > Request.Sync) {
      const end = Math.min(this.#syncs.first, this.nextPosition);
      this.lostParse = this.#lastParse >= this.position && this.#lastParse < end;
      this.#loseUntil(end);
      if (this.empty) {
        this.#skipping = true;
        // a Query after the error was skipped, too: only a Sync ends this
        this.#isOpen = true;
      }
    }
    return this.replacement === null ? Reply.Forward : Reply.Replace;
  }

  /**
   * "In copy-in mode the server ignores Flush and Sync": those that were sent ahead, behind the message that turned out
   * to be a COPY and before the CopyDone, get no answer. Drivers that use the extended protocol send one, and another
   * after CopyDone.
   */
  #startCopyIn(entry: Entry): void {
    this.#ignoredSyncs = 0;
    const end = this.#copyEnds.first;
    while (this.#syncs.first < end) {
      const at = this.#syncs.first;
      this.steps += 1 + this.#syncs.take();
      this.#entries[at - this.#base] = PLAIN[IGNORED]!;
      this.#readies--;
      this.#ignoredSyncs++;
      // it was taken for the end of the pipeline
      if (at === this.#lastClosing) this.#isOpen = entry.request > Request.Sync;
    }
    this.#copyIn = end === Infinity;
    if (this.#copyIn) return;
    this.#copyAhead = true;
    this.steps += this.#copyEnds.take();
    this.#entries[end - this.#base] = PLAIN[IGNORED]!;
  }

  #push(entry: Entry): void {
    if (this.#skipping) return entry.effect?.undo?.();
    if (entry.request <= Request.Sync) {
      if (this.#hasExecuted) this.#endExecuted(entry.request as Request);
      this.#readies++;
      this.#lastClosing = this.nextPosition;
    }
    this.#isOpen = entry.request > Request.Sync;
    this.steps++;
    this.#entries.push(entry);
  }

  /** The server has not done these messages, up to a position. What was noted last is taken back first. */
  #loseUntil(end: number): void {
    const lost = this.#entries.slice(this.#head, end - this.#base);
    this.steps += lost.length;
    for (const { request } of lost) {
      if (request <= Request.Sync) this.#readies--;
      else if (request === COPY_END) this.steps += this.#copyEnds.take();
    }
    this.#head = end - this.#base;
    this.#skipUnanswered();
    for (let i = lost.length - 1; i >= 0; i--) lost[i]!.effect?.undo?.();
  }

  #pop(entry: Entry): void {
    this.steps++;
    if (entry.request <= Request.Sync) {
      this.#readies--;
      if (entry.request === Request.Sync) this.steps += this.#syncs.take();
    }
    this.#head++;
    this.#skipUnanswered();
  }

  /** What gets no answer is over when its turn comes. */
  #skipUnanswered(): void {
    const entries = this.#entries;
    for (let entry = entries[this.#head]; entry !== undefined; entry = entries[this.#head]) {
      if (entry.request < COPY_END) break;
      if (entry.request === COPY_END) this.steps += this.#copyEnds.take();
      this.steps++;
      this.#head++;
    }
    this.#trim();
  }

  #trim(): void {
    if (this.#head === this.#entries.length) {
      this.#base += this.#head;
      this.#entries.length = 0;
      this.#head = 0;
    } else if (this.#head > TRIM_AT && this.#head * 2 > this.#entries.length) {
      // a client that never lets its pipeline run dry must not make the array grow for ever
      this.#base += this.#head;
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
      this.steps += this.#entries.length;
    }
  }
}
