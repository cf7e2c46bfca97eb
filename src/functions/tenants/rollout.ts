/**
 * How a tenant's next version comes to serve: it is found and loaded as the candidate, compared with the version that serves
 * (comparison.ts), and promoted. It may be promoted without having been compared.
 */
import type { RolloutSnapshot, RolloutState } from '../../telemetry/snapshots/rollout.ts';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { filesIn } from '../build/next-files.ts';
import { printable } from '../build/places.ts';
import { isSameCode } from '../build/same-code.ts';
import { entriesOf, nameOf } from '../build/sources.ts';
import type { Decision } from '../decide/policy.ts';
import type { Question } from '../decide/question.ts';
import type { HostCall } from '../sandbox/call.ts';
import type { AskedBy } from './asked-by.ts';
import { CandidateFiles, type FoundFiles } from './candidate-files.ts';
import { Candidate } from './candidate.ts';
import { Comparison } from './comparison.ts';
import type { RolloutChange } from './fleet.ts';
import type { TenantContext } from './context.ts';
import type { Identity } from './identity.ts';
import type { Lane } from './lane.ts';
import type { TenantSettings } from './settings.ts';
import type { ShadowSource } from '../store/held.ts';
import type { SoundTrial, TrialResult } from './trials.ts';
import type { Version } from './version.ts';

/** A command about a candidate can't be carried out. The message is for the person who gave it. */
export class RolloutError extends Error {}

/** `newer`: the serving files, while another version is pinned; `fleet`: another proxy */
type Source = FoundFiles['source'] | 'newer' | 'fleet';

/** What the fleet is told, but for the reasons. */
function sharedText({ kind, hash, percent, isPromoted }: RolloutChange): string {
  return `${kind} ${hash} ${percent} ${isPromoted}`;
}

const NOTHING_SHARED = 'none  0 false';

export interface RolloutOptions {
  readonly identity: Identity;
  readonly context: TenantContext;
  /** the versions that serve */
  readonly serving: Lane;
  /** the files of the version that serves, absolute */
  readonly files: () => SourceFiles;
  /** Why somebody must not give the candidate to clients, for people; null: it is allowed. */
  readonly refusalOf: (asked: AskedBy) => string | null;
  /**
   * Lets a version serve, whatever the files hold.
   * @param isOfFiles it was made of the files that serve
   * @returns null: the tenant has gone
   */
  readonly serve: (version: Version, isOfFiles: boolean, asked: AskedBy) => Promise<TrialResult | null>;
  /** No files of a candidate count any more: what the serving files hold may be offered again. */
  readonly onNone: () => Promise<void>;
}

export class Rollout {
  readonly #options: RolloutOptions;
  readonly #files: CandidateFiles;
  readonly #comparison: Comparison;
  #candidate: Candidate | null = null;
  #source: Source | null = null;
  /** there is a candidate, and it is not the same as the serving version */
  #isComparable = false;
  #isIdentical = false;
  #isPromoting = false;
  #isDisposed = false;
  /** the canary that is running was asked for by this user */
  #asked: AskedBy = { by: 'operator', user: '' };
  /** what the fleet knows of it */
  #shared = NOTHING_SHARED;
  /** the fleet's rollout is being taken over */
  #isFollowing = false;

  constructor(options: RolloutOptions) {
    const { context, serving, identity } = options;
    this.#options = options;
    this.#files = new CandidateFiles(identity.id, context);
    this.#restoreSource();
    this.#comparison = new Comparison({
      identity,
      context,
      serving,
      candidate: () => this.#candidate?.lane ?? null,
      name: () => this.#name,
      onEnded: () => {
        void this.#candidate?.setAsked(false);
        this.#share();
      },
      onProven: (asked) => void this.#promoteProven(asked),
    });
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
    return this.#comparison.hasCanary;
  }

  /** As Tenant.generationOf; null: the client has the serving version. */
  generationOf(clientId: number): number | null {
    return this.#comparison.generationOf(clientId);
  }

  /** The queries of clients that have the candidate must be judged again. */
  judgeAgain(): void {
    this.#comparison.judgeAgain();
  }

  /** As Tenant.decide. */
  decide(call: HostCall, done: (decision: Decision) => void): void {
    this.#comparison.decide(call, done);
  }

  /** As Tenant.recall. */
  recall(question: Question): Decision | null {
    return this.#comparison.recall(question);
  }

  /** A server has answered a client's query. @param errorClass as in Arm.noteAnswer */
  noteAnswer(clientId: number, errorClass: number): void {
    this.#comparison.noteAnswer(clientId, errorClass);
  }

  // --- where the candidate comes from ----------------------------------------------------------------------------------------

  /** Looks for the candidate's files. */
  look(): void {
    if (this.#isDisposed) return;
    const found = this.#files.find(this.#options.files());
    if (found !== null) this.#use(found);
    else if (this.#source === 'next' || this.#source === 'folder') {
      this.#drop('its files have gone');
      if (!this.#files.isOff) void this.#options.onNone();
    }
  }

  /** Files have changed. @param paths without links before their last part */
  noteChanges(paths: ReadonlySet<string>): void {
    const before = this.#candidate;
    if (this.#files.areAmong(paths)) this.look();
    const candidate = this.#candidate;
    // a new one is being built already
    if (candidate !== null && candidate === before && candidate.areOnTrail(paths)) void candidate.reload();
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
    if (this.#isDisposed || this.#files.isOff || (this.#source !== null && this.#source !== 'newer')) return;
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
    this.#files.use(folder);
    this.#keepSource({ folder });
    await this.reload(true);
    this.#share();
  }

  /** SHADOW FUNCTIONS: `.next` files count again. */
  async shadowNext(): Promise<void> {
    if (this.#source === 'fleet') this.#drop('shadowing was switched off');
    this.#files.use(null);
    this.#keepSource(null);
    await this.reload(true);
    this.#share();
    if (this.#candidate === null) await this.#options.onNone();
  }

  /** SHADOW FUNCTIONS … OFF: there is no candidate, whatever files there are. */
  shadowOff(): void {
    this.#files.switchOff();
    this.#keepSource({ folder: null });
    this.#drop('shadowing was switched off');
    this.#share();
  }

  /** The fleet, if there is one, says after a restart where candidates come from. */
  #keepSource(source: ShadowSource | null): void {
    const { context, identity } = this.#options;
    if (!context.fleet.isOn) context.store.held.set(identity, 'source', source);
  }

  #restoreSource(): void {
    const { context, identity } = this.#options;
    const source = context.fleet.isOn ? null : context.store.held.get(identity, 'source');
    if (source === null) return;
    if (source.folder === null) this.#files.switchOff();
    else this.#files.use(source.folder);
  }

  #use({ source, files }: FoundFiles): void {
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
      onInstalled: () => {
        this.#settle('another version is the candidate');
        this.#share();
      },
      onOpened: () => this.#comparison.end('several clients have run into its limits', true),
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
    this.#comparison.restart(why);
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
    const serving = this.#options.serving.version;
    const wasIdentical = this.#isIdentical;
    this.#isIdentical = version !== null && serving !== null && isSameCode(version.bundle, serving.bundle);
    this.#isComparable = version !== null && !this.#isIdentical;
    if (this.#isIdentical) this.endCanary('the candidate is the same as the version that serves');
    this.#comparison.restart(what);
    if (this.#isIdentical) candidate.clear();
    // it was unloaded because it was the same as the version that served before
    else if (version === null && wasIdentical) void candidate.reload();
    if (this.#isComparable && serving !== null) void this.#resumeCanary();
  }

  // --- canary and promotion --------------------------------------------------------------------------------------------------

  /**
   * Gives the candidate to a share of the clients.
   * @param percent of the clients, over 0 and under 100
   * @param isPromoted it is to serve when it has proved itself
   * @throws RolloutError
   */
  async beginCanary(percent: number, isPromoted: boolean, asked: AskedBy): Promise<void> {
    const { candidate, version } = await this.#comparable(asked);
    await candidate.setAsked(true);
    if (this.#candidate !== candidate || candidate.version?.hash !== version.hash || !this.#isComparable) {
      if (!this.hasCanary) void candidate.setAsked(false);
      throw new RolloutError('the candidate has changed meanwhile');
    }
    this.#asked = asked;
    this.#comparison.begin(percent, isPromoted, asked);
    this.#share();
  }

  /** A canary that ran before a restart goes on, now that its candidate is loaded. */
  async #resumeCanary(): Promise<void> {
    const { candidate, version } = { candidate: this.#candidate, version: this.version };
    if (this.#comparison.held === null || candidate === null || this.#options.context.fleet.isOn) return;
    await candidate.setAsked(true);
    const { held } = this.#comparison;
    const isSame = this.#candidate === candidate && candidate.version?.hash === version?.hash;
    if (held === null || this.#isDisposed || !isSame || !this.#isComparable) return;
    this.#asked = { by: held.by, user: held.user };
    this.#comparison.resume(held);
  }

  /** What a restart needs to go on with a canary. */
  keep(): void {
    this.#comparison.keep();
  }

  /** All clients get the serving version. */
  endCanary(why: string): void {
    this.#comparison.end(why);
  }

  /** Lets the candidate serve. @throws RolloutError */
  async promote(asked: AskedBy): Promise<void> {
    const { context } = this.#options;
    const { version } = await this.#comparable(asked);
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
    context.store.comeBack(version.record);
    this.endCanary('the candidate was promoted');
    if (isOfFiles) this.withdraw();
    else if (this.#candidate !== null) this.#settle('the candidate was promoted');
  }

  async #promoteProven(asked: AskedBy): Promise<void> {
    if (this.#isPromoting) return;
    const { context, identity } = this.#options;
    const hash = this.version?.hash ?? '';
    if (context.fleet.promote(identity, hash, this.#source === 'newer', asked)) return;
    try {
      await this.promote(asked);
      this.#comparison.noteResult('promoted, because it was not worse');
    } catch (error) {
      if (!(error instanceof RolloutError)) throw error;
      this.#comparison.end(error.message, true);
    }
  }

  /** @throws RolloutError: there is nothing to give to clients */
  async #comparable(asked: AskedBy): Promise<{ readonly candidate: Candidate; readonly version: Version }> {
    // the tenant's functions may not have been used yet
    if (this.#candidate === null) this.look();
    await this.#candidate?.idle();
    const candidate = this.#candidate;
    const version = candidate?.version ?? null;
    const refusal = this.#options.refusalOf(asked);
    if (refusal !== null) throw new RolloutError(refusal);
    if (this.#isIdentical) throw new RolloutError('the candidate is the same as the version that serves');
    if (this.#isPromoting) throw new RolloutError('the candidate is being promoted');
    if (candidate === null) throw new RolloutError('there is no candidate');
    if (version !== null && this.#isComparable) return { candidate, version };
    const { lastError } = candidate;
    throw new RolloutError(
      lastError === '' ? 'the candidate is being loaded' : `the candidate is not loaded: ${lastError}`,
    );
  }

  // --- the fleet -------------------------------------------------------------------------------------------------------------

  /**
   * Takes over what another proxy of the fleet does with a candidate.
   * @param bundle of the candidate; null: there is none
   * @returns why that is not possible; null: it is done
   */
  async follow(rollout: RolloutChange, bundle: Bundle | null): Promise<string | null> {
    this.#isFollowing = true;
    try {
      await this.#follow(rollout, bundle);
      this.#shared = sharedText(rollout);
      return null;
    } catch (error) {
      if (!(error instanceof RolloutError)) throw error;
      return error.message;
    } finally {
      this.#isFollowing = false;
    }
  }

  async #follow(
    { kind, percent, isPromoted, asked, why, isWorse }: RolloutChange,
    bundle: Bundle | null,
  ): Promise<void> {
    const end = (): void =>
      this.#comparison.end(why.replace(/^(?:went back|ended): /, '') || 'it was ended in the fleet', isWorse);
    if (kind === 'off') return this.shadowOff();
    if (kind === 'none' || bundle === null) {
      end();
      if (this.#source === 'fleet') this.#drop('the fleet has no candidate any more');
      if (this.#source === null) this.#files.use(null);
      return this.look();
    }
    await this.#take(bundle);
    if (kind === 'shadow') return end();
    const running = this.hasCanary ? this.#comparison.observe().canary : null;
    if (running?.percent === percent && running.isPromoted === isPromoted) return;
    await this.beginCanary(percent, isPromoted, asked);
  }

  /** A candidate from another proxy. @throws RolloutError if it can't be loaded */
  async #take(bundle: Bundle): Promise<void> {
    await this.#candidate?.idle();
    if (this.#candidate?.version?.hash === bundle.hash) return;
    if (this.#candidate !== null && this.#source !== 'fleet') this.#drop('the fleet has another candidate');
    this.#files.lend();
    this.#source = 'fleet';
    this.#candidate ??= this.#newCandidate(this.#options.files());
    const candidate = this.#candidate;
    await candidate.take(bundle, null);
    if (candidate.version?.hash !== bundle.hash && !this.#isIdentical)
      throw new RolloutError(
        `the fleet's candidate can't be loaded: ${candidate.lastError || 'it was refused'}`,
      );
  }

  /** Tells the fleet what is done with the candidate by command, if that has changed. */
  #share(): void {
    const { context, identity } = this.#options;
    if (this.#isFollowing || this.#isDisposed || !context.fleet.isOn) return;
    const change = this.#change;
    const text = sharedText(change);
    if (text === this.#shared) return;
    this.#shared = text;
    context.fleet.noteRollout(identity, change);
  }

  get #change(): RolloutChange {
    const { canary, lastCanary: why } = this.#comparison.observe();
    const hash = this.version?.hash ?? '';
    const rest = {
      percent: 0,
      isPromoted: false,
      asked: this.#asked,
      why,
      isWorse: why.startsWith('went back'),
    };
    if (canary !== null) {
      const { percent, isPromoted } = canary;
      return { ...rest, kind: 'canary', hash, percent, isPromoted };
    }
    if (this.#files.isOff) return { ...rest, kind: 'off', hash: '' };
    const isByCommand = this.#source === 'folder' || this.#source === 'fleet';
    return isByCommand ? { ...rest, kind: 'shadow', hash } : { ...rest, kind: 'none', hash: '' };
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
      ...this.#comparison.observe(),
    };
  }

  /** Nothing is asked any more; calls of clients are answered. */
  dispose(): void {
    this.#isDisposed = true;
    this.#comparison.close();
    this.#candidate?.dispose();
    this.#candidate = null;
    this.#isComparable = this.#isIdentical = false;
    this.#files.close();
  }

  get #state(): RolloutState {
    if (this.hasCanary) return 'canary';
    if (this.#isIdentical) return 'same as serving';
    if (this.#candidate === null) return this.#files.isOff ? 'off' : 'no candidate';
    if (this.#isComparable) return 'shadow';
    return this.#candidate.isBuilding ? 'loading' : 'not loaded';
  }

  /** The folder of the tenant's files. */
  get #name(): string {
    return printable(nameOf(this.#options.files()));
  }
}
