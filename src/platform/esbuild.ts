/** Bundling for the proxy's own programs. esbuild's process is ended when nothing is being bundled: it takes 15 MB. */
import { build, stop, type BuildOptions } from 'esbuild';

let running = 0;

/**
 * Bundles one entry point.
 * @returns the text of the script or style sheet
 * @throws BuildFailure
 */
export async function bundleText(options: BuildOptions): Promise<string> {
  running++;
  try {
    const { outputFiles } = await build({ ...options, bundle: true, write: false });
    return outputFiles[0]!.text;
  } finally {
    // ending the process would leave other builds without an answer
    if (--running === 0) await stop();
  }
}
