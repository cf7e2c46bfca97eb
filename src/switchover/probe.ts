/** The probe of one node: a connection that asks it for its state, again and again. */
import { openServer } from '../pool/connect.ts';
import { ControlError, runControl, type Row } from '../pool/control.ts';
import { LoginError } from '../pool/login.ts';
import type { Pool } from '../pool/pool.ts';
import type { Server } from '../pool/server.ts';
import type { Target } from '../pool/socket.ts';
import { evidenceFrom, QUESTIONS, SHORT_QUESTION, type Evidence } from './question.ts';

/** A probe without an answer. */
export interface Failure {
  readonly reason: string;
  /** the node is up, and refuses the probe for a reason of its own */
  readonly isAlive: boolean;
  /** the login to this database as this user is refused */
  readonly isLogin: boolean;
  /** the node accepts no connections now: a smart shutdown waits for the existing ones */
  readonly isClosing: boolean;
}

export interface ProbeEvents {
  /** The pool whose credentials are used; null: no role is known yet that could log in. */
  pool(): Pool | null;
  /** ms until the next question */
  intervalMs(): number;
  /** ms within which an answer must come */
  deadlineMs(): number;
  onEvidence(evidence: Evidence): void;
  /** The question failed: earlier evidence no longer counts. */
  onFailure(failure: Failure): void;
}

/** The close reason of a connection that the other side has ended (connect.ts). */
const CRASHED = 'server conn crashed?';
/** The whole question is asked again after so many ms: rights may have been granted. */
const REFUSED_MS = 60_000;

/** The lifetime of a connection, in ms: an existing one does not show a smart shutdown, which waits for it. */
const RENEW_MS = 15_000;

/** Asks one node periodically, on a separate connection. */
export class Probe {
  readonly target: Target;
  readonly #events: ProbeEvents;
  #server: Server | null = null;
  /** the index in QUESTIONS that the node answers, why not the first, and when that was found out */
  #question = 0;
  #refused = '';
  #refusedAt = 0;
  /** other queries that run on the connection, or wait for it */
  #guests = 0;
  /** when the connection was made, or was last to be replaced */
  #madeAt = 0;
  #stopped = false;
  /** counts `renew`: answers to earlier questions are void */
  #doubts = 0;
  #attempt: AbortController | null = null;
  #wake: () => void = () => {};
  #kicked = false;
  /** the last question was cut off */
  #wasCut = false;

  constructor(target: Target, events: ProbeEvents) {
    this.target = target;
    this.#events = events;
  }

  start(): void {
    void this.#run();
  }

  /** Asks now instead of at the next turn. */
  kick(): void {
    this.#kicked = true;
    this.#wake();
  }

  /**
   * Asks now, on a new connection: a postmaster that is shutting down refuses those, while an old one may still answer
   * before the signal reaches it.
   */
  renew(): void {
    this.#doubts++;
    this.#attempt?.abort(new Error('superseded by a newer probe'));
    this.#server?.close('superseded by a newer probe');
    this.kick();
  }

  stop(): void {
    this.#stopped = true;
    this.#attempt?.abort(new Error('stopped'));
    this.#server?.close('not watched any more');
    this.kick();
  }

  /** Runs a query on the connection once it is free. @throws ControlError */
  async query(sql: string, timeoutMs: number): Promise<Row[]> {
    const server = this.#server;
    if (server === null || server.state === 'closed')
      throw new ControlError('no connection to this node', '08003');
    this.#guests++;
    try {
      return await this.#ask(server, sql, timeoutMs);
    } finally {
      this.#guests--;
    }
  }

  #queue: Promise<unknown> = Promise.resolve();

  #ask(server: Server, sql: string, timeoutMs: number): Promise<Row[]> {
    const answer = this.#queue.then(() => {
      if (server.state === 'closed') throw new ControlError(CRASHED, '08006');
      return runControl(server, sql, { timeoutMs });
    });
    this.#queue = answer.catch(() => {});
    return answer;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#kicked = false;
      const pool = this.#events.pool();
      if (pool !== null) await this.#round(pool);
      await this.#pause();
    }
  }

  async #round(pool: Pool): Promise<void> {
    const doubts = this.#doubts;
    const isVoid = (): boolean => this.#stopped || this.#doubts !== doubts;
    try {
      const evidence = await this.#once(pool);
      if (!isVoid()) this.#events.onEvidence(evidence);
      this.#wasCut = false;
    } catch (error) {
      this.#server?.close('probe failed', { notify: false });
      this.#server = null;
      // an administrator may have ended this connection like any other: a new one will show
      if (!this.#wasCut && isCut(error as Error)) {
        this.#wasCut = true;
        this.kick();
        return;
      }
      if (!isVoid()) this.#events.onFailure(failureOf(error as Error));
    }
  }

  async #once(pool: Pool): Promise<Evidence> {
    const deadline = this.#events.deadlineMs();
    const { resolver } = pool;
    if (this.#server !== null && !resolver.leadsTo(this.target.host, this.#server.remoteAddress))
      this.#server.close('the name leads elsewhere');
    if (this.#server === null || this.#server.state === 'closed') {
      this.#server = null;
      this.#server = await this.#connect(pool, deadline);
    } else if (this.#guests === 0 && performance.now() - this.#madeAt > RENEW_MS) {
      await this.#replace(this.#server, pool, deadline);
    }
    const askedAt = performance.now();
    const row = await this.#askAll(this.#server, deadline);
    // a final error of the node may have arrived with the answer
    if (this.#server.state === 'closed') throw new ControlError(CRASHED, '08006');
    if (!/^[tf]$/.test(row?.['recovering'] ?? ''))
      throw new ControlError('the answer to the probe makes no sense', '08P01');
    const isShort = QUESTIONS[this.#question] === SHORT_QUESTION;
    return evidenceFrom(row, { askedAt, refused: this.#refused, isShort });
  }

  /** Opens a new connection. The old one is given up early only if the node accepts no connections. */
  async #replace(old: Server, pool: Pool, deadline: number): Promise<void> {
    this.#madeAt = performance.now();
    try {
      const server = await this.#connect(pool, deadline);
      // an answer may be due on the old one by now
      if (this.#guests > 0 && old.state !== 'closed') return server.close('not needed');
      this.#server = server;
      old.close('another probe has taken over');
    } catch (error) {
      if (failureOf(error as Error).isClosing || this.#stopped) throw error;
    }
  }

  /** Asks the longest question that the node answers. */
  async #askAll(server: Server, deadline: number): Promise<Row | undefined> {
    if (this.#question > 0 && performance.now() - this.#refusedAt > REFUSED_MS) {
      this.#question = 0;
      this.#refused = '';
    }
    for (;;) {
      try {
        const [row] = await this.#ask(server, QUESTIONS[this.#question]!, deadline);
        return row;
      } catch (error) {
        // the node does not know or allow parts of the question; any other error may be over the next time
        const isRefused = error instanceof ControlError && /^(?:42|0A)/.test(error.code);
        if (!isRefused || this.#question === QUESTIONS.length - 1) throw error;
        this.#question++;
        this.#refused ||= error.message;
        this.#refusedAt = performance.now();
      }
    }
  }

  async #connect(pool: Pool, deadlineMs: number): Promise<Server> {
    const attempt = new AbortController();
    this.#attempt = attempt;
    let made: Server | null = null;
    const timer = setTimeout(() => attempt.abort(new Error('connect timeout')), deadlineMs);
    attempt.signal.addEventListener('abort', () => made?.close('connect timeout'));
    const parameters = pool.startupParameters().filter(([name]) => name !== 'application_name');
    parameters.push(['application_name', 'pgswitchyard probe']);
    try {
      const { server } = await openServer(pool, this.target, {
        purpose: 'probe',
        parameters,
        signal: attempt.signal,
        onServer: (each) => {
          made = each;
        },
      });
      if (server.state === 'closed') throw new Error(CRASHED);
      server.moveTo('tested');
      this.#madeAt = performance.now();
      server.socket.once('close', () => {
        if (server === this.#server) this.kick();
      });
      return server;
    } catch (error) {
      (made as Server | null)?.close('probe failed', { notify: false });
      throw error;
    } finally {
      clearTimeout(timer);
      this.#attempt = null;
    }
  }

  #pause(): Promise<void> {
    if (this.#kicked || this.#stopped) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#events.intervalMs());
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** The query was cancelled: by an operator, by statement_timeout, or by replay on a standby. */
const CANCELLED = new Set(['57014', '40001']);

/** The connection was ended or interrupted by the other side before it had answered. */
function isCut(error: Error): boolean {
  if (!(error instanceof ControlError)) return false;
  return error.code === '57P01' || CANCELLED.has(error.code) || error.message === CRASHED;
}

/** cannot_connect_now */
const CLOSED = '57P03';

/** Class 57 means that the node is starting or stopping. With another code it is up, but refuses the probe. */
function failureOf(error: Error): Failure {
  const reason = error.message;
  if (error instanceof ControlError) {
    // it refuses even the shortest question
    const isAlive = CANCELLED.has(error.code) || /^(?:42|0A)/.test(error.code);
    return { reason, isAlive, isLogin: false, isClosing: false };
  }
  const code = error instanceof LoginError ? (error.fields?.get('C') ?? '') : '';
  const isLogin = /^(?:28|3D|42|55)/.test(code);
  return { reason, isAlive: code !== '' && !code.startsWith('57'), isLogin, isClosing: code === CLOSED };
}
