/**
 * Bundling for the proxy's own programs. esbuild is loaded when it is needed, and its process is ended when nothing is being
 * bundled: it takes 15 MB.
 */
import { createRequire } from 'node:module';
import type { BuildOptions, BuildResult } from 'esbuild';

export interface Bundled {
  /** the script or style sheet */
  readonly text: string;
  /** the files that it was made of, relative to `absWorkingDir` */
  readonly inputs: readonly string[];
}

let running = 0;

/**
 * Bundles one entry point.
 * @throws BuildFailure
 */
export async function bundle(options: BuildOptions): Promise<Bundled> {
  const { build, stop } = await import('esbuild');
  running++;
  try {
    return bundled(await build({ ...options, bundle: true, write: false, metafile: true }));
  } finally {
    // ending the process would leave other builds without an answer
    if (--running === 0) await stop();
  }
}

/** The same, while this thread waits for it. */
export function bundleSync(options: BuildOptions): Bundled {
  const { buildSync } = createRequire(import.meta.url)('esbuild') as typeof import('esbuild');
  return bundled(buildSync({ ...options, bundle: true, write: false, metafile: true }));
}

function bundled({ outputFiles, metafile }: BuildResult<{ write: false; metafile: true }>): Bundled {
  return { text: outputFiles[0]!.text, inputs: Object.keys(metafile.inputs) };
}
