import type { ClientError } from '../wire/errors.ts';
import { Backend } from '../wire/protocol.ts';

/**
 * The ledger of replies that a linked client still has to get ("Message Flow" in PostgreSQL's manual). One entry for each
 * message that gets an answer of its own, in the order in which they were sent. Pure: it sees message types, never bytes.
 *
 * Three things can be done with an expected reply: it is passed on; it is dropped, because the proxy itself sent the
 * message (a Parse that a server had not seen yet); or it was never asked for, and the proxy puts its own in its place
 * when its turn comes (a ParseComplete for a statement that the server knows already).
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
  /** the message was one that ends its client's connection, and nothing before it has failed: `ending` says why */
  End: 5,
  /** no server sends such a message to a client that is logged in */
  Unknown: 6,
} as const;
export type Reply = (typeof Reply)[keyof typeof Reply];

/** Stands for the client's CopyDone or CopyFail where it was sent before the server asked for data; gets no answer. */
const COPY_END = 9;

/** What the sender has noted of a message, and what becomes of that. */
export interface Effect {
  /** takes it back: the message failed, or an error before it made the server skip it */
  undo?(): void;
  /** told that it has been carried out */
  done?(): void;
  /** notes it once more: it was lost with all prepared statements, which were dropped before its turn */
  again?(): void;
}

interface Entry {
  readonly request: Request | typeof COPY_END;
  /** sent by the proxy itself: its reply is not the client's */
  readonly dropped: boolean;
  /** bytes that stand in for a reply that was never asked for; null: the server answers */
  readonly fake: Buffer | null;
  /** an ErrorResponse that takes the place of the server's, for a message that was made to fail */
  readonly replacement: Buffer | null;
  /** what ends the client's connection when the server comes to this message, and does not skip it */
  readonly ending: ClientError | null;
  readonly effect: Effect | null;
}

function plain(request: Entry['request']): Entry {
  return { request, dropped: false, fake: null, replacement: null, ending: null, effect: null };
}

// Entries without particulars are shared: nothing is allocated for them.
const PLAIN: readonly Entry[] = [0, 1, 2, 3, 4, 5, 6, 7, 8, COPY_END].map((request) =>
  plain(request as Request),
);

export class Outstanding {
  #entries: Entry[] = [];
  #head = 0;
  /** An error was reported and no Sync has been sent since: the server ignores all until then. */
  #skipping = false;
  /** Between CopyInResponse and the client's CopyDone or CopyFail: the server ignores Sync and Flush. */
  #copyIn = false;
  #ignoredSyncs = 0;
  /** Syncs that were taken to be ignored by a copy-in that then failed: the server may answer them after all. */
  #doubtfulSyncs = 0;
  /** The proxy answered an extended-query message at once, and no Sync has been sent since. */
  #answeredAhead = false;
  /** How many Syncs have been sent: what came before the last one may fail without what came after it. */
  syncs = 0;
  /** The last error has taken a Parse without particulars along, and no later one is still to be answered. */
  lostParse = false;
  /** The replacement that goes with Reply.Replace. */
  replacement: Buffer | null = null;
  /** The error that goes with Reply.End. */
  ending: ClientError | null = null;

  /** Nothing is expected any more. */
  get empty(): boolean {
    return this.#head === this.#entries.length;
  }

  /** An error was reported, and whatever is sent before a Sync the server throws away. */
  get skipping(): boolean {
    return this.#skipping;
  }

  /** Extended-query messages have been sent that no Sync has closed yet. */
  get unsynced(): boolean {
    if (this.#skipping || this.#answeredAhead) return true;
    for (let i = this.#entries.length - 1; i >= this.#head; i--) {
      const { request } = this.#entries[i]!;
      if (request !== COPY_END) return request > Request.Sync;
    }
    return false;
  }

  /** The server waits for the client's data: until then there are no more answers. */
  get inCopy(): boolean {
    return this.#copyIn;
  }

  /** How many ReadyForQuery messages are still to come. */
  get readies(): number {
    let count = 0;
    for (let i = this.#head; i < this.#entries.length; i++)
      if (this.#entries[i]!.request <= Request.Sync) count++;
    return count;
  }

  /** How many portals are still to be made. */
  get binds(): number {
    let count = 0;
    for (let i = this.#head; i < this.#entries.length; i++)
      if (this.#entries[i]!.request === Request.Bind) count++;
    return count;
  }

  /** The requests that are not answered yet, in the order in which they were sent. Not for the hot path. */
  get requests(): Request[] {
    const requests: Request[] = [];
    for (let i = this.#head; i < this.#entries.length; i++) {
      const { request } = this.#entries[i]!;
      if (request !== COPY_END) requests.push(request);
    }
    return requests;
  }

  /** Replies may still come that nothing waits for: the server must not be used again before they have. */
  get tainted(): boolean {
    return this.#doubtfulSyncs > 0;
  }

  /** A message of the client's goes to the server. */
  sent(request: Request): void {
    if (this.#copyIn && request === Request.Sync) {
      this.#ignoredSyncs++;
      return;
    }
    if (this.#skipping) {
      // "reads and discards messages until a Sync is reached": a Query too
      if (request !== Request.Sync) return;
      this.#skipping = false;
    }
    if (request <= Request.Sync) this.#answeredAhead = false;
    if (request === Request.Sync) this.syncs++;
    this.#entries.push(PLAIN[request]!);
  }

  /** A Parse goes to the server: the client's own, or one that the proxy adds, whose answer is `dropped`. */
  sentParse(dropped: boolean, effect: Effect): void {
    this.#push({ ...PLAIN[Request.Parse]!, dropped, effect });
  }

  /** A Close of the proxy's own goes to the server. */
  sentClose(effect: Effect): void {
    this.#push({ ...PLAIN[Request.Close]!, dropped: true, effect });
  }

  /** A message that is made to fail at the server goes there; `replacement` is what the client gets for it. */
  sentFailing(request: Request, replacement: Buffer): void {
    this.#push({ ...PLAIN[request]!, replacement });
  }

  /** A message that fails at the server goes there in the place of one that ends its client's connection. */
  sentEnding(request: Request, error: ClientError): void {
    this.#push({ ...PLAIN[request]!, ending: error });
  }

  /**
   * A message is answered by the proxy itself.
   * @returns whether the bytes can be sent now, because nothing is expected before them
   */
  answered(request: Request, reply: Buffer, effect: Effect | null = null): boolean {
    if (this.empty && !this.#skipping) {
      if (request > Request.Sync) this.#answeredAhead = true;
      effect?.done?.();
      return true;
    }
    this.#push({ ...PLAIN[request]!, fake: reply, effect });
    return false;
  }

  /** All prepared statements are gone, by something that was sent before what is still to be answered. */
  noteAgain(): void {
    for (let i = this.#head; i < this.#entries.length; i++) this.#entries[i]!.effect?.again?.();
  }

  /** The client ended its copy-in (CopyDone or CopyFail), perhaps before it began. */
  copyEnded(): void {
    if (this.#copyIn) this.#copyIn = false;
    else if (!this.empty) this.#push(PLAIN[COPY_END]!);
  }

  /** Bytes of the proxy's own that are due now, before the server's next message; null when there are none. */
  due(): Buffer | null {
    const entry = this.#entries[this.#head];
    if (entry === undefined || entry.fake === null) return null;
    this.#pop();
    entry.effect?.done?.();
    return entry.fake;
  }

  /** Type byte of a message from the server: what becomes of it. */
  reply(type: number): Reply {
    const entry = this.#entries[this.#head];
    switch (type) {
      case Backend.ReadyForQuery:
        this.#copyIn = false;
        if (entry !== undefined && entry.request <= Request.Sync) {
          this.#pop();
          return Reply.Ready;
        }
        if (this.#doubtfulSyncs === 0) return Reply.OutOfStep;
        this.#doubtfulSyncs--;
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
        // A simple query's RowDescription belongs to the Query.
        if (entry !== undefined && entry.request === Request.Describe) this.#pop();
        return entry === undefined ? Reply.OutOfStep : Reply.Forward;
      case Backend.CommandComplete:
      case Backend.EmptyQueryResponse:
      case Backend.PortalSuspended:
        this.#copyIn = false;
        if (entry !== undefined && entry.request === Request.Execute) this.#pop();
        return entry === undefined ? Reply.OutOfStep : Reply.Forward;
      case Backend.CopyInResponse:
        this.#startCopyIn();
        return entry === undefined ? Reply.OutOfStep : Reply.Forward;
      case Backend.ErrorResponse:
        return this.#error(entry);
      case Backend.ParameterDescription:
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
    this.#loseUntil(this.#entries.length);
    this.#skipping = false;
    this.#answeredAhead = false;
    this.#copyIn = false;
    this.#doubtfulSyncs = 0;
  }

  #complete(entry: Entry | undefined, request: Request): Reply {
    if (entry === undefined || entry.request !== request) return Reply.OutOfStep;
    this.#pop();
    entry.effect?.done?.();
    return entry.dropped ? Reply.Drop : Reply.Forward;
  }

  /**
   * "An error inside Parse, Bind, Describe, Execute or Close": the server reads and discards messages until a Sync.
   * An error in a Query, a FunctionCall or a Sync is followed by ReadyForQuery. With nothing outstanding it is the
   * server's own (a shutdown), and goes to the client.
   */
  #error(entry: Entry | undefined): Reply {
    if (this.#copyIn) this.#doubtfulSyncs += this.#ignoredSyncs;
    this.#copyIn = false;
    if (entry === undefined) return Reply.Forward;
    this.ending = entry.ending;
    if (entry.ending !== null) return Reply.End;
    this.replacement = entry.replacement;
    this.lostParse = false;
    if (entry.request > Request.Sync) {
      let end = this.#head;
      while (end < this.#entries.length && this.#entries[end]!.request !== Request.Sync) end++;
      const lastParse = this.#entries.lastIndexOf(PLAIN[Request.Parse]!);
      this.lostParse = lastParse >= this.#head && lastParse < end;
      this.#loseUntil(end);
      if (this.empty) this.#skipping = true;
    }
    return this.replacement === null ? Reply.Forward : Reply.Replace;
  }

  /**
   * "In copy-in mode the server ignores Flush and Sync": those that were sent ahead, behind the message that turned out
   * to be a COPY and before the CopyDone, get no answer. Drivers that use the extended protocol send one, and another
   * after CopyDone.
   */
  #startCopyIn(): void {
    this.#ignoredSyncs = 0;
    const ahead = this.#entries.slice(this.#head);
    const end = ahead.findIndex((each) => each.request === COPY_END);
    this.#copyIn = end < 0;
    const during = end < 0 ? ahead : ahead.slice(0, end);
    const kept = during.filter((each) => each.request !== Request.Sync);
    this.#ignoredSyncs = during.length - kept.length;
    this.#entries = end < 0 ? kept : [...kept, ...ahead.slice(end + 1)];
    this.#head = 0;
  }

  #push(entry: Entry): void {
    if (this.#skipping) entry.effect?.undo?.();
    else this.#entries.push(entry);
  }

  /** The server has not done these messages. What was noted last is taken back first. */
  #loseUntil(end: number): void {
    const lost = this.#entries.slice(this.#head, end);
    this.#head = end;
    this.#trim();
    for (let i = lost.length - 1; i >= 0; i--) lost[i]!.effect?.undo?.();
  }

  #pop(): void {
    this.#head++;
    while (this.#entries[this.#head]?.request === COPY_END) this.#head++;
    this.#trim();
  }

  #trim(): void {
    if (this.#head === this.#entries.length) {
      this.#entries.length = 0;
      this.#head = 0;
    } else if (this.#head > 1024) {
      // a client that never lets its pipeline run dry must not make the array grow for ever
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }
}
