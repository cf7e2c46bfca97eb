import { dirname } from 'node:path';
import { Breaker } from './breaker.ts';
import { bundle, type Bundle, type SourceFiles } from './bundle.ts';
import { fingerprint, positionsOf, type Positions } from './failure.ts';
import type {
  CallFailure,
  FailureOutcome,
  HostAnswer,
  HostCall,
  LoadResult,
  Part,
  SandboxHost,
} from './host.ts';

export type FailurePolicy = 'pass' | 'error' | 'disconnect';

/** What a set needs to know of the configuration; replaced as a whole on RELOAD. */
export interface SetSettings {
  readonly timeoutMs: number;
  readonly memoryLimitMb: number;
  readonly maxQueryBytes: number;
  readonly maxResult: number;
  readonly onRoutingFailure: FailurePolicy;
  readonly onRewriteFailure: FailurePolicy;
  readonly databases: readonly string[];
}

/** The part of a pino logger that is used here. */
export interface FunctionLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export type FunctionCall = HostCall;

/** What becomes of a query. */
export type Decision =
  | {
      readonly kind: 'go';
      /** null: unchanged */ readonly query: string | null;
      /** null: stay */ readonly dbkey: string | null;
    }
  | {
      readonly kind: 'reject';
      readonly message: string;
      readonly code: string;
      readonly hint: string | null;
      readonly detail: string | null;
    }
  | { readonly kind: 'disconnect'; readonly message: string; readonly code: string };

const GO: Decision = { kind: 'go', query: null, dbkey: null };
/** external_routine_exception: what a failed function is to the client under the policy `error` */
const FAILURE_SQLSTATE = '38000';

interface Version {
  readonly id: number;
  readonly bundle: Bundle;
  readonly positions: Positions;
  readonly host: SandboxHost;
  /** what loading it gave */
  readonly result: LoadResult;
  readonly loadedAt: Date;
}

/** What crosses at once: more would need more memory than an isolate has, and keep others waiting for longer. */
const MAX_BATCH_CALLS = 64;
const MAX_BATCH_LENGTH = 1_000_000;

interface Pending {
  readonly call: FunctionCall;
  readonly done: (decision: Decision) => void;
}

/** Counters of a set, for the console. */
export interface SetCounters {
  calls: number;
  routed: number;
  rewritten: number;
  rejected: number;
  readonly failures: Partial<Record<FailureOutcome, number>>;
}

let nextVersionId = 1;

/** The user functions that apply to one or more databases: one bundle, one isolate, one record. */
export class FunctionSet {
  /** whose functions these are: the folder that they come from */
  readonly tenant: string;
  readonly files: SourceFiles;
  readonly counters: SetCounters = { calls: 0, routed: 0, rewritten: 0, rejected: 0, failures: {} };
  lastError = '';
  readonly #log: FunctionLog;
  readonly #isDbkey: (name: string) => boolean;
  #settings: SetSettings;
  #host: SandboxHost;
  #version: Version | null = null;
  readonly #breaker = new Breaker();
  #pending: Pending[] = [];
  #flushing = false;
  #build = 0;
  #inputs: readonly string[];
  #quietUntil = 0;
  #suppressed = 0;

  constructor(options: {
    files: SourceFiles;
    settings: SetSettings;
    host: SandboxHost;
    log: FunctionLog;
    isDbkey: (name: string) => boolean;
  }) {
    this.files = options.files;
    this.tenant = dirname((options.files.routing ?? options.files.rewrite)!);
    this.#settings = options.settings;
    this.#host = options.host;
    this.#log = options.log;
    this.#isDbkey = options.isDbkey;
    this.#inputs = this.#entries();
  }

  get maxQueryBytes(): number {
    return this.#settings.maxQueryBytes;
  }

  /** Files that the set is made of, as far as they are known. */
  get inputs(): readonly string[] {
    return this.#inputs;
  }

  /** Hash of the code that serves; '' while there is none. */
  get versionHash(): string {
    return this.#version?.bundle.hash ?? '';
  }

  get loadedAt(): Date | null {
    return this.#version?.loadedAt ?? null;
  }

  get state(): 'serving' | 'no version' | 'suspended' {
    if (this.#breaker.isOpen) return 'suspended';
    return this.#version === null ? 'no version' : 'serving';
  }

  get versionId(): number | null {
    return this.#version?.id ?? null;
  }

  /**
   * Asks the functions about a query. The calls of one turn of the event loop cross into the isolate together.
   * @param done is called once, never before `evaluate` has returned
   */
  evaluate(call: FunctionCall, done: (decision: Decision) => void): void {
    this.#pending.push({ call, done });
    if (this.#flushing) return;
    this.#flushing = true;
    // behind the reads of all sockets that are ready in this turn
    setImmediate(() => this.#flush());
  }

  /** The decision for a query that is too large to be evaluated (user_function_max_query). */
  tooLarge(sizeBytes: number): Decision {
    this.counters.calls++;
    const failure: CallFailure = {
      outcome: 'too_large',
      message: `query of ${sizeBytes} bytes is over user_function_max_query (${this.#settings.maxQueryBytes})`,
      stack: '',
    };
    return this.#decide(
      { username: '', query: '', inTransaction: false, database: '' },
      { rewrite: { failure }, route: { failure } },
    );
  }

  /** Takes over changed settings; a version that was loaded with others is loaded again. */
  configure(settings: SetSettings, host: SandboxHost): Promise<void> {
    const changed = JSON.stringify(settings) !== JSON.stringify(this.#settings) || host !== this.#host;
    this.#settings = settings;
    this.#host = host;
    return changed && this.#version !== null
      ? this.#load(this.#version.bundle, ++this.#build)
      : Promise.resolve();
  }

  /** Moves the set to another host: the one that it had it has just ended. */
  async moveTo(host: SandboxHost): Promise<void> {
    const old = this.#version;
    this.#host = host;
    if (old !== null) {
      old.host.dispose(old.id);
      await this.#load(old.bundle, ++this.#build);
    }
  }

  /**
   * Bundles the files and, when they have changed, loads them. The version that serves goes on until the new one has
   * answered a trial call; a broken one is only logged.
   */
  async reload(): Promise<void> {
    const build = ++this.#build;
    let made: Bundle;
    try {
      made = await bundle(this.files);
    } catch (error) {
      if (build === this.#build) this.#refused((error as Error).message);
      return;
    }
    if (build !== this.#build) return;
    // the entries also by the path that they are known by, which may lead over symbolic links
    this.#inputs = [...new Set([...this.#entries(), ...made.inputs])];
    if (this.#version?.bundle.hash === made.hash) return;
    await this.#load(made, build);
  }

  /** The set applies to nothing any more. */
  dispose(): void {
    this.#build++;
    if (this.#version) this.#version.host.dispose(this.#version.id);
    this.#version = null;
  }

  async #load(made: Bundle, build: number): Promise<void> {
    const id = nextVersionId++;
    const host = this.#host;
    const { timeoutMs, memoryLimitMb, maxResult, databases } = this.#settings;
    const result = await host.load({ id, code: made.code, databases, memoryLimitMb, maxResult, timeoutMs });
    const version: Version = {
      id,
      bundle: made,
      positions: positionsOf(made.map, this.#entry()),
      host,
      result,
      loadedAt: new Date(),
    };
    const complaint = result.startsWith('ok') ? await this.#trial(version) : this.#explain(version, result);
    if (build !== this.#build) {
      // a newer build has begun meanwhile
      host.dispose(id);
      return;
    }
    if (complaint !== null) {
      host.dispose(id);
      return this.#refused(complaint);
    }
    const old = this.#version;
    this.#version = version;
    this.#breaker.reset();
    this.lastError = '';
    if (old) old.host.dispose(old.id);
    this.#log.info(
      { event: 'rules_loaded', tenant: this.tenant, version: made.hash },
      `user functions loaded: ${this.#names()} (version ${made.hash})`,
    );
  }

  /** A call that a version must answer before it serves: null, or what it did instead. */
  #trial(version: Version): Promise<string | null> {
    const call = {
      username: 'pgswitchyard',
      query: 'SELECT 1',
      inTransaction: false,
      database: this.#settings.databases[0] ?? '',
    };
    return new Promise((resolve) => {
      version.host.evaluate(version.id, [call], ([answer]) => {
        for (const part of [answer?.rewrite, answer?.route]) {
          if (part && 'failure' in part)
            return resolve(`trial call: ${this.#where(version, part.failure)}${part.failure.message}`);
        }
        resolve(null);
      });
    });
  }

  #flush(): void {
    const batch = this.#pending;
    this.#pending = [];
    this.#flushing = false;
    this.counters.calls += batch.length;
    const version = this.#version;
    if (version === null) return this.#failAll(batch, 'no_version', 'no valid version is loaded');
    if (this.#breaker.isOpen) {
      const isTrial = this.#breaker.allows(performance.now());
      this.#failAll(batch.slice(isTrial ? 1 : 0), 'overloaded', 'suspended after repeated faults');
      if (isTrial) this.#send(version, batch.slice(0, 1));
      return;
    }
    for (let from = 0, to = 0; to < batch.length; from = to) {
      let size = 0;
      while (to < batch.length && to - from < MAX_BATCH_CALLS && (to === from || size < MAX_BATCH_LENGTH))
        size += batch[to++]!.call.query.length;
      this.#send(version, from === 0 && to === batch.length ? batch : batch.slice(from, to));
    }
  }

  #send(version: Version, batch: readonly Pending[]): void {
    version.host.evaluate(
      version.id,
      batch.map((each) => each.call),
      (answers, consoleText) => {
        if (consoleText !== '') this.#print(consoleText);
        for (let i = 0; i < batch.length; i++) {
          const { call, done } = batch[i]!;
          const { rewrite, route } = answers[i]!;
          const failed = failureOf(rewrite) ?? failureOf(route);
          const opened = failed !== null && this.#breaker.fault(failed.outcome, performance.now());
          if (opened && failed.outcome !== 'killed') this.#onFault(this);
          if (failed === null) this.#breaker.answered();
          done(this.#decide(call, { rewrite, route }, opened));
        }
      },
    );
  }

  #failAll(batch: readonly Pending[], outcome: FailureOutcome, message: string): void {
    const failure = { failure: { outcome, message, stack: '' } };
    for (const { call, done } of batch) done(this.#decide(call, { rewrite: failure, route: failure }));
  }

  /** Applies the policies to an answer. */
  #decide(call: FunctionCall, { rewrite, route }: HostAnswer, opened = false): Decision {
    if (rewrite === null && route === null) return GO;
    if (route !== null && 'text' in route && !this.#isDbkey(route.text)) {
      const failure: CallFailure = {
        outcome: 'unknown_dbkey',
        message: `"${route.text.slice(0, 64)}" is no database`,
        stack: '',
      };
      return this.#decide(call, { rewrite, route: { failure } });
    }
    const { rewrites, routes } = this.#kinds();
    // A call that was cut off failed once, whichever function it was in.
    const failure = failureOf(rewrite) ?? failureOf(route);
    if (failure !== null) this.#note(call, failure, opened);
    return (
      (rewrites && this.#outcome(rewrite, this.#settings.onRewriteFailure)) ||
      (routes && this.#outcome(route, this.#settings.onRoutingFailure)) ||
      this.#go(call, rewrite, route)
    );
  }

  #go(call: FunctionCall, rewrite: Part, route: Part): Decision {
    const query = rewrite !== null && 'text' in rewrite && rewrite.text !== call.query ? rewrite.text : null;
    const dbkey = route !== null && 'text' in route ? route.text : null;
    if (query !== null) this.counters.rewritten++;
    if (dbkey !== null) this.counters.routed++;
    return query === null && dbkey === null ? GO : { kind: 'go', query, dbkey };
  }

  /** A rejection, or a failure whose policy is not to let the query pass; null: it goes on. */
  #outcome(part: Part, policy: FailurePolicy): Decision | null {
    if (part === null || 'text' in part) return null;
    if ('rejection' in part) {
      this.counters.rejected++;
      return { kind: 'reject', ...part.rejection };
    }
    const message = `user function failed: ${part.failure.outcome}`;
    if (policy === 'pass') return null;
    if (policy === 'disconnect') return { kind: 'disconnect', message, code: FAILURE_SQLSTATE };
    return {
      kind: 'reject',
      message,
      code: FAILURE_SQLSTATE,
      hint: 'The log of the proxy says more.',
      detail: null,
    };
  }

  /** Which functions there are. Before anything could be loaded: whatever the files may have been meant to hold. */
  #kinds(): { rewrites: boolean; routes: boolean } {
    const result = this.#version?.result;
    if (result === undefined) {
      const both = this.files.routing === this.files.rewrite;
      return { rewrites: both || this.files.rewrite !== null, routes: both || this.files.routing !== null };
    }
    return { rewrites: result.includes('rewrites'), routes: result.includes('routes') };
  }

  /** Counts a failure and logs it, once a second at most. */
  #note(call: FunctionCall, failure: CallFailure, opened: boolean): void {
    const { outcome } = failure;
    this.counters.failures[outcome] = (this.counters.failures[outcome] ?? 0) + 1;
    const now = performance.now();
    const where = this.#version === null ? '' : this.#where(this.#version, failure);
    this.lastError = printable(`${where}${failure.message}`);
    if (now < this.#quietUntil && !opened) {
      this.#suppressed++;
      return;
    }
    const more = this.#suppressed > 0 ? ` (and ${this.#suppressed} more failures since the last line)` : '';
    this.#quietUntil = now + 1_000;
    this.#suppressed = 0;
    this.#log.warn(
      { event: 'function_failed', tenant: this.tenant, outcome, query: fingerprint(call.query) },
      `user function of ${this.tenant} failed: ${outcome}: ${this.lastError} [query ${fingerprint(call.query)}]${more}${opened ? '; suspended' : ''}`,
    );
  }

  #refused(complaint: string): void {
    this.lastError = printable(complaint);
    const serving =
      this.#version === null ? 'there is no earlier version' : `version ${this.#version.bundle.hash} goes on`;
    this.#log.error(
      { event: 'rules_refused', tenant: this.tenant },
      `user functions not loaded, ${serving}: ${this.#names()}\n${complaint}`,
    );
  }

  #print(text: string): void {
    for (const line of text.split('\n'))
      this.#log.info(
        { event: 'function_console', tenant: this.tenant },
        `console of ${this.tenant}: ${printable(line)}`,
      );
  }

  #where(version: Version, failure: CallFailure): string {
    const position = failure.stack === '' ? null : version.positions.find(failure.stack);
    return position === null ? '' : `${position}: `;
  }

  /** A load error of the engine, with its position in the source. */
  #explain(version: Version, problem: string): string {
    const [message = '', stack = ''] = problem.split('\u0001');
    return this.#where(version, { outcome: 'threw', message, stack }) + message;
  }

  #entry(): string {
    return (this.files.routing ?? this.files.rewrite)!;
  }

  #entries(): string[] {
    return [...new Set([this.files.routing, this.files.rewrite])].filter((file) => file !== null);
  }

  #names(): string {
    return this.#entries().join(', ');
  }
}

function failureOf(part: Part): CallFailure | null {
  return part !== null && 'failure' in part ? part.failure : null;
}

/** A function's words in a log: no line ends, no escape sequences for somebody's terminal. */
function printable(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029]|\n(?=.)/g, (each) =>
    each === '\n' ? ' | ' : '\ufffd',
  );
}
