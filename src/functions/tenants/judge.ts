/** Turns a tenant's answers into decisions: applies the failure policies, counts, and has failures logged. */
import { basename } from 'node:path';
import { DEFAULT_OPTIONS } from '../../../sandbox/crossing.ts';
import type { SourceFiles } from '../build/bundle-job.ts';
import {
  checked,
  failedFunction,
  failureOf,
  GO,
  misnamed,
  refusalOf,
  withNames,
  type Decision,
  type FailurePolicy,
  type Nameable,
} from '../decide/policy.ts';
import {
  isLimit,
  isOutage,
  isPassing,
  type CallFailure,
  type FailureOutcome,
  type HostAnswer,
  type HostCall,
  type Part,
} from '../sandbox/call.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { Pause } from '../store/version-record.ts';
import type { Counters } from './counters.ts';
import type { Journal } from './journal.ts';
import type { Policies, TenantSettings } from './settings.ts';
import type { Targets } from './targets.ts';
import type { Version } from './version.ts';

/** By function, the file that it comes from; '': no such function. */
export interface Origins {
  readonly routing: string;
  readonly rewrite: string;
}

/** One file may hold both functions. */
export function originsOf({ routing, rewrite }: SourceFiles, { routes, rewrites }: Manifest): Origins {
  return {
    routing: routing ?? (routes ? rewrite : null) ?? '',
    rewrite: rewrite ?? (rewrites ? routing : null) ?? '',
  };
}

/** Before a version is loaded it is assumed to have both functions, because each of the files may hold them. */
const UNKNOWN: Manifest = { routes: true, rewrites: true, options: DEFAULT_OPTIONS };

export interface JudgeOptions {
  readonly files: () => SourceFiles;
  /** The functions may name what functions in these files may name. */
  readonly rights: () => SourceFiles;
  readonly journal: Journal;
  readonly counters: Counters;
  readonly targets: Pick<Targets, 'mayName'>;
  readonly settings: () => TenantSettings;
  /** what becomes of queries that a PAUSE keeps from the functions; null: they are not paused */
  readonly pausedAs: () => Pause['as'] | null;
  /** the version that serves; null: none */
  readonly version: () => Version | null;
  /** A call has been decided by this answer, in which the parts that can't be followed are failures. */
  readonly onDecided: (call: HostCall, answer: HostAnswer, decision: Decision) => void;
}

export class Judge {
  readonly #options: JudgeOptions;
  readonly #journal: Journal;
  readonly #counters: Counters;
  /** of the version that serves, or that served before it was unloaded */
  #manifest: Manifest = UNKNOWN;
  /** whether that version can reject queries; before one is loaded it is assumed to */
  #canReject = true;
  /** version and options of the last `warnOfPassing` */
  #warnedAbout = '';
  #warnedOfOutages = false;
  #lastFailure: FailureOutcome | null = null;

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#journal = options.journal;
    this.#counters = options.counters;
  }

  /** The existing functions. */
  get manifest(): Manifest {
    return this.#manifest;
  }

  /** Another version serves, or is to serve. @param version null: it is not loaded yet */
  learn(manifest: Manifest, version: Version | null): void {
    this.#manifest = manifest;
    this.#canReject = version?.canReject ?? true;
  }

  /** How the call failed that `decide` was given last; null: the functions answered. The policy may have let it pass. */
  get lastFailure(): FailureOutcome | null {
    return this.#lastFailure;
  }

  /**
   * Applies the policies to an answer.
   * @param opened it suspended the tenant
   * @param manifest of the version that gave it, which may no longer serve; null: no version did
   */
  decide(call: HostCall, answer: HostAnswer, opened: boolean, manifest: Manifest | null): Decision {
    this.#counters.noteCall();
    this.#lastFailure = null;
    const followed = isNothing(answer) ? answer : checked(call, answer, this.#mayName, this.#nameable);
    const decision = isNothing(followed) ? GO : this.#decide(call, followed, opened, manifest);
    this.#options.onDecided(call, followed, decision);
    return decision;
  }

  /** A decision was given again, without a call. */
  noteRemembered(decision: Decision): void {
    this.#counters.noteCall();
    if (decision.kind !== 'go') return this.#counters.noteRejected();
    if (decision.query !== null) this.#counters.noteRewritten();
    if (decision.dbkey !== null) this.#counters.noteRouted();
  }

  #decide(call: HostCall, answer: HostAnswer, opened: boolean, manifest: Manifest | null): Decision {
    const { rewrite, route } = answer;
    const { rewrites, routes } = manifest ?? this.manifest;
    // a call that was cut off failed once, whichever function it was in
    const failure = failureOf(rewrite) ?? failureOf(route);
    const closes = failure !== null && this.#closes(call, failure, rewrites && failureOf(rewrite) !== null);
    const { onRewriteFailure, onRoutingFailure } = this.#policiesFor(failure, closes);
    if (failure !== null) {
      const { onRewriteFailure: onRewrite, onRoutingFailure: onRoute } = this.#options.settings();
      const isClosed = closes && (onRewriteFailure !== onRewrite || onRoutingFailure !== onRoute);
      this.#noteFailure(call, failure, { rewrite, route }, opened, isClosed);
    }
    return (
      (rewrites && this.#refusal(call, rewrite, onRewriteFailure)) ||
      (routes && this.#refusal(call, route, onRoutingFailure)) ||
      this.#go(call, rewrite, route, failure?.outcome ?? null)
    );
  }

  /** Whether a client could have got past a guard with this failure: then it is an error even under `pass`. */
  #closes(call: HostCall, failure: CallFailure, isRewriting: boolean): boolean {
    const isOfGuard = isRewriting || this.#canReject;
    return isOfGuard && this.#options.settings().onOverLimit === 'error' && isLimit(failure, call);
  }

  /** An administrator may have said what a PAUSE does. */
  #policiesFor(failure: CallFailure | null, closes: boolean): Policies {
    const as = failure?.outcome === 'paused' ? this.#options.pausedAs() : null;
    if (as !== null && as !== 'policy') return { onRewriteFailure: as, onRoutingFailure: as };
    const { onRewriteFailure, onRoutingFailure } = this.#options.settings();
    return closes
      ? { onRewriteFailure: closed(onRewriteFailure), onRoutingFailure: closed(onRoutingFailure) }
      : this.#options.settings();
  }

  /** Whether a failure of a call would let its query pass, although the version may change or reject queries. */
  failureSkipsGuard(version: Version | null): boolean {
    if (version === null) return true;
    const { rewrites, routes } = version.manifest;
    const { onRewriteFailure, onRoutingFailure } = this.#options.settings();
    const isRefused = (rewrites && onRewriteFailure !== 'pass') || (routes && onRoutingFailure !== 'pass');
    return !isRefused && (rewrites || version.canReject);
  }

  /** It is known whether the functions can reject or rewrite queries. */
  get knowsVersion(): boolean {
    return this.#manifest !== UNKNOWN;
  }

  /** The decision for a query that is over user_function_max_query. */
  tooLarge(sizeBytes: number): Decision {
    const { maxQueryBytes } = this.#options.settings();
    const failure: CallFailure = {
      outcome: this.#options.pausedAs() === null ? 'too_large' : 'paused',
      message: `query of ${sizeBytes} bytes is over user_function_max_query (${maxQueryBytes})`,
      stack: '',
    };
    const call = { username: '', query: '', inTransaction: false, context: {} };
    return this.decide(call, { rewrite: { failure }, route: { failure } }, false, null);
  }

  /** A rule that refuses queries is a guard, and some queries would get past it. */
  warnOfPassing(version: Version): void {
    const { onRewriteFailure, onRoutingFailure, maxQueryBytes, onOverLimit, names } =
      this.#options.settings();
    const { rewrites, routes } = version.manifest;
    const options = [
      rewrites && onRewriteFailure === 'pass' ? names.onRewriteFailure : '',
      routes && onRoutingFailure === 'pass' ? names.onRoutingFailure : '',
    ].filter((option) => option !== '');
    // once for each version, and again when the options change
    const unseen = onOverLimit === 'pass' ? maxQueryBytes : null;
    const about = `${version.hash} ${options.join()} ${unseen}`;
    if (options.length === 0 || about === this.#warnedAbout || !version.canReject) return;
    this.#warnedAbout = about;
    this.#journal.passes(options, unseen);
  }

  /** The operator lets queries pass a guard while it can't be asked. */
  warnOfOutages(version: Version): void {
    const isGuard = version.manifest.rewrites || version.canReject;
    const passes = isGuard && this.#options.settings().onOutage === 'pass';
    if (passes && !this.#warnedOfOutages) this.#journal.passesInOutages();
    this.#warnedOfOutages = passes;
  }

  /** Probably a misspelt name: every query that is routed like the trial call would be a failure. */
  warnOfMisdirected({ trialRoute, code }: Version): void {
    const [database = ''] = code.databases;
    const call = { username: '', query: '', inTransaction: false, context: { database } };
    if (trialRoute === null || this.#mayName(trialRoute, call)) return;
    this.#journal.misdirected(`routing_rules ${misnamed(trialRoute, this.#nameable(call))}`);
  }

  /** @param failed the failure that was let pass; null: none */
  #go(call: HostCall, rewrite: Part, route: Part, failed: FailureOutcome | null): Decision {
    const query = rewrite !== null && 'text' in rewrite && rewrite.text !== call.query ? rewrite.text : null;
    const dbkey = route !== null && 'text' in route ? route.text : null;
    if (query !== null) this.#counters.noteRewritten();
    if (dbkey !== null) this.#counters.noteRouted();
    if (failed !== null) this.#counters.noteUnjudged();
    if (failed !== null && isPassing(failed)) return { kind: 'go', query, dbkey, isProvisional: true };
    return query === null && dbkey === null ? GO : { kind: 'go', query, dbkey };
  }

  #refusal(call: HostCall, part: Part, policy: FailurePolicy): Decision | null {
    if (part !== null && 'rejection' in part) this.#counters.noteRejected();
    const { onOutage, names } = this.#options.settings();
    return refusalOf(call.query, part, policy, onOutage, names);
  }

  /** @param isClosed the query gets an error, although the policy is `pass` */
  #noteFailure(
    call: HostCall,
    failure: CallFailure,
    answer: HostAnswer,
    opened: boolean,
    isClosed: boolean,
  ): void {
    this.#counters.noteFailure(failure.outcome);
    this.#lastFailure = failure.outcome;
    const version = this.#options.version();
    const place = version?.placeOf(failure) ?? null;
    const subject = place === null ? this.#subject(failure, answer) : '';
    const passes = isOutage(failure.outcome) && this.#options.settings().onOutage === 'pass';
    const effect = passes ? '; the query passed unjudged (user_function_unavailable = pass)' : '';
    const message = `${subject}${withNames(failure.message, this.#options.settings().names)}${effect}${isClosed ? CLOSED : ''}`;
    this.#journal.failed(
      call.query,
      { ...failure, message },
      { version: version?.hash ?? '', place, opened },
    );
  }

  /** The function that `took longer than …`, if its place in the source is unknown. */
  #subject({ message }: CallFailure, { rewrite, route }: HostAnswer): string {
    if (!/^(?:did|needed|returned|threw|took)\b/.test(message)) return '';
    const name = failedFunction(this.#options.version()?.manifest ?? null, rewrite, route);
    if (name === '') return 'the call ';
    const origins = originsOf(this.#options.files(), this.manifest);
    return `${name} (${basename(name === 'rewrite_query' ? origins.rewrite : origins.routing)}) `;
  }

  readonly #mayName = (name: string, call: HostCall): boolean =>
    this.#options.targets.mayName(
      this.#options.rights(),
      call.entry ?? call.context.login_database ?? call.context.database ?? '',
      name,
    );

  readonly #nameable = ({ context: { databases } }: HostCall): Nameable => ({
    names: databases ?? this.#options.settings().databases,
    isAll: databases === undefined,
  });
}

/** Why a query got an error although the policy is `pass`, for the operator. */
const CLOSED = '; the query got an error, although the policy is pass (user_function_over_limit = error)';

function closed(policy: FailurePolicy): FailurePolicy {
  return policy === 'pass' ? 'error' : policy;
}

function isNothing({ rewrite, route }: HostAnswer): boolean {
  return rewrite === null && route === null;
}
