/**
 * One line of a tenant's versions, of which the last one answers calls: where they are loaded (Installer), how calls reach
 * them (Batcher), and what their answers mean (Judge).
 */
import type { TenantSnapshot } from '../../telemetry/snapshots/functions.ts';
import type { SourceFiles } from '../build/bundle-job.ts';
import { entryOf } from '../build/sources.ts';
import { Batcher } from '../decide/batcher.ts';
import type { Budget } from '../decide/budget.ts';
import type { Decision } from '../decide/policy.ts';
import type { Question } from '../decide/question.ts';
import type { FailureOutcome, HostCall } from '../sandbox/call.ts';
import type { SandboxHost } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { Pause, VersionKey } from '../store/version-record.ts';
import { checkedWith } from './checked-with.ts';
import type { TenantContext } from './context.ts';
import { Counters, outcomeOf } from './counters.ts';
import type { Isolation } from './housing.ts';
import { Installer } from './installer.ts';
import type { Journal } from './journal.ts';
import { Judge } from './judge.ts';
import { Printed } from './printed.ts';
import { Recall } from './recall.ts';
import type { TenantSettings } from './settings.ts';
import type { Version } from './version.ts';

export interface LaneOptions {
  /** under which the versions are kept */
  readonly key: VersionKey;
  readonly files: () => SourceFiles;
  /** The functions may name what functions in these files may name; none: `files`. */
  readonly rights?: () => SourceFiles;
  readonly settings: TenantSettings;
  /** the host for its versions, asked for when one is to be loaded */
  readonly host: () => SandboxHost;
  readonly journal: Journal;
  readonly context: TenantContext;
  /** the tenant's processor time */
  readonly budget: Budget;
  /** how long calls wait for an answer, the loading of a first version included, in ms */
  readonly longestWaitMs?: number;
  /** Whether calls fail although a version is loaded. */
  readonly isBlocked: () => boolean;
  /** how a call fails if it is blocked, or if there is no version */
  readonly noVersion: () => readonly [FailureOutcome, string];
  /** What becomes of queries that a PAUSE keeps from the functions; null: they are not paused. */
  readonly pausedAs?: () => Pause['as'] | null;
  /** A version of this number will now be given to the host where it will answer. */
  readonly onGiven: (versionId: number) => void;
  /** Several clients have run into the version's limits, and it is asked only now and then. */
  readonly onOpened: () => void;
  /** A version could not be loaded elsewhere, because loading it costs too much. */
  readonly onCostlyMove: () => void;
  /** A version answers. `isNew`: its code differs from the last one's; `isReset`: it does not, and its settings do. */
  readonly onInstalled: (version: Version, isNew: boolean, isReset: boolean) => void;
  /** The version gave two answers to one question, or has state: its decisions are not remembered any more. */
  readonly onDiffered: () => void;
}

/** The part of a tenant's snapshot that comes from the versions that serve. */
type LaneSnapshot = Omit<
  TenantSnapshot,
  | 'id'
  | 'owner'
  | 'name'
  | 'routingFile'
  | 'rewriteFile'
  | 'databases'
  | 'state'
  | 'lastError'
  | 'lastErrorAtMs'
>;

export class Lane {
  readonly counters = new Counters();
  readonly installer: Installer;
  readonly batcher: Batcher;
  readonly judge: Judge;
  readonly recall: Recall;
  readonly #budget: Budget;
  #hash = '';
  /** the settings of the version that answers; null: there is none */
  #judgedUnder: TenantSettings | null = null;
  /** lines that the functions print, on their way to the log */
  readonly printed: Printed;

  constructor(options: LaneOptions) {
    const { files, rights = files, settings, host, journal, context, longestWaitMs } = options;
    this.#budget = options.budget;
    this.printed = new Printed(
      (line) => journal.printed(line),
      () => this.settings.maxPrinted,
    );
    this.judge = new Judge({
      files,
      rights,
      journal,
      counters: this.counters,
      targets: context.targets,
      settings: () => this.settings,
      pausedAs: options.pausedAs ?? (() => null),
      version: () => this.version,
      onDecided: (call, answer, decision) => this.recall.keep(call, answer, decision),
    });
    this.recall = new Recall({
      room: context.memory,
      limit: () => this.settings.cacheBytes,
      clock: context.clock,
      random: context.random,
      version: () => (options.isBlocked() ? null : this.version),
      mayName: (entry, name) => context.targets.mayName(rights(), entry, name),
      ask: (call, done) => this.batcher.check(call, done),
      onDiffered: (remembered, evaluated) => {
        journal.differed(remembered, evaluated);
        options.onDiffered();
      },
      onChanged: (why) => {
        journal.changed(why);
        options.onDiffered();
      },
    });
    this.batcher = new Batcher({
      serving: () => (options.isBlocked() ? null : this.version),
      noVersion: options.noVersion,
      decide: (call, answer, opened, manifest, tookMs) => {
        const decision = this.judge.decide(call, answer, opened, manifest);
        this.counters.noteTime(outcomeOf(decision, this.judge.lastFailure), tookMs);
        return decision;
      },
      onPrinted: (text) => this.printed.note(text),
      onOpened: options.onOpened,
      apart: () => context.housing.apart(this.isolation),
      budget: options.budget,
      waitsForBudget: () => this.judge.failureSkipsGuard(this.version),
      ...(longestWaitMs !== undefined && { longestWaitMs }),
    });
    this.installer = new Installer({
      entryFile: () => entryOf(files()),
      settings,
      host,
      nextVersionId: () => context.versionIds.next(),
      onGiven: options.onGiven,
      record: (bundle, loadedWith, findings) =>
        context.store.add(options.key, bundle, {
          checkedWith: checkedWith(loadedWith),
          findings,
          operators: context.targets.operatorsIn(files()),
          isArtifact: bundle.isArtifact,
        }),
      isInUse: () => this.counters.calls > 0 || !this.batcher.isIdle,
      onCostlyMove: options.onCostlyMove,
      onInstalled: (version) => {
        const isNew = this.expect(version.hash, version.manifest, version);
        this.recall.noteInstalled(version);
        // the same code in another place decides as before
        const isReset = !isNew && version.settings !== this.#judgedUnder;
        this.#judgedUnder = version.settings;
        if (isReset) this.recall.forget();
        options.onInstalled(version, isNew, isReset);
      },
    });
  }

  /** Hash of the version that answers, or that answers as soon as it is loaded; '': none is known. */
  get hash(): string {
    return this.#hash;
  }

  /** A version answers now, or as soon as it is loaded. @returns whether its code differs from the last one's */
  expect(hash: string, manifest: Manifest, version: Version | null = null): boolean {
    this.judge.learn(manifest, version);
    if (hash === this.#hash) return false;
    this.#hash = hash;
    this.recall.forget();
    return true;
  }

  /** The version that answers; null: there is none. */
  get version(): Version | null {
    return this.installer.version;
  }

  get settings(): TenantSettings {
    return this.installer.settings;
  }

  get isolation(): Isolation {
    return this.settings.isolation;
  }

  /** The version's decision for a query, if it is remembered; null: the version must be asked. */
  remembered(question: Question): Decision | null {
    const decision = this.recall.find(question);
    if (decision !== null) this.judge.noteRemembered(decision);
    return decision;
  }

  /**
   * Asks the version about a query.
   * @param done called once, never before `decide` has returned
   */
  decide(call: HostCall, done: (decision: Decision) => void): void {
    this.batcher.evaluate({ ...call, epoch: this.recall.epoch }, done);
  }

  /** The line at this moment, as plain data. */
  observe(): LaneSnapshot {
    const { version, isolation, batcher } = this;
    const host = version?.host ?? null;
    return {
      version: version?.hash ?? '',
      loadedAtMs: version?.loadedAtMs ?? null,
      isolation,
      pid: host === null ? null : host.isInline ? process.pid : (host.pid ?? null),
      isSuspended: batcher.isSuspended,
      ...batcher.times,
      heapBytes: batcher.heapBytes,
      cpu: { ...this.#budget.observe(), waiting: batcher.heldByBudget },
      recall: this.recall.observe(version),
      ...this.counters.observe(),
    };
  }

  /** No version is needed any more, until the next one is installed. */
  clear(): void {
    this.installer.clear();
    this.#hash = '';
  }

  /** The version leaves its host, and calls wait for the next one. @returns false: it is in use */
  unload(): boolean {
    if (!this.batcher.isQuiet || this.installer.isBusy) return false;
    this.batcher.hold();
    this.installer.unload();
    return true;
  }

  /** No more calls will arrive. The version answers those that it already has. */
  close(): void {
    this.batcher.close(() => this.installer.dispose());
  }
}
