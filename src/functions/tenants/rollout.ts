/**
 * How a tenant's next version comes to serve: the candidate is asked about forwarded queries (shadow), then given to a share of
 * the clients (canary), then serves all of them (promotion). None of these steps needs the one before it.
 */
import type { RolloutSnapshot, RolloutState } from '../../telemetry/snapshot.ts';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { filesIn, nextPlaces, watched } from '../build/next-files.ts';
import { printable } from '../build/places.ts';
import { isSameCode } from '../build/same-code.ts';
import { entriesOf, nameOf } from '../build/sources.ts';
import type { Decision } from '../decide/policy.ts';
import type { Question } from '../decide/question.ts';
import { Canary } from '../rollout/canary.ts';
import { saltOf } from '../rollout/share.ts';
import { Shadow } from '../rollout/shadow.ts';
import type { HostCall } from '../sandbox/call.ts';
import { Candidate } from './candidate.ts';
import type { TenantContext } from './context.ts';
import type { Identity } from './identity.ts';
import type { Lane } from './lane.ts';
import type { TenantSettings } from './settings.ts';
import type { SoundTrial, TrialResult } from './trials.ts';
import type { Version } from './version.ts';

/** A command about a candidate can't be carried out. The message is for the person who gave it. */
export class RolloutError extends Error {}

/** Who has asked for something. */
export interface AskedBy {
  readonly by: 'operator' | 'tenant';
  /** the name of the user */
  readonly user: string;
}

/** `next`: `.next` files; `folder`: SHADOW FROM; `newer`: the serving files, while another version is pinned */
type Source = 'next' | 'folder' | 'newer';

export interface RolloutOptions {
  readonly identity: Identity;
  readonly context: TenantContext;
  /** the versions that serve */
  readonly serving: Lane;
  /** the files of the version that serves, absolute */
  readonly files: () => SourceFiles;
  /**
   * Lets a version serve, whatever the files hold.
   * @param isOfFiles it was made of the files that serve
   * @returns null: the tenant has gone
   */
  readonly serve: (version: Version, isOfFiles: boolean, asked: AskedBy) => Promise<TrialResult | null>;
}

export class Rollout {
  readonly #options: RolloutOptions;
  readonly #shadow: Shadow;
  readonly #salt: number;
  #candidate: Candidate | null = null;
  #source: Source | null = null;
  /** SHADOW FROM; null: `.next` files count */
  #folder: string | null = null;
  /** SHADOW OFF: no candidate is looked for */
  #isOff = false;
  /** the paths where `.next` files may appear */
  #places: ReadonlySet<string> = new Set();
  /** there is a candidate, and it is not the same as the serving version */
  #isComparable = false;
  #isIdentical = false;
  #canary: Canary | null = null;
  /** of clients that have the candidate */
  #generation = 0;
  /** how the last canary ended; '': there was none */
  #lastResult = '';
  #isPromoting = false;
  #isDisposed = false;

  constructor(options: RolloutOptions) {
    const { context, serving, identity } = options;
    this.#options = options;
    this.#shadow = new Shadow({
      clock: context.steadyClock,
      wallClock: context.clock,
      candidate: () => this.#candidate?.version ?? null,
      // it yields to serving calls, whose budget it shares
      limitMs: () =>
        context.budgets.of(identity.owner).mayRun ? context.rolloutLimits(identity.owner).shadowMs : 0,
      isServingBusy: () => !serving.batcher.isIdle,
      judge: (call, answer, manifest) => {
        const { judge } = this.#candidate!.lane;
        const decision = judge.decide(call, answer, false, manifest);
        return { decision, failure: judge.lastFailure };
      },
      onPrinted: (text) => this.#candidate?.lane.printed.note(text),
    });
    this.#salt = saltOf(identity.id);
  }

  // --- calls ---------------------------------------------------------------------------------------------------------------

  /** Calls must be given to `decide`, and questions to `recall`. */
  get isActive(): boolean {
    return this.#isComparable;
  }

  /** The candidate's version; null: there is none. */
  get version(): Version | null {
    return this.#candidate?.version ?? null;
  }

  /** A canary is running. */
  get hasCanary(): boolean {
    return this.#canary !== null;
  }

  /** Whether a client has the candidate. */
  isInCanary(clientId: number | undefined): boolean {
    return this.#canary !== null && clientId !== undefined && this.#canary.has(clientId);
  }

  /** As Tenant.generationOf; null: the client has the serving version. */
  generationOf(clientId: number): number | null {
    return this.#canary !== null && this.#canary.has(clientId) ? this.#generation : null;
  }

  /** The queries of clients that have the candidate must be judged again. */
  judgeAgain(): void {
    this.#generation = this.#options.context.generations.next();
    this.#candidate?.lane.recall.forget();
  }

  /** As Tenant.decide. */
  decide(call: HostCall, done: (decision: Decision) => void): void {
    const canary = this.#canary;
    if (canary === null) return this.#decideShadowed(call, done);
    if (this.#candidate !== null && this.isInCanary(call.clientId)) this.#decideInCanary(canary, call, done);
    else this.#decideOutside(canary, call, done);
  }

  /** As Tenant.recall. */
  recall(question: Question): Decision | null {
    const { clientId } = question;
    const canary = this.#canary;
    const lane =
      this.#candidate !== null && this.isInCanary(clientId) ? this.#candidate.lane : this.#options.serving;
    const decision = lane.remembered(question);
    if (decision === null) return null;
    if (canary !== null)
      canary.noteCall({ clientId, hasFailed: false, isRejected: decision.kind !== 'go', tookUs: null });
    // forwarded in this turn of the event loop, and compared in a later one
    else if (this.#shadow.hasRoom())
      this.#shadow.offer(question.call(), { decision, failure: null, costUs: null });
    return decision;
  }

  /** A server has answered a client's query. @param errorClass as in Arm.noteAnswer */
  noteAnswer(clientId: number, errorClass: number): void {
    this.#canary?.noteAnswer(clientId, errorClass);
  }

  #decideShadowed(call: HostCall, done: (decision: Decision) => void): void {
    const { judge, batcher } = this.#options.serving;
    this.#options.serving.decide(call, (decision) => {
      const { lastFailure: failure } = judge;
      const { costUs } = batcher;
      // the query is forwarded first
      done(decision);
      this.#shadow.offer(call, { decision, failure, costUs });
    });
  }

  #decideOutside(canary: Canary, call: HostCall, done: (decision: Decision) => void): void {
    const { clientId } = call;
    const since = performance.now();
    this.#options.serving.decide(call, (decision) => {
      const { lastFailure: failure } = this.#options.serving.judge;
      if (clientId !== undefined && failure === null)
        canary.noteCall({
          clientId,
          hasFailed: false,
          isRejected: decision.kind !== 'go',
          tookUs: (performance.now() - since) * 1000,
        });
      done(decision);
    });
  }

  /** If the candidate fails, the serving version decides: a canary fails no query that would not have failed anyway. */
  #decideInCanary(canary: Canary, call: HostCall, done: (decision: Decision) => void): void {
    const { serving, context, identity } = this.#options;
    const { lane } = this.#candidate!;
    const clientId = call.clientId!;
    const since = performance.now();
    lane.decide(call, (decision) => {
      const { costUs } = lane.batcher;
      if (costUs !== null) context.budgets.of(identity.owner).charge(costUs / 1000);
      if (lane.judge.lastFailure === null) {
        const tookUs = (performance.now() - since) * 1000;
        canary.noteCall({ clientId, hasFailed: false, isRejected: decision.kind !== 'go', tookUs });
        return done(decision);
      }
      serving.decide(call, (second) => {
        if (serving.judge.lastFailure === null)
          canary.noteCall({ clientId, hasFailed: true, isRejected: false, tookUs: null });
        done(second);
      });
    });
  }

  // --- where the candidate comes from ----------------------------------------------------------------------------------------

  /** Looks for the candidate's files, and has the places watched where they may appear. */
  look(): void {
    if (this.#isDisposed) return;
    const { context, files, identity } = this.#options;
    const serving = files();
    const places = nextPlaces(serving);
    const paths = watched(places);
    if (paths.length !== this.#places.size || paths.some((path) => !this.#places.has(path))) {
      this.#places = new Set(paths);
      context.onPlaces(nextId(identity.id), paths);
    }
    if (this.#isOff) return;
    const found = this.#folder === null ? context.disk.next(serving, places) : filesIn(this.#folder, serving);
    if (found === null) {
      if (this.#source !== 'newer') this.#drop('its files have gone');
      return;
    }
    this.#use(this.#folder === null ? 'next' : 'folder', found);
  }

  /** Files have changed. @param paths without links before their last part */
  noteChanges(paths: readonly string[]): void {
    const before = this.#candidate;
    if (paths.some((path) => this.#places.has(path))) this.look();
    const candidate = this.#candidate;
    // a new one is being built already
    if (candidate !== null && candidate === before && paths.some((path) => candidate.isOnTrail(path)))
      void candidate.reload();
  }

  /** RELOAD: looks for files again, and builds them if they have changed. */
  async reload(isAsked: boolean): Promise<void> {
    const before = this.#candidate?.files;
    this.look();
    if (this.#candidate === null || this.#source === 'newer') return;
    if (this.#candidate.files === before) await this.#candidate.reload(isAsked);
    await this.#candidate.idle();
  }

  /** Compares the files with their last known state, where changes are not reported. */
  async verify(): Promise<void> {
    this.look();
    if (this.#source !== 'newer') await this.#candidate?.verify();
  }

  /** The serving files hold other code, but another version is pinned. Files of a candidate take precedence. */
  async offer(bundle: Bundle, trial: SoundTrial | null): Promise<void> {
    if (this.#isDisposed || this.#isOff || (this.#source !== null && this.#source !== 'newer')) return;
    this.#source = 'newer';
    this.#candidate ??= this.#newCandidate(this.#options.files());
    await this.#candidate.take(bundle, trial);
  }

  /** The serving files hold what serves, or are about to serve. */
  withdraw(): void {
    if (this.#source === 'newer') this.#drop('the serving files hold nothing newer any more');
  }

  /** SHADOW FUNCTIONS … FROM. @throws RolloutError */
  async shadowFrom(folder: string): Promise<void> {
    if (filesIn(folder, this.#options.files()) === null)
      throw new RolloutError(
        `there is neither a routing_rules nor a rewrite_query file in ${printable(folder)}`,
      );
    this.#folder = folder;
    this.#isOff = false;
    await this.reload(true);
  }

  /** SHADOW FUNCTIONS: `.next` files count again. */
  async shadowNext(): Promise<void> {
    this.#folder = null;
    this.#isOff = false;
    await this.reload(true);
  }

  /** SHADOW FUNCTIONS … OFF: there is no candidate, whatever files there are. */
  shadowOff(): void {
    this.#folder = null;
    this.#isOff = true;
    this.#drop('shadowing was switched off');
  }

  #use(source: Source, files: SourceFiles): void {
    const candidate = this.#candidate;
    const isSame =
      candidate !== null &&
      this.#source === source &&
      candidate.files.routing === files.routing &&
      candidate.files.rewrite === files.rewrite;
    if (isSame) return;
    this.#source = source;
    if (candidate === null) this.#candidate = this.#newCandidate(files);
    else candidate.useFiles(files);
    void this.#candidate!.reload();
  }

  #newCandidate(files: SourceFiles): Candidate {
    const { identity, context, serving } = this.#options;
    return new Candidate({
      identity,
      files,
      rights: this.#options.files,
      settings: serving.settings,
      context,
      onSettled: () => {},
      onInstalled: () => this.#settle('another version is the candidate'),
      onOpened: () => this.endCanary('several clients have run into its limits', true),
      onDiffered: () => this.judgeAgain(),
    });
  }

  /** @param why there is no candidate any more */
  #drop(why: string): void {
    this.endCanary(why);
    this.#candidate?.dispose();
    this.#candidate = null;
    this.#source = null;
    this.#isComparable = this.#isIdentical = false;
    this.#shadow.restart();
  }

  // --- the two versions ------------------------------------------------------------------------------------------------------

  /** Other code serves. */
  noteServing(): void {
    if (this.#candidate !== null && !this.#isPromoting) this.#settle('another version serves');
  }

  /** Takes over settings, and hosts that may have changed. */
  async configure(settings: TenantSettings): Promise<void> {
    await this.#candidate?.configure(settings);
  }

  /** @param what has changed */
  #settle(what: string): void {
    const candidate = this.#candidate!;
    const { version } = candidate;
    const { serving, context } = this.#options;
    this.#shadow.restart();
    if (version === null) {
      // it was the same as the version that served before
      if (this.#isIdentical) void candidate.reload();
      this.#isIdentical = false;
      return;
    }
    this.#isIdentical = serving.version !== null && isSameCode(version.bundle, serving.version.bundle);
    this.#isComparable = !this.#isIdentical;
    if (this.#isIdentical) {
      this.endCanary('the candidate is the same as the version that serves');
      return candidate.clear();
    }
    if (this.#canary === null) return;
    this.judgeAgain();
    this.#canary.restart();
    context.log.info(
      { event: 'canary_restarted', tenant: this.#name },
      `canary of ${this.#name} begins to compare again: ${what}`,
    );
  }

  // --- canary ----------------------------------------------------------------------------------------------------------------

  /**
   * Gives the candidate to a share of the clients.
   * @param percent of the clients, over 0 and under 100
   * @param isPromoted it is to serve when it has proved itself
   * @throws RolloutError
   */
  async beginCanary(percent: number, isPromoted: boolean, asked: AskedBy): Promise<void> {
    const { version } = this.#comparable();
    const candidate = this.#candidate!;
    await candidate.setAsked(true);
    if (this.#candidate !== candidate || candidate.version?.hash !== version.hash || !this.#isComparable)
      throw new RolloutError('the candidate has changed meanwhile');
    this.#canary?.end();
    const { context, identity } = this.#options;
    this.#canary = new Canary({
      clock: context.steadyClock,
      percent,
      salt: this.#salt,
      isPromoted,
      limits: () => context.rolloutLimits(identity.owner),
      onWorse: (reason) => this.endCanary(reason, true),
      onProven: () => {
        if (isPromoted) void this.#promoteProven(asked);
      },
    });
    this.#setCanary(true);
    this.judgeAgain();
    context.log.info(
      { event: 'canary_begun', tenant: this.#name, user: asked.user, percent, version: version.hash },
      `canary of ${this.#name} begins: ${percent} % of the clients get version ${version.hash}, as ${printable(asked.user)} asked for`,
    );
  }

  /** All clients get the serving version. @param isWorse the candidate is to blame */
  endCanary(why: string, isWorse = false): void {
    if (this.#canary === null) return;
    const { context, serving } = this.#options;
    this.#canary.end();
    this.#canary = null;
    this.#setCanary(false);
    this.#lastResult = isWorse ? `went back: ${why}` : `ended: ${why}`;
    void this.#candidate?.setAsked(false);
    const version = serving.version?.hash ?? '';
    const line = `canary of ${this.#name} ${isWorse ? 'goes back' : 'ends'}: ${why}; all clients get version ${version}`;
    const fields = { event: isWorse ? 'canary_worse' : 'canary_ended', tenant: this.#name, version };
    if (isWorse) context.log.warn(fields, line);
    else context.log.info(fields, line);
  }

  #setCanary(isRunning: boolean): void {
    const { canaries } = this.#options.context;
    if (isRunning) canaries.add(this);
    else canaries.delete(this);
  }

  // --- promotion -------------------------------------------------------------------------------------------------------------

  /** Lets the candidate serve. @throws RolloutError */
  async promote(asked: AskedBy): Promise<void> {
    const { context } = this.#options;
    const { version } = this.#comparable();
    const isOfFiles = this.#source === 'newer';
    this.#isPromoting = true;
    const result = await this.#options.serve(version, isOfFiles, asked).finally(() => {
      this.#isPromoting = false;
    });
    if (result === null) throw new RolloutError('the tenant has gone');
    if (result.kind === 'refused')
      throw new RolloutError(`the candidate could not be loaded: ${printable(result.failure.message)}`);
    context.log.info(
      { event: 'candidate_promoted', tenant: this.#name, user: asked.user, version: version.hash },
      `candidate of ${this.#name} serves now: version ${version.hash}, as ${printable(asked.user)} asked for`,
    );
    this.endCanary('the candidate was promoted');
    if (isOfFiles) this.withdraw();
    else if (this.#candidate !== null) this.#settle('the candidate was promoted');
  }

  async #promoteProven(asked: AskedBy): Promise<void> {
    if (this.#isPromoting) return;
    try {
      await this.promote(asked);
      this.#lastResult = 'promoted, because it was not worse';
    } catch (error) {
      if (!(error instanceof RolloutError)) throw error;
      this.endCanary(error.message, true);
    }
  }

  /** @throws RolloutError: there is nothing to give to clients */
  #comparable(): { readonly version: Version } {
    const version = this.#candidate?.version ?? null;
    if (this.#isIdentical) throw new RolloutError('the candidate is the same as the version that serves');
    if (this.#isPromoting) throw new RolloutError('the candidate is being promoted');
    if (version !== null && this.#isComparable) return { version };
    if (this.#candidate === null) throw new RolloutError('there is no candidate');
    const { lastError } = this.#candidate;
    throw new RolloutError(
      lastError === '' ? 'the candidate is being loaded' : `the candidate is not loaded: ${lastError}`,
    );
  }

  // --- for people ------------------------------------------------------------------------------------------------------------

  observe(): RolloutSnapshot {
    const candidate = this.#candidate;
    return {
      owner: this.#options.identity.owner,
      state: this.#state,
      files: candidate === null ? [] : entriesOf(candidate.files),
      servingVersion: this.#options.serving.version?.hash ?? '',
      candidateVersion: candidate?.version?.hash ?? '',
      lastError: candidate?.lastError ?? '',
      report: this.#shadow.report.observe(),
      canary: this.#canary?.observe() ?? null,
      lastCanary: this.#lastResult,
    };
  }

  /** Nothing is asked any more; calls of clients are answered. */
  dispose(): void {
    this.#isDisposed = true;
    this.#drop('the tenant has no functions any more');
    this.#shadow.close();
    this.#options.context.onPlaces(nextId(this.#options.identity.id), []);
  }

  get #state(): RolloutState {
    if (this.#canary !== null) return 'canary';
    if (this.#isIdentical) return 'same as serving';
    if (this.#candidate === null) return this.#isOff ? 'off' : 'no candidate';
    if (this.#isComparable) return 'shadow';
    return this.#candidate.isBuilding ? 'loading' : 'not loaded';
  }

  /** The folder of the tenant's files. */
  get #name(): string {
    return printable(nameOf(this.#options.files()));
  }
}

/** The owner of what is watched for `.next` files. No tenant has this id. */
function nextId(tenantId: string): string {
  return `${tenantId}\0next`;
}
