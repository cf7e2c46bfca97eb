/**
 * A candidate beside the version that serves: which of the two decides about a client's query, and what is learnt from it. The
 * candidate is asked about forwarded queries (shadow), or decides for a share of the clients (canary).
 */
import type { CanarySnapshot, ShadowReportSnapshot } from '../../telemetry/snapshots/rollout.ts';
import { printable } from '../build/places.ts';
import type { Decision } from '../decide/policy.ts';
import type { Question } from '../decide/question.ts';
import { CANARY } from '../limits.ts';
import { Canary } from '../rollout/canary.ts';
import { saltOf } from '../rollout/share.ts';
import { Shadow } from '../rollout/shadow.ts';
import type { HostCall } from '../sandbox/call.ts';
import type { HeldCanary } from '../store/held.ts';
import type { AskedBy } from './asked-by.ts';
import type { TenantContext } from './context.ts';
import type { Identity } from './identity.ts';
import type { Lane } from './lane.ts';

export interface ComparisonOptions {
  readonly identity: Identity;
  readonly context: TenantContext;
  /** the versions that serve */
  readonly serving: Lane;
  /** null: there is no candidate */
  readonly candidate: () => Lane | null;
  /** the folder of the tenant's files, for the log */
  readonly name: () => string;
  /** No client has the candidate any more. */
  readonly onEnded: () => void;
  /** The candidate has proved itself, and is to serve if that was asked for. Called again until the canary ends. */
  readonly onProven: (asked: AskedBy) => void;
}

export class Comparison {
  readonly #options: ComparisonOptions;
  readonly #shadow: Shadow;
  readonly #salt: number;
  #canary: Canary | null = null;
  /** who has asked for it */
  #asked: AskedBy = { by: 'operator', user: '' };
  #stopKeeping = (): void => {};
  /** of clients that have the candidate */
  #generation = 0;
  /** how the last canary ended; '': there was none */
  #lastResult = '';

  constructor(options: ComparisonOptions) {
    const { context, serving, candidate, identity } = options;
    this.#options = options;
    this.#salt = saltOf(identity.id);
    this.#shadow = new Shadow({
      clock: context.steadyClock,
      wallClock: context.clock,
      candidate: () => candidate()?.version ?? null,
      // it yields to serving calls, whose budget it shares
      limitMs: () =>
        context.budgets.of(identity.owner).mayRun ? context.rolloutLimits(identity.owner).shadowMs : 0,
      isServingBusy: () => !serving.batcher.isIdle,
      judge: (call, answer, manifest) => {
        const { judge } = candidate()!;
        const decision = judge.decide(call, answer, false, manifest);
        return { decision, failure: judge.lastFailure };
      },
      onPrinted: (text) => candidate()?.printed.note(text),
    });
  }

  // --- calls ---------------------------------------------------------------------------------------------------------------

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
    this.#options.candidate()?.recall.forget();
  }

  /** As Tenant.decide. */
  decide(call: HostCall, done: (decision: Decision) => void): void {
    const canary = this.#canary;
    if (canary === null) return this.#decideShadowed(call, done);
    const candidate = this.isInCanary(call.clientId) ? this.#options.candidate() : null;
    if (candidate === null) this.#decideOutside(canary, call, done);
    else this.#decideInCanary(canary, candidate, call, done);
  }

  /** As Tenant.recall. */
  recall(question: Question): Decision | null {
    const { clientId } = question;
    const canary = this.#canary;
    const candidate = this.isInCanary(clientId) ? this.#options.candidate() : null;
    const decision = (candidate ?? this.#options.serving).remembered(question);
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
  #decideInCanary(canary: Canary, candidate: Lane, call: HostCall, done: (decision: Decision) => void): void {
    const { serving, context, identity } = this.#options;
    const clientId = call.clientId!;
    const since = performance.now();
    candidate.decide(call, (decision) => {
      const { costUs } = candidate.batcher;
      if (costUs !== null) context.budgets.of(identity.owner).charge(costUs / 1000);
      if (candidate.judge.lastFailure === null) {
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

  // --- canary ----------------------------------------------------------------------------------------------------------------

  /**
   * Gives the candidate to a share of the clients. Another canary ends.
   * @param percent of the clients, over 0 and under 100
   * @param isPromoted `onProven` is to be called
   */
  begin(percent: number, isPromoted: boolean, asked: AskedBy): void {
    this.#begin(percent, isPromoted, asked, null);
  }

  /** The canary from before a restart goes on. */
  resume(held: HeldCanary): void {
    const { percent, isPromoted, by, user } = held;
    this.#begin(percent, isPromoted, { by, user }, held);
  }

  #begin(percent: number, isPromoted: boolean, asked: AskedBy, held: HeldCanary | null): void {
    const { context, identity, candidate, serving } = this.#options;
    this.#canary?.end();
    this.#asked = asked;
    this.#canary = new Canary({
      clock: context.steadyClock,
      percent,
      salt: this.#salt,
      keyOf: (clientId) => context.clientKeys.of(clientId),
      isPromoted,
      limits: () => context.rolloutLimits(identity.owner),
      onWorse: (reason) => this.end(reason, true),
      onProven: () => {
        if (isPromoted) this.#options.onProven(asked);
      },
    });
    const version = candidate()?.version?.hash ?? '';
    const isSame = held?.candidateHash === version && held.servingHash === serving.version?.hash;
    if (held !== null && isSame) this.#canary.restore(held);
    context.canaries.add(this);
    this.judgeAgain();
    this.#keepLater();
    const name = this.#options.name();
    const what = held === null ? 'begins' : isSame ? 'goes on' : 'begins to compare again';
    context.log.info(
      { event: 'canary_begun', tenant: name, user: asked.user, percent, version },
      `canary of ${name} ${what}: ${percent} % of the clients get version ${version}, as ${printable(asked.user)} asked for`,
    );
  }

  /** What a restart needs to go on with the canary. */
  keep(): void {
    const { context, identity, serving, candidate } = this.#options;
    if (this.#canary === null) return;
    const { percent, isPromoted, counts } = this.#canary;
    context.store.held.set(identity, 'canary', {
      percent,
      isPromoted,
      ...this.#asked,
      servingHash: serving.version?.hash ?? '',
      candidateHash: candidate()?.version?.hash ?? '',
      ...counts,
    });
  }

  #keepLater(): void {
    this.#stopKeeping();
    this.keep();
    this.#stopKeeping = this.#options.context.steadyClock.after(CANARY.keepMs, () => this.#keepLater());
  }

  /** The canary from before a restart, which has not gone on yet; null: none. */
  get held(): HeldCanary | null {
    const { context, identity } = this.#options;
    return this.#canary === null ? context.store.held.get(identity, 'canary') : null;
  }

  /** Other code serves, or is the candidate: the counts begin again. @param what has changed */
  restart(what: string): void {
    this.#shadow.restart();
    if (this.#canary === null) return;
    this.judgeAgain();
    this.#canary.restart();
    const name = this.#options.name();
    this.#options.context.log.info(
      { event: 'canary_restarted', tenant: name },
      `canary of ${name} begins to compare again: ${what}`,
    );
  }

  /** All clients get the serving version. @param isWorse the candidate is to blame */
  end(why: string, isWorse = false): void {
    const { context, serving, identity } = this.#options;
    if (this.#canary === null && this.held === null) return;
    this.#stop();
    context.store.held.set(identity, 'canary', null);
    this.#lastResult = isWorse ? `went back: ${why}` : `ended: ${why}`;
    this.#options.onEnded();
    const name = this.#options.name();
    const version = serving.version?.hash ?? '';
    const line = `canary of ${name} ${isWorse ? 'goes back' : 'ends'}: ${why}; all clients get version ${version}`;
    const fields = { event: isWorse ? 'canary_worse' : 'canary_ended', tenant: name, version };
    if (isWorse) context.log.warn(fields, line);
    else context.log.info(fields, line);
  }

  /** @param result of the canary that has just ended, for people */
  noteResult(result: string): void {
    this.#lastResult = result;
  }

  observe(): {
    readonly report: ShadowReportSnapshot;
    readonly canary: CanarySnapshot | null;
    readonly lastCanary: string;
  } {
    return {
      report: this.#shadow.report.observe(),
      canary: this.#canary?.observe() ?? null,
      lastCanary: this.held === null ? this.#lastResult : 'waits for its candidate, since a restart',
    };
  }

  #stop(): void {
    this.#stopKeeping();
    this.#canary?.end();
    this.#canary = null;
    this.#options.context.canaries.delete(this);
  }

  /** Nothing is compared any more, unless after a restart. */
  close(): void {
    this.keep();
    this.#stop();
    this.#shadow.close();
  }
}
