/**
 * Bundling happens in processes of its own, each of which has one job at a time. Files that hang it, fill its memory or end
 * it cost their own tenant alone.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import {
  isPassingError,
  type Bundle,
  type BundleJob,
  type BundleResult,
  type Looking,
  type SourceFiles,
} from './bundle-job.ts';
import type { Details } from './places.ts';
import { Turns } from './turns.ts';
import { BUNDLER } from '../limits.ts';

/** Files that can't be bundled. The message has all mistakes, on one line, with file, line and column. */
export class BundleError extends Error {
  /** Files that were read or looked for in vain: a change there may mend it. */
  readonly inputs: readonly string[];
  /** `passing`: the machine was short of something. `offence`: the files have taken more than their share. */
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

/** How a job ended without a result. `inputs`: files that the bundler was about to read, as far as it could report them. */
type Ending =
  | { readonly kind: 'late'; readonly inputs: readonly string[] }
  | { readonly kind: 'ended'; readonly inputs: readonly string[] }
  | { readonly kind: 'no start'; readonly error: Error };

const EXTENSION = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const MAIN = fileURLToPath(new URL(`./bundler-process.${EXTENSION}`, import.meta.url));

/** One bundler process. */
class Bundler {
  readonly #child: ChildProcess;
  #settle: ((result: BundleResult | Ending) => void) | null = null;
  #looking: string[] = [];
  isGone = false;

  constructor() {
    const limits = `ulimit -c 0; ulimit -d ${BUNDLER.dataMb * 1024} 2>/dev/null; exec "$0" "$@"`;
    const { ESBUILD_BINARY_PATH: binary } = process.env;
    this.#child = spawn(
      '/bin/sh',
      ['-c', limits, process.execPath, '--no-warnings', '--max-old-space-size=384', MAIN],
      {
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        serialization: 'advanced',
        env: binary === undefined ? {} : { ESBUILD_BINARY_PATH: binary },
        cwd: '/',
        // a group of its own, so that esbuild is killed with it
        detached: true,
      },
    );
    this.#child.on('error', (error) => this.#end({ kind: 'no start', error }));
    this.#child.on('exit', () => this.#end(this.#ended('ended')));
    this.#child.on('message', (message: BundleResult | Looking) => {
      if (message.kind !== 'looking') this.#finish(message);
      else if (this.#looking.length < BUNDLER.maxLooking) this.#looking.push(...message.paths);
    });
    this.#ref(false);
  }

  run(job: BundleJob, limitMs: number): Promise<BundleResult | Ending> {
    return new Promise((resolve) => {
      this.#looking = [];
      if (this.isGone) return resolve(this.#ended('ended'));
      const timer = setTimeout(() => {
        this.#finish(this.#ended('late'));
        this.kill();
      }, limitMs);
      this.#ref(true);
      this.#settle = (result) => {
        clearTimeout(timer);
        this.#ref(false);
        resolve(result);
      };
      // one that could not be started has no channel; its `error` event comes next
      if (!this.#child.connected) return;
      this.#child.send(job, (error) => {
        if (error !== null) this.#end(this.#ended('ended'));
      });
    });
  }

  #ended(kind: 'late' | 'ended'): Ending {
    return { kind, inputs: this.#looking.slice(0, BUNDLER.maxLooking) };
  }

  kill(): void {
    this.isGone = true;
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // it has ended already
    }
  }

  /** @param isBusy the proxy does not exit before the child has answered */
  #ref(isBusy: boolean): void {
    const channel = this.#child.channel as { ref(): void; unref(): void } | null | undefined;
    if (isBusy) {
      this.#child.ref();
      channel?.ref();
    } else {
      this.#child.unref();
      channel?.unref();
    }
  }

  #finish(result: BundleResult | Ending): void {
    const settle = this.#settle;
    this.#settle = null;
    settle?.(result);
  }

  #end(how: Ending): void {
    this.kill();
    this.#finish(how);
  }
}

/** The bundlers that all tenants share. */
export class Bundlers {
  readonly #quick = new Turns(BUNDLER.quickTurns);
  /** for jobs that were slow or have ended a bundler, and for suspects */
  readonly #slow = new Turns(1);
  readonly #idle: Bundler[] = [];
  #timer: NodeJS.Timeout | null = null;

  /**
   * Puts a tenant's files and all that they import into one script.
   * @param isSuspect the tenant has harmed others lately: it waits for its turn among such tenants
   * @throws BundleError
   */
  async bundle(tenant: string, isSuspect: boolean, files: SourceFiles): Promise<Bundle> {
    const result = await this.#run(tenant, isSuspect, { kind: 'bundle', files });
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
    // it may have been killed from outside; twice in a row and alone, these files have ended it
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
