/** Watches the files that environment variables name: mounted secrets and settings, which a container's platform replaces. */
import { statSync, type BigIntStats } from 'node:fs';

/** How often the files are examined. Kubernetes swaps a link of a parent folder, which watching the file would not report. */
const POLL_MS = 2_000;

/**
 * @param onChange one or more of the files have other contents, or have vanished
 * @returns ends it
 */
export function watchEnvironmentFiles(files: readonly string[], onChange: () => void): () => void {
  if (files.length === 0) return () => {};
  let last = stateOf(files);
  const timer = setInterval(() => {
    const state = stateOf(files);
    if (state === last) return;
    last = state;
    onChange();
  }, POLL_MS).unref();
  return () => clearInterval(timer);
}

/** Changes whenever one of the files is replaced or written to. */
function stateOf(files: readonly string[]): string {
  return files.map((file) => oneState(file)).join('\n');
}

function oneState(file: string): string {
  try {
    // follows links, so that a swapped link is another file
    const { dev, ino, size, mtimeNs, ctimeNs }: BigIntStats = statSync(file, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}
