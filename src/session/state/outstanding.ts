/**
 * The ledger of the answers that a linked client is still to get ("Message Flow" in PostgreSQL's manual). It has one entry
 * for each message that gets an answer of its own, in the order in which they were sent. It sees message types, never bytes.
 *
 * An expected answer has one of three fates. It is passed on. It is dropped, if the proxy itself sent the message (a Parse
 * that the server had not seen yet). Or it was never asked for, and the proxy gives its own answer when its turn comes (a
 * ParseComplete for a statement that the server has already).
 *
 * The ledger also knows whether a pipeline is open. The server begins an implicit transaction with the first message of the
 * extended protocol, and ends it with the answer to a Sync, a Query or a FunctionCall. A Flush brings the answers earlier and
 * ends nothing. So a pipeline can be open with nothing left to answer, and then the status byte of the last ReadyForQuery does
 * not show it.
 *
 *     entries:   answered | Execute  Sync | Parse  Bind  Execute
 *                         ^ #head                               ^ end
 *     #isOpen: messages of the extended protocol stand after the last message that a ReadyForQuery answers
 *
 * Every operation takes constant time, whatever is outstanding; taking a message back is paid for when it is sent.
 */
import { Backend } from '../../wire/protocol.ts';
import { COPY_END, entryWith, IGNORED, PLAIN, Request, type Effect, type Entry } from './entry.ts';
import { Positions } from './positions.ts';

/** The ledger's verdict on a message from the server. */
export const Reply = {
  /** pass it on */
  Forward: 0,
  /** drop it: it answers one of the proxy's own messages */
  Drop: 1,
  /** pass it on, and end the query cycle: everything up to here is answered */
  Ready: 2,
  /** drop it and send `replacement` in its place */
  Replace: 3,
  /** no sent message can have this answer: the connection is out of step and must be closed */
  OutOfStep: 4,
  /** no server sends such a message to a logged-in client */
  Unknown: 6,
} as const;
export type Reply = (typeof Reply)[keyof typeof Reply];

/** Answered entries are dropped from the front when there are at least this many, and more of them than of unanswered ones. */
const TRIM_AT = 1024;
/** A pipeline of at most this many messages keeps its memory when all are answered. */
const SHORT = 8;

export class Outstanding {
  #entries: Entry[] = [];
  #head = 0;
  /** position of the first of #entries; every message has a position of its own, and positions only grow */
  #base = 0;
  /** positions of the Syncs that the server will answer */
  readonly #syncs = new Positions();
  /** positions of each CopyDone and CopyFail that was sent before the server asked for data */
  readonly #copyEnds = new Positions();
  /** position of the last message that ReadyForQuery answers, and of the last Parse without particulars */
  #lastClosing = -1;
  #lastParse = -1;
  #readies = 0;
  /** The client, or the proxy for it, has sent extended-query messages after the last message that ReadyForQuery answers. */
  #isOpen = false;
  /** An Execute was among them. */
  #hasExecuted = false;
  /** A Query or FunctionCall was sent in the middle of a pipeline, after an Execute. */
  #isMixed = false;
  /** An error was reported and no Sync has been sent since: the server ignores everything until a Sync. */
  #skipping = false;
  /** Between CopyInResponse and the client's CopyDone or CopyFail: the server ignores Sync and Flush. */
  #copyIn = false;
  /** A copy-in is running whose end was sent before the server asked for data. */
  #copyAhead = false;
  #ignoredSyncs = 0;
  /** Syncs that a copy-in seemed to ignore before it failed: the server may answer them after all. */
  #doubtfulSyncs = 0;
  #sentSyncs = 0;
  #lostParse = false;
  #failed: object | null = null;
  #described: Effect | null = null;
  #replacement: Buffer | null = null;
  #steps = 0;

  /** The number of Syncs sent: messages before the last one may fail without the messages after it. */
  get syncs(): number {
    return this.#sentSyncs;
  }

  /** The last error took down a Parse without particulars, and no later one is unanswered. */
  get lostParse(): boolean {
    return this.#lostParse;
  }

  /** The subject of the message that the last error answers; null: none in particular. */
  get failed(): object | null {
    return this.#failed;
  }

  /** The bytes that replace an answer when the outcome is Reply.Replace. */
  get replacement(): Buffer | null {
    return this.#replacement;
  }

  /** Entries looked at or moved so far; a test of linear time counts them. */
  get steps(): number {
    return this.#steps;
  }

  /** Every answer has arrived. A pipeline may still be open. */
  get empty(): boolean {
    return this.#head === this.#entries.length;
  }

  /**
   * The server is in the transaction of a pipeline or in the middle of an answer, or will be. Whether it is between
   * transactions depends on its last status byte as well (Client.inTransaction).
   */
  get busy(): boolean {
    return this.#isOpen || this.#head !== this.#entries.length;
  }

  /** Answers still to come, the proxy's own included. */
  get size(): number {
    return this.#entries.length - this.#head;
  }

  /** An error was reported: the server ignores everything before the next Sync. */
  get skipping(): boolean {
    return this.#skipping;
  }

  /** Extended-query messages have been sent or answered, and no Sync has closed them. */
  get unsynced(): boolean {
    return this.#isOpen;
  }

  /** The server waits for the client's data, and answers nothing until it ends. */
  get inCopy(): boolean {
    return this.#copyIn;
  }

  /** The number of ReadyForQuery messages still to come. */
  get readies(): number {
    return this.#readies;
  }

  /** The unanswered requests, in the order in which they were sent. Not for the hot path. */
  get requests(): Request[] {
    const requests: Request[] = [];
    for (let i = this.#head; i < this.#entries.length; i++) {
      const { request } = this.#entries[i]!;
      if (request !== COPY_END && request !== IGNORED) requests.push(request);
    }
    return requests;
  }

  /** Answers may still arrive that nothing waits for: the server must not be used again before they have. */
  get tainted(): boolean {
    return this.#doubtfulSyncs > 0;
  }

  /**
   * A Query or FunctionCall was sent in the middle of a pipeline. PostgreSQL up to 18.4 may then answer the next Sync with the
   * status idle although it is still in the transaction: such a server must not be given to another client.
   */
  get mixed(): boolean {
    return this.#isMixed;
  }

  /** The position that the next message gets. */
  get nextPosition(): number {
    return this.#base + this.#entries.length;
  }

  /** The position of the first unanswered message; earlier messages have lower ones. */
  get position(): number {
    return this.#base + this.#head;
  }

  /** A client's message is sent to the server. */
  sent(request: Request): void {
    if (request === Request.Sync) {
      if (this.#copyIn) {
        this.#ignoredSyncs++;
        return;
      }
      this.#skipping = false;
      this.#sentSyncs++;
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
    this.#steps++;
    this.#entries.push(PLAIN[request]);
  }

  /** A message of the extended protocol is sent to the server, with an entry of its own (entryAbout). */
  sentAbout(entry: Entry): void {
    this.#push(entry);
  }

  /** A Parse is sent to the server: the client's own, or one that the proxy adds (its answer is `dropped`). */
  sentParse(dropped: boolean, effect: Effect, subject: object | null = null): void {
    this.#push(entryWith(effect, Request.Parse, dropped, subject));
  }

  /** One of the proxy's own Close messages is sent to the server. */
  sentClose(effect: Effect): void {
    this.#push(entryWith(effect, Request.Close, true));
  }

  /** A client's Execute that has an effect is sent to the server. */
  sentExecute(effect: Effect): void {
    if (!this.#skipping) this.#hasExecuted = true;
    this.#push(entryWith(effect, Request.Execute));
  }

  /** A Describe of a prepared statement is sent: the client's own, or one that the proxy adds (its answer is `dropped`). */
  sentDescribe(dropped: boolean, effect: Effect, subject: object): void {
    this.#push(entryWith(effect, Request.Describe, dropped, subject));
  }

  /** A message that will fail is sent to the server. @param replacement the error that the client gets for it */
  sentFailing(request: Request, replacement: Buffer): void {
    this.#push({ ...PLAIN[request], replacement });
  }

  /**
   * The proxy itself answers a message.
   * @returns whether the bytes can be sent now, because no earlier answer is expected
   */
  answered(request: Request, reply: Buffer, effect: Effect | null = null): boolean {
    if (this.empty && !this.#skipping) {
      if (request > Request.Sync) this.#isOpen = true;
      // the message has a position like any other
      this.#base++;
      effect?.done?.();
      return true;
    }
    this.#push({ ...PLAIN[request], fake: reply, effect });
    return false;
  }

  /** The client has ended its copy-in (CopyDone or CopyFail), perhaps before the server began it. */
  copyEnded(): void {
    if (this.#copyIn) {
      this.#copyIn = false;
    } else if (!this.empty && !this.#skipping) {
      this.#copyEnds.add(this.nextPosition);
      this.#steps++;
      this.#entries.push(PLAIN[COPY_END]);
    }
  }

  /** One of the proxy's own answers that is due before the server's next message; null: none. */
  due(): Buffer | null {
    const entry = this.#entries[this.#head];
    if (entry === undefined || entry.fake === null) return null;
    this.#pop(entry);
    entry.effect?.done?.();
    return entry.fake;
  }

  /** A message has arrived from the server. @param type its type byte @returns its outcome */
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
        this.#described = entry.effect;
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

  /** Takes the effect that waits for the last RowDescription or NoData; null: none. */
  takeDescribed(): Effect | null {
    const effect = this.#described;
    this.#described = null;
    return effect;
  }

  /** The last error is not passed on: these bytes replace it. */
  replaceError(bytes: Buffer): Reply {
    this.#replacement = bytes;
    return Reply.Replace;
  }

  /** The link has ended: nothing is expected any more. */
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
    this.#failed = null;
    this.#lostParse = false;
    if (entry === undefined) return Reply.Forward;
    this.#replacement = entry.replacement;
    this.#failed = entry.subject;
    if (entry.request > Request.Sync) {
      const end = Math.min(this.#syncs.first, this.nextPosition);
      this.#lostParse = this.#lastParse >= this.position && this.#lastParse < end;
      this.#loseUntil(end);
      if (this.empty) {
        this.#skipping = true;
        // a Query after the error was skipped, too: only a Sync ends this
        this.#isOpen = true;
      }
    }
    return entry.replacement === null ? Reply.Forward : Reply.Replace;
  }

  /**
   * "In copy-in mode the server ignores Flush and Sync": those sent between the message that turned out to be a COPY and the
   * CopyDone get no answer. Drivers that use the extended protocol send one there, and another after the CopyDone.
   */
  #startCopyIn(entry: Entry): void {
    this.#ignoredSyncs = 0;
    const end = this.#copyEnds.first;
    while (this.#syncs.first < end) {
      const at = this.#syncs.first;
      this.#steps += 1 + this.#syncs.take();
      this.#entries[at - this.#base] = PLAIN[IGNORED];
      this.#readies--;
      this.#ignoredSyncs++;
      // the Sync was taken as the end of the pipeline
      if (at === this.#lastClosing) this.#isOpen = entry.request > Request.Sync;
    }
    this.#copyIn = end === Infinity;
    if (this.#copyIn) return;
    this.#copyAhead = true;
    this.#steps += this.#copyEnds.take();
    this.#entries[end - this.#base] = PLAIN[IGNORED];
  }

  #push(entry: Entry): void {
    if (this.#skipping) return entry.effect?.undo?.();
    if (entry.request <= Request.Sync) {
      if (this.#hasExecuted) this.#endExecuted(entry.request as Request);
      this.#readies++;
      this.#lastClosing = this.nextPosition;
    }
    this.#isOpen = entry.request > Request.Sync;
    this.#steps++;
    this.#entries.push(entry);
  }

  /** The server has not executed the messages up to a position. Effects are taken back from the last to the first. */
  #loseUntil(end: number): void {
    const lost = this.#entries.slice(this.#head, end - this.#base);
    this.#steps += lost.length;
    for (const { request } of lost) {
      if (request <= Request.Sync) this.#readies--;
      else if (request === COPY_END) this.#steps += this.#copyEnds.take();
    }
    this.#head = end - this.#base;
    this.#skipUnanswered();
    for (let i = lost.length - 1; i >= 0; i--) lost[i]?.effect?.undo?.();
  }

  #pop(entry: Entry): void {
    this.#steps++;
    if (entry.request <= Request.Sync) {
      this.#readies--;
      if (entry.request === Request.Sync) this.#steps += this.#syncs.take();
    }
    this.#head++;
    this.#skipUnanswered();
  }

  /** Entries that get no answer are removed when their turn comes. */
  #skipUnanswered(): void {
    const entries = this.#entries;
    for (let entry = entries[this.#head]; entry !== undefined; entry = entries[this.#head]) {
      if (entry.request < COPY_END) break;
      if (entry.request === COPY_END) this.#steps += this.#copyEnds.take();
      this.#steps++;
      this.#head++;
    }
    this.#trim();
  }

  #trim(): void {
    if (this.#head === this.#entries.length) {
      this.#base += this.#head;
      // popped entries leave their memory to the next ones
      if (this.#head > SHORT) this.#entries.length = 0;
      while (this.#entries.length > 0) this.#entries.pop();
      this.#head = 0;
    } else if (this.#head > TRIM_AT && this.#head * 2 > this.#entries.length) {
      // a client whose pipeline never runs dry must not make the array grow without end
      this.#base += this.#head;
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
      this.#steps += this.#entries.length;
    }
  }
}
