import type { BundleJob, BundleResult, Looking } from './bundle-job.ts';
import { asyncPlaces } from './async-places.ts';
import { bundle } from './bundle.ts';

/**
 * Main of a bundler process: one job after the other, and esbuild's process below it. Files that block or fill it cost
 * their own rule, and never the proxy's thread. The proxy ends the whole group when a job takes too long.
 */

/** esbuild's own process has ended: whatever it was given does not come back, and neither does the next job. */
const LOST = /^The service (?:was stopped|is no longer running)/;

/** Tells of what is added to it, some at a time. */
class Told extends Set<string> {
  #untold: string[] = [];

  override add(path: string): this {
    if (this.has(path)) return this;
    if (this.#untold.push(path) === 1) setImmediate(() => this.#tell());
    return super.add(path);
  }

  #tell(): void {
    process.send!({ kind: 'looking', paths: this.#untold } satisfies Looking);
    this.#untold = [];
  }
}

async function work(job: BundleJob): Promise<BundleResult> {
  if (job.kind === 'bundle') return await bundle(job.files, new Told());
  return { kind: 'async places', places: await asyncPlaces(job.inputs, job.folder) };
}

process.on('message', (job: BundleJob) => {
  void work(job).then((result) => {
    if (result.kind === 'failed' && LOST.test(result.message)) process.exit(3);
    process.send!(result);
  });
});
// The proxy is gone, or has given up on the job. esbuild may hang in a file.
process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
