import { build, stop, type BuildOptions, type BuildResult, type SameShape } from 'esbuild';

/**
 * esbuild works in one process for all function sets. What the files of one set do to it (it may hang over them, or end
 * because of them) costs the others no more than a moment.
 */

/** Far more than the largest packages take on a busy machine. */
const LONGEST_MS = 10_000;
/** Hundreds of sets at once would all be late. */
const MOST_AT_ONCE = 4;

/** The process ended, by itself or because of somebody else's files: there is another one now. */
class Interrupted extends Error {}

/** What tells the builds that its process works on that it is gone. */
const running = new Set<() => void>();
/** the last of those that are tried again */
let again: Promise<unknown> = Promise.resolve();
/** those that wait for their turn */
const waiting: (() => void)[] = [];
let atWork = 0;

/**
 * `esbuild.build`, which has to come back.
 * @throws Error when it doesn't, or when esbuild ends over these files; BuildFailure as esbuild does
 */
export async function buildInTime<T extends BuildOptions>(
  options: SameShape<BuildOptions, T>,
): Promise<BuildResult<T>> {
  if (atWork >= MOST_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  else atWork++;
  try {
    return await attempt<T>(options);
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
  } finally {
    const next = waiting.shift();
    if (next === undefined) atWork--;
    else next();
  }
  // One after the other: who is to blame interrupts nobody but itself.
  const turn = again.then(() => attempt<T>(options));
  again = turn.catch(() => {});
  try {
    return await turn;
  } catch (error) {
    throw error instanceof Interrupted ? new Error('esbuild ended while it worked on these files') : error;
  }
}

function attempt<T extends BuildOptions>(options: SameShape<BuildOptions, T>): Promise<BuildResult<T>> {
  return new Promise((resolve, reject) => {
    const interrupt = (): void => reject(new Interrupted());
    running.add(interrupt);
    const timer = setTimeout(() => {
      running.delete(interrupt);
      reject(new Error(`bundling took longer than ${LONGEST_MS / 1000} s`));
      restart();
    }, LONGEST_MS);
    const ended = (): boolean => {
      clearTimeout(timer);
      return running.delete(interrupt);
    };
    build<T>(options).then(
      (result) => {
        ended();
        resolve(result);
      },
      (error: Error) => {
        const wasRunning = ended();
        if (!/^The service (?:was stopped|is no longer running)/.test(error.message)) return reject(error);
        interrupt();
        // it may be known already, and another one at work
        if (wasRunning) restart();
      },
    );
  });
}

/** The next build starts a process. What the present one was given never comes back. */
function restart(): void {
  void stop();
  for (const interrupt of running) interrupt();
  running.clear();
}
