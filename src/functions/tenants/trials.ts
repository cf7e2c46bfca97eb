import {
  isPlatformFailure,
  type CallFailure,
  type Part,
  type SandboxHost,
  type VersionCode,
} from '../sandbox/host.ts';
import type { Manifest, RefusalCause } from '../sandbox/load-result.ts';
import { TRIAL_ARGUMENTS } from './journal.ts';
import { Turns } from '../build/turns.ts';
import { TRIAL } from '../limits.ts';

export interface TrialResult {
  /** null: it could not be loaded */
  readonly manifest: Manifest | null;
  /** null: the version can serve */
  readonly failure: CallFailure | null;
  /**
   * `passing`: no sandbox process could be started, or it had no processor, or it was ended from outside; `offence`: loading it has cost others
   * something; `mistake`: anything else
   */
  readonly kind: 'fine' | RefusalCause;
  /** the database that the trial call was routed to; null: none */
  readonly route: string | null;
}

/** Loads a version, and has it answer a call before it serves. A version that can't is not left in the host. */
export async function tryVersion(host: SandboxHost, version: VersionCode): Promise<TrialResult> {
  const result = await host.load(version);
  if (result.kind === 'refused') {
    const { cause, message, stack } = result;
    return { manifest: null, failure: { outcome: 'threw', message, stack }, kind: cause, route: null };
  }
  const { manifest } = result;
  const { failure, route } = await trialCall(host, version, manifest);
  if (failure === null) return { manifest, failure, kind: 'fine', route };
  host.dispose(version.id);
  return { manifest, failure, kind: kindOfCall(failure), route };
}

function kindOfCall({ outcome }: CallFailure): TrialResult['kind'] {
  if (isPlatformFailure(outcome) || outcome === 'no_version') return 'passing';
  return outcome === 'deadline' || outcome === 'memory' || outcome === 'killed' ? 'offence' : 'mistake';
}

function trialCall(
  host: SandboxHost,
  version: VersionCode,
  manifest: Manifest,
): Promise<Pick<TrialResult, 'failure' | 'route'>> {
  const call = {
    username: 'pgswitchyard',
    query: 'SELECT 1',
    inTransaction: false,
    database: version.databases[0] ?? '',
  };
  return new Promise((resolve) => {
    host.evaluate(version.id, [call], ([answer]) => {
      const rewrite = answer?.rewrite ?? null;
      const route = answer?.route ?? null;
      const failed = [rewrite, route].find((part) => part !== null && 'failure' in part);
      if (failed && 'failure' in failed) {
        const message = `in the trial call ${failedOne(manifest, rewrite, route)}${TRIAL_ARGUMENTS}: ${failed.failure.message}`;
        return resolve({ failure: { ...failed.failure, message }, route: null });
      }
      resolve({ failure: null, route: route !== null && 'text' in route ? route.text : null });
    });
  });
}

/**
 * The function that an answer with a failure is about.
 * @param manifest which functions its version has; null: nobody knows
 * @returns '': a call was cut off that had two, and nobody knows in which
 */
export function failedOne(manifest: Manifest | null, rewrite: Part, route: Part): string {
  const isFailed = (part: Part): boolean => part !== null && 'failure' in part;
  const names = [
    ...(manifest?.rewrites && isFailed(rewrite) ? ['rewrite_query'] : []),
    ...(manifest?.routes && isFailed(route) ? ['routing_rules'] : []),
  ];
  return names.length === 1 ? names[0]! : '';
}

/** A host that is there for trials only. */
export interface TrialHost extends SandboxHost {
  readonly isBusy: boolean;
}

/**
 * Tries new versions in processes that are there for nothing else, so that loading them delays no client. A version
 * that is slow, or whose tenant has done harm before, is tried in a process for such versions only: that one may be blocked
 * for seconds, the others never are.
 */
export class Trials {
  readonly #newHost: () => TrialHost | null;
  readonly #quick = new Turns(TRIAL.quickTurns);
  readonly #slow = new Turns(1);
  readonly #idle: TrialHost[] = [];
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;

  /** @param newHost null: nothing would be gained by a trial elsewhere */
  constructor(newHost: () => TrialHost | null) {
    this.#newHost = newHost;
  }

  /**
   * @param isWanted asked when its turn has come: a version that another one has overtaken is not tried any more
   * @returns null: it was not tried. `isSlow`: it can serve, and has taken long to load
   */
  async try(
    tenant: string,
    isSuspect: boolean,
    version: VersionCode,
    isWanted: () => boolean,
  ): Promise<(TrialResult & { readonly isSlow: boolean }) | null> {
    if (!isSuspect) {
      const quick = { ...version, loadMs: TRIAL.quickMs };
      const tried = await this.#quick.run(tenant, () => this.#once(quick, isWanted));
      if (tried?.kind !== 'offence') return tried && { ...tried, isSlow: false };
    }
    let startedAt = 0;
    const tried = await this.#slow.run(tenant, () => {
      startedAt = performance.now();
      return this.#once(version, isWanted);
    });
    // a busy machine may have made it late before
    return tried && { ...tried, isSlow: performance.now() - startedAt > TRIAL.quickMs };
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
    if (tried.failure === null) host.dispose(version.id);
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
