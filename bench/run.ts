/**
 * `npm run bench`: pgbench -S against everything in targets.ts, interleaved, so that a noisy minute hits all of them.
 *   --seconds N   for each run (3)      --rounds N   runs of each (1)      --json FILE   the figures
 *   --clients 1,16,64                   --modes simple,extended,prepared   --quick       1 s, 16 clients
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { forgetFolder, reapFolder } from '../src/platform/reaper.ts';
import { cpuMs, idleClients, rssKb } from './processes.ts';
import { withServer } from './servers.ts';
import { startTargets, type Target } from './targets.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '1' },
    clients: { type: 'string', default: '1,16,64' },
    modes: { type: 'string', default: 'simple,extended,prepared' },
    json: { type: 'string' },
    quick: { type: 'boolean', default: false },
  },
});
const seconds = values.quick ? 1 : Number(values.seconds);
const clientCounts = values.quick ? [16] : values.clients.split(',').map(Number);
const modes = values.modes.split(',');

interface Figure {
  readonly mode: string;
  readonly clients: number;
  readonly target: string;
  transactions: number;
  tps: number[];
  cpuMs: number;
  latenciesUs: number[];
}

function pgbench(
  target: Target,
  mode: string,
  clients: number,
): { transactions: number; tps: number; latenciesUs: number[] } | null {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-pgbench-'));
  reapFolder(folder);
  const database = target.pid === null ? 'postgres' : 'bench';
  const args = [
    '-h',
    '127.0.0.1',
    '-p',
    String(target.port),
    '-U',
    'postgres',
    '-S',
    '-n',
    '-c',
    String(clients),
    '-T',
    String(seconds),
  ];
  args.push('-M', mode, '-l', '--sampling-rate=0.05', `--log-prefix=${join(folder, 'log')}`, database);
  const { stdout, stderr, status } = spawnSync('pgbench', args, { encoding: 'utf8' });
  if (status !== 0) {
    rmSync(folder, { recursive: true });
    forgetFolder(folder);
    // pgbouncer before 1.21 does not support prepared statements
    if (target.name === 'pgbouncer' && mode === 'prepared') return null;
    throw new Error(`pgbench on ${target.name}: ${stderr}`);
  }
  const latenciesUs = readdirSync(folder).flatMap((file) =>
    readFileSync(join(folder, file), 'utf8')
      .trim()
      .split('\n')
      .filter(Boolean)
      .map((line) => Number(line.split(' ')[2])),
  );
  rmSync(folder, { recursive: true });
  forgetFolder(folder);
  const number = (pattern: RegExp): number => Number(pattern.exec(stdout)?.[1] ?? 0);
  return { transactions: number(/actually processed: (\d+)/), tps: number(/tps = ([\d.]+)/), latenciesUs };
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

const median = (list: readonly number[]): number =>
  percentile(
    [...list].sort((a, b) => a - b),
    0.5,
  );

function print(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]!.map((_head, column) => Math.max(...rows.map((row) => row[column]!.length)));
  rows.forEach((row, i) => {
    console.log(
      `| ${row.map((cell, column) => (column < 3 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join(' | ')} |`,
    );
    if (i === 0) console.log(`| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`);
  });
}

async function memory(targets: readonly Target[]): Promise<Record<string, number>> {
  const result: Record<string, number> = {};
  const COUNT = 1_000;
  for (const target of targets) {
    if (target.pid === null) continue;
    const before = rssKb(target.pid);
    const end = await idleClients(target.port, COUNT);
    const after = rssKb(target.pid);
    end();
    result[target.name] = after;
    console.log(
      `memory: ${target.name}: ${(after / 1024).toFixed(0)} MB with ${COUNT} idle clients, ${((after - before) / COUNT).toFixed(1)} KB a client`,
    );
  }
  return result;
}

async function main(serverPort: number): Promise<void> {
  let targets: Target[] = [];
  try {
    spawnSync('pgbench', [
      '-h',
      '127.0.0.1',
      '-p',
      String(serverPort),
      '-U',
      'postgres',
      '-i',
      '-q',
      'postgres',
    ]);
    targets = await startTargets(serverPort);
    const figures: Figure[] = [];
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const clients of clientCounts) {
        for (const mode of modes) {
          for (const target of targets) {
            const before = target.pid === null ? 0 : cpuMs(target.pid);
            const run = pgbench(target, mode, clients);
            if (run === null) continue;
            const used = target.pid === null ? 0 : cpuMs(target.pid) - before;
            let figure = figures.find(
              (each) => each.mode === mode && each.clients === clients && each.target === target.name,
            );
            if (!figure)
              figures.push(
                (figure = {
                  mode,
                  clients,
                  target: target.name,
                  transactions: 0,
                  tps: [],
                  cpuMs: 0,
                  latenciesUs: [],
                }),
              );
            figure.transactions += run.transactions;
            figure.tps.push(run.tps);
            figure.cpuMs += used;
            figure.latenciesUs.push(...run.latenciesUs);
          }
        }
      }
    }
    const table = figures.map((figure) => {
      const sorted = figure.latenciesUs.toSorted((a, b) => a - b);
      return {
        mode: figure.mode,
        clients: figure.clients,
        target: figure.target,
        tps: Math.round(median(figure.tps)),
        p50us: percentile(sorted, 0.5),
        p99us: percentile(sorted, 0.99),
        cpuUsPerTransaction:
          figure.cpuMs === 0 ? null : Math.round((figure.cpuMs * 10_000) / figure.transactions) / 10,
      };
    });
    const reference = (row: (typeof table)[number]): number | null =>
      table.find(
        (each) => each.mode === row.mode && each.clients === row.clients && each.target === 'pgbouncer',
      )?.cpuUsPerTransaction ?? null;
    print([
      ['mode', 'clients', 'target', 'TPS', 'p50 µs', 'p99 µs', 'CPU µs/tx', '× pgbouncer'],
      ...table.map((row) => {
        const base = reference(row);
        const ratio = base && row.cpuUsPerTransaction ? (row.cpuUsPerTransaction / base).toFixed(2) : '';
        return [
          row.mode,
          String(row.clients),
          row.target,
          String(row.tps),
          String(row.p50us),
          String(row.p99us),
          String(row.cpuUsPerTransaction ?? ''),
          ratio,
        ];
      }),
    ]);
    const rss = await memory(targets);
    const result = {
      cpus: cpus().length,
      model: cpus()[0]?.model,
      node: process.versions.node,
      seconds,
      rounds: Number(values.rounds),
      table,
      rssKbAt1000IdleClients: rss,
    };
    if (values.json) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
    else console.log(JSON.stringify(result));
  } finally {
    for (const target of targets) target.stop();
  }
}

if (spawnSync('pgbench', ['--version']).error)
  throw new Error('pgbench is not installed (Debian: postgresql-contrib)');
await withServer(400, (server) => main(server.port));
