/**
 * `npm run soak:switchover`: planned switchovers, there and back, in a row under load. Fails when a statement fails, a
 * client is dropped, or the ledger says that something is missing or there twice.
 *   --switchovers N   (200)
 */
import { parseArgs } from 'node:util';
import { planned, rejoin, setUp, Writer, type Protocol } from '../test/switchover/pair.ts';
import { withScope } from './cluster.ts';

const { values } = parseArgs({ options: { switchovers: { type: 'string', default: '200' } } });
const PROTOCOLS: readonly Protocol[] = ['simple', 'extended', 'prepared'];

await withScope(async (scope) => {
  const pair = await setUp(scope, { settings: { server_failed_delay: 0 } });
  let [writer, reader] = [pair.primary, pair.standbys[0]!];
  const clients = await Promise.all(
    Array.from({ length: 6 }, (_, i) => Writer.start(pair.bouncer, i, PROTOCOLS[i % 3]!)),
  );
  const count = Number(values.switchovers);
  for (let i = 1; i <= count; i++) {
    await Promise.all(clients.map((each) => each.progress(5)));
    await planned(writer, reader);
    await Promise.all(clients.map((each) => each.progress(5)));
    await rejoin(writer, reader);
    await writer.caughtUpWith(reader);
    [writer, reader] = [reader, writer];
    process.stderr.write(`\r${i}/${count} switchovers `);
  }
  await Promise.all(clients.map((each) => each.stop()));
  let problems = 0;
  for (const client of clients) {
    const { missing, doubled } = await client.audit(writer);
    problems += client.errors.length + missing.length + doubled.length + Number(client.isLost);
    for (const { code, message, n } of client.errors)
      console.log(`failed: statement ${n}: ${code} ${message}`);
    for (const n of missing) console.log(`missing: ${n}`);
    for (const n of doubled) console.log(`twice: ${n}`);
  }
  const done = clients.reduce((sum, each) => sum + each.done.length, 0);
  console.log(`\n${count} switchovers, ${done} statements acknowledged, ${problems} problems`);
  process.exitCode = problems === 0 ? 0 : 1;
});
process.exit();
