/** One bundler process (bundler-process.ts). It has one job at a time and is killed when a job takes too long. */
import type { ChildProcess } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lowerPriority } from '../../platform/priority.ts';
import { EXTENSION } from '../../platform/own-script.ts';
import { startProcess } from '../../platform/start-process.ts';
import { BUNDLER } from '../limits.ts';
import type { BundleJob, BundleResult, Looking } from './bundle-job.ts';

/** A job ended without a result. `inputs`: files that the bundler was about to read, as far as it could report them. */
export type Ending =
  | { readonly kind: 'late'; readonly inputs: readonly string[] }
  | { readonly kind: 'ended'; readonly inputs: readonly string[] }
  | { readonly kind: 'no start'; readonly error: Error };

const MAIN = fileURLToPath(new URL(`./bundler-process.${EXTENSION}`, import.meta.url));

export class Bundler {
  readonly #child: ChildProcess;
  #settle: ((result: BundleResult | Ending) => void) | null = null;
  #looking: string[] = [];
  #isGone = false;

  constructor() {
    const limits = `ulimit -c 0; ulimit -d ${BUNDLER.dataMb * 1024} 2>/dev/null; exec "$0" "$@"`;
    const { ESBUILD_BINARY_PATH: binary } = process.env;
    const cache = getCompileCacheDir();
    this.#child = startProcess(
      '/bin/sh',
      ['-c', limits, process.execPath, '--no-warnings', `--max-old-space-size=${BUNDLER.heapMb}`, MAIN],
      {
        stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
        serialization: 'advanced',
        env: {
          ...(binary !== undefined && { ESBUILD_BINARY_PATH: binary }),
          // as Node wants it: without the folder of the version
          ...(cache !== undefined && { NODE_COMPILE_CACHE: dirname(cache) }),
        },
        cwd: '/',
        // a process group of its own, so that esbuild is killed with it
        detached: true,
      },
    );
    // clients come first
    if (this.#child.pid !== undefined) lowerPriority(this.#child.pid, BUNDLER.niceness);
    this.#child.on('error', (error) => this.#end({ kind: 'no start', error }));
    this.#child.on('exit', () => this.#end(this.#ended('ended')));
    this.#child.on('message', (message: BundleResult | Looking) => {
      if (message.kind !== 'looking') this.#finish(message);
      else if (this.#looking.length < BUNDLER.maxLooking) this.#looking.push(...message.paths);
    });
    this.#ref(false);
  }

  /** It takes no further jobs: it has ended, or will soon. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** @param limitMs the process is killed after this time, in ms */
  run(job: BundleJob, limitMs: number): Promise<BundleResult | Ending> {
    return new Promise((resolve) => {
      this.#looking = [];
      if (this.#isGone) return resolve(this.#ended('ended'));
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
      // a process that could not be started has no channel; its `error` event comes next
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
    this.#isGone = true;
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
