/**
 * Bundling for all tenants, in separate processes. Files that hang a bundler, fill its memory or end it harm their own tenant
 * only: slow jobs wait for one another, and quick ones never wait for slow ones.
 */
import { BUNDLER } from '../limits.ts';
import {
  isPassingError,
  type Bundle,
  type BundleJob,
  type BundleResult,
  type SourceFiles,
} from './bundle-job.ts';
import { Bundler, type Ending } from './bundler.ts';
import type { Details } from './places.ts';
import { Turns } from './turns.ts';

/** Files that can't be bundled. The message has all mistakes, on one line, with file, line and column. */
export class BundleError extends Error {
  /** Files that were read or not found: a change there may repair the rule. */
  readonly inputs: readonly string[];
  /** `passing`: the machine lacked a resource. `offence`: the files have taken more than their share. */
  readonly kind: 'mistake' | 'passing' | 'offence';
  readonly details: Details;

  constructor(
    message: string,
    kind: BundleError['kind'],
    inputs: readonly string[] = [],
    details: Details = { place: null, frame: '' },
  ) {
    super(message);
    this.kind = kind;
    this.inputs = inputs;
    this.details = details;
  }
}

export class Bundlers {
  readonly #quick = new Turns(BUNDLER.quickTurns);
  /** for suspects, and for jobs that were slow or have ended a bundler */
  readonly #slow = new Turns(1);
  readonly #idle: Bundler[] = [];
  #timer: NodeJS.Timeout | null = null;

  /**
   * Puts a tenant's files and everything they import into one script.
   * @param isSuspect the tenant has harmed others lately: it takes its turn among such tenants
   * @throws BundleError
   */
  async bundle(tenant: string, isSuspect: boolean, files: SourceFiles): Promise<Bundle> {
    return await this.#bundle(tenant, isSuspect, { kind: 'bundle', files });
  }

  /** The bundle in an artifact that another proxy has made, checked anew. @throws BundleError */
  async received(tenant: string, artifact: Uint8Array): Promise<Bundle> {
    return await this.#bundle(tenant, false, { kind: 'received', artifact });
  }

  async #bundle(tenant: string, isSuspect: boolean, job: BundleJob): Promise<Bundle> {
    const result = await this.#run(tenant, isSuspect, job);
    if (result.kind === 'bundle') return result.bundle;
    if (result.kind !== 'failed') throw new BundleError('the bundler gave a wrong answer', 'passing');
    throw new BundleError(
      result.message,
      result.isPassing ? 'passing' : 'mistake',
      result.inputs,
      result.details,
    );
  }

  /** @returns `file:line:column` of each async function in the author's own files, relative to a folder */
  async asyncPlaces(tenant: string, inputs: readonly string[], folder: string): Promise<readonly string[]> {
    try {
      const result = await this.#run(tenant, true, { kind: 'async places', inputs, folder });
      return result.kind === 'async places' ? result.places : [];
    } catch {
      return [];
    }
  }

  async #run(tenant: string, isSuspect: boolean, job: BundleJob): Promise<BundleResult> {
    let result: BundleResult | Ending = { kind: 'late', inputs: [] };
    if (!isSuspect)
      result = await this.#quick.run(tenant, () => this.#once(job, BUNDLER.quickMs), BUNDLER.giveOnMs);
    if (result.kind === 'late' || result.kind === 'ended')
      result = await this.#slow.run(tenant, () => this.#once(job, BUNDLER.longestMs));
    // it may have been killed from outside; if these files, alone, end it twice in a row, they are to blame
    if (result.kind === 'ended')
      result = await this.#slow.run(tenant, () => this.#once(job, BUNDLER.longestMs));
    switch (result.kind) {
      case 'late':
        throw new BundleError(
          `bundling took longer than ${BUNDLER.longestMs / 1000} s`,
          'offence',
          result.inputs,
        );
      case 'ended':
        throw new BundleError(
          `esbuild ended while it worked on these files, or needed more than ${BUNDLER.dataMb} MB of memory`,
          'offence',
          result.inputs,
        );
      case 'no start':
        throw new BundleError(
          `no bundler process can be started: ${result.error.message}`,
          isPassingError(result.error) ? 'passing' : 'mistake',
        );
      default:
        return result;
    }
  }

  async #once(job: BundleJob, limitMs: number): Promise<BundleResult | Ending> {
    let bundler = this.#idle.pop();
    while (bundler?.isGone) bundler = this.#idle.pop();
    try {
      bundler ??= new Bundler();
    } catch (error) {
      return { kind: 'no start', error: error as Error };
    }
    const result = await bundler.run(job, limitMs);
    if (!bundler.isGone) this.#idle.push(bundler);
    this.#timer ??= setTimeout(() => this.#endIdle(), BUNDLER.idleMs).unref();
    this.#timer.refresh();
    return result;
  }

  #endIdle(): void {
    for (const bundler of this.#idle.splice(0)) bundler.kill();
  }
}
