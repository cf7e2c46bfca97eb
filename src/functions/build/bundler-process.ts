/**
 * Main of a bundler process: one job after the other, with esbuild's process below it. Files that block it or fill its memory
 * harm their own rule only, and never the proxy's thread. The proxy kills the whole process group when a job takes too long.
 */
import type { BundleJob, BundleResult, Looking } from './bundle-job.ts';
import { makeBundle } from './make-bundle.ts';
import { received } from './received.ts';

/** esbuild's process has ended: neither this job nor any other can be done. */
const LOST = /^The service (?:was stopped|is no longer running)/;

/** Reports the paths that are added to it, in batches. */
class Reported extends Set<string> {
  #unreported: string[] = [];

  override add(path: string): this {
    if (this.has(path)) return this;
    if (this.#unreported.push(path) === 1) setImmediate(() => this.#report());
    return super.add(path);
  }

  #report(): void {
    process.send!({ kind: 'looking', paths: this.#unreported } satisfies Looking);
    this.#unreported = [];
  }
}

async function work(job: BundleJob): Promise<BundleResult> {
  if (job.kind === 'bundle') return await makeBundle(job.files, new Reported());
  if (job.kind === 'received') return received(job.artifact);
  const { asyncPlaces } = await import('./async-places.ts');
  return { kind: 'async places', places: await asyncPlaces(job.inputs, job.folder) };
}

process.on('message', (job: BundleJob) => {
  void work(job).then((result) => {
    if (result.kind === 'failed' && LOST.test(result.message)) process.exit(3);
    process.send!(result);
  });
});
// the proxy is gone or has given up the job, and esbuild may hang in a file
process.on('disconnect', () => process.kill(-process.pid, 'SIGKILL'));
process.on('SIGINT', () => {});
process.on('SIGTERM', () => {});
