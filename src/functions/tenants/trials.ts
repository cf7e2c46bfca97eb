/** Trials: a new version is loaded and called once before it serves. */
import { Turns } from '../build/turns.ts';
import { failedFunction, failureOf } from '../decide/policy.ts';
import { evaluate, type Asked } from '../decide/shaped.ts';
import { TRIAL } from '../limits.ts';
import { isPlatformFailure, type CallFailure, type HostAnswer } from '../sandbox/call.ts';
import type { SandboxHost, VersionCode } from '../sandbox/host.ts';
import type { Manifest, RefusalCause } from '../sandbox/load-result.ts';
import { TRIAL_ARGUMENTS } from './journal.ts';

/** A version that can serve. */
export interface SoundTrial {
  readonly kind: 'sound';
  readonly manifest: Manifest;
  /** the database that its trial call was routed to; null: none */
  readonly route: string | null;
}

export type TrialResult =
  | SoundTrial
  | { readonly kind: 'refused'; readonly cause: RefusalCause; readonly failure: CallFailure };

/** The result of a trial in a process of its own. */
export interface Trial {
  readonly result: TrialResult;
  /** it can serve, but took long to load */
  readonly isSlow: boolean;
}

/** Loads a version and has it answer a call. A version that can't serve does not stay in the host. */
export async function tryVersion(host: SandboxHost, version: VersionCode): Promise<TrialResult> {
  const loaded = await host.load(version);
  if (loaded.kind === 'refused') {
    const { cause, message, stack } = loaded;
    return { kind: 'refused', cause, failure: { outcome: 'threw', message, stack } };
  }
  const { manifest } = loaded;
  const { rewrite, route } = await trialCall(host, { id: version.id, code: version, manifest });
  const failure = failureOf(rewrite) ?? failureOf(route);
  if (failure === null)
    return { kind: 'sound', manifest, route: route !== null && 'text' in route ? route.text : null };
  host.dispose(version.id);
  const message = `in the trial call ${failedFunction(manifest, rewrite, route)}${TRIAL_ARGUMENTS}: ${failure.message}`;
  return { kind: 'refused', cause: causeOf(failure), failure: { ...failure, message } };
}

function trialCall(host: SandboxHost, version: Asked): Promise<HostAnswer> {
  const call = { username: 'pgswitchyard', query: 'SELECT 1', inTransaction: false, context: {} };
  return new Promise((resolve) => {
    evaluate(version, host, [call], ([answer]) => resolve(answer ?? { rewrite: null, route: null }));
  });
}

function causeOf({ outcome }: CallFailure): RefusalCause {
  if (isPlatformFailure(outcome) || outcome === 'no_version') return 'passing';
  return outcome === 'deadline' || outcome === 'memory' || outcome === 'killed' ? 'offence' : 'mistake';
}

/** A host that is used for trials only. */
export interface TrialHost extends SandboxHost {
  readonly isBusy: boolean;
}

/**
 * Tries new versions in processes used for nothing else, so that loading them delays no client. Slow versions, and those of
 * tenants that have harmed others, are tried in separate processes: these may be blocked for seconds, the ordinary ones never.
 */
export class Trials {
  readonly #newHost: () => TrialHost | null;
  readonly #quick = new Turns(TRIAL.quickTurns);
  readonly #slow = new Turns(1);
  readonly #idle: TrialHost[] = [];
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;

  /** @param newHost null: a trial elsewhere would gain nothing */
  constructor(newHost: () => TrialHost | null) {
    this.#newHost = newHost;
  }

  /**
   * @param isWanted asked when the trial's turn has come: a version that another has overtaken is not tried any more
   * @returns null: it was not tried
   */
  async try(
    tenant: string,
    isSuspect: boolean,
    version: VersionCode,
    isWanted: () => boolean,
  ): Promise<Trial | null> {
    if (!isSuspect) {
      const quick = { ...version, loadMs: TRIAL.quickMs };
      const result = await this.#quick.run(tenant, () => this.#once(quick, isWanted));
      const isOffence = result?.kind === 'refused' && result.cause === 'offence';
      if (!isOffence) return result && { result, isSlow: false };
    }
    let startedAt = 0;
    const result = await this.#slow.run(tenant, () => {
      startedAt = performance.now();
      return this.#once(version, isWanted);
    });
    // measured here: a busy machine may have made the quick trial late
    return result && { result, isSlow: performance.now() - startedAt > TRIAL.quickMs };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    await this.#endIdle();
  }

  async #once(version: VersionCode, isWanted: () => boolean): Promise<TrialResult | null> {
    if (this.#stopped || !isWanted()) return null;
    const host = this.#idle.pop() ?? this.#newHost();
    if (host === null) return null;
    const tried = await tryVersion(host, version);
    if (tried.kind === 'sound') host.dispose(version.id);
    this.#idle.push(host);
    if (this.#stopped) await this.#endIdle();
    else {
      this.#timer ??= setTimeout(() => void this.#endIdle(), TRIAL.idleMs).unref();
      this.#timer.refresh();
    }
    return tried;
  }

  async #endIdle(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((host) => host.stop()));
  }
}
