/**
 * `npm run demo:switchover`: a primary, a standby and the proxy; clients write through it, one statement after the other,
 * while the writer is shut down and the standby promoted, and back again. Ends by itself; Ctrl-C ends it earlier.
 */
import { planned, rejoin, setUp, Writer, type Protocol } from '../test/switchover/pair.ts';
import { withScope } from './cluster.ts';

const PROTOCOLS: readonly Protocol[] = ['simple', 'extended', 'prepared'];
const CLIENTS = 6;
/** The line of writes is printed at this interval. */
const TICK_MS = 250;
const TICKS = 8;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** Watches a counter. The returned function ends that and returns its longest standstill, in ms. */
function longestGap(count: () => number): () => number {
  let last = count();
  let since = performance.now();
  let longest = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    if (count() === last) longest = Math.max(longest, now - since);
    else {
      last = count();
      since = now;
    }
  }, 1);
  return () => {
    clearInterval(timer);
    return longest;
  };
}

await withScope(async (scope) => {
  say('Starting a primary, a streaming standby and the proxy (this takes a few seconds) ...');
  const { primary, standbys, bouncer } = await setUp(scope);
  const standby = standbys[0]!;
  say(
    `  primary: 127.0.0.1:${primary.port}   standby: 127.0.0.1:${standby.port}   proxy: 127.0.0.1:${bouncer.port}`,
  );
  const writers = await Promise.all(
    Array.from({ length: CLIENTS }, (_, i) => Writer.start(bouncer, i, PROTOCOLS[i % 3]!)),
  );
  const written = (): number => writers.reduce((sum, each) => sum + each.done.length, 0);

  /** A live line: how much was written in the last tick, as a bar. */
  const watch = async (ticks: number): Promise<void> => {
    for (let i = 0; i < ticks; i++) {
      const before = written();
      await new Promise((resolve) => setTimeout(resolve, TICK_MS));
      const perSecond = ((written() - before) * 1000) / TICK_MS;
      const [where] = await bouncer.sql<{ port: number }>('SELECT inet_server_port() AS port');
      say(
        `  ${String(perSecond).padStart(6)} writes/s  at :${where!.port}  ${'#'.repeat(Math.min(60, Math.ceil(perSecond / 100)))}`,
      );
    }
  };

  say(`${CLIENTS} clients write into a table, each statement a transaction of its own:`);
  await watch(TICKS);
  const change = async (from: typeof primary, to: typeof primary): Promise<void> => {
    say(`Shutting down :${from.port}, promoting :${to.port} ...`);
    const gap = longestGap(written);
    await Promise.all([planned(from, to), watch(TICKS)]);
    const [row] = (await bouncer.admin('SHOW SWITCHOVERS')).slice(-1);
    say(`  the longest time without a write: ${gap().toFixed(0)} ms`);
    say(
      `  detected by: ${String(row?.['detected_by'])}; clients that waited: ${String(row?.['clients_held'])}`,
    );
  };
  await change(primary, standby);
  say(`Starting :${primary.port} again, as a standby of :${standby.port} ...`);
  await rejoin(primary, standby);
  await primary.caughtUpWith(standby);
  await change(standby, primary);

  await Promise.all(writers.map((each) => each.stop()));
  const failed = writers.reduce((sum, each) => sum + each.errors.length, 0);
  const audits = [];
  for (const each of writers) audits.push(await each.audit(primary));
  say(
    `${written()} writes were acknowledged, ${failed} failed, ${writers.filter((each) => each.isLost).length} clients were dropped; ` +
      `in the table are missing: ${audits.flatMap((each) => each.missing).length}, twice: ${audits.flatMap((each) => each.doubled).length}.`,
  );
});
process.exit();
