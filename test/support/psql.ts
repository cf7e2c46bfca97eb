/** psql and pgbench, where they are installed. */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

function missing(program: string, version: string): string | false {
  const found = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return found.status === 0 ? false : `${program} is not on PATH (Debian: apt-get install ${version})`;
}

/** For `test(..., { skip: noPsql })`. */
export const noPsql: string | false = missing('psql', 'postgresql-client');
export const noPgbench: string | false = missing('pgbench', 'postgresql-contrib');

export interface Target {
  host: string;
  port: number;
  user?: string;
  database?: string;
  password?: string;
  /** The user of this machine that runs it; only root can choose another. */
  uid?: number;
}

function environment(target: Target): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PGHOST: target.host,
    PGPORT: String(target.port),
    PGUSER: target.user ?? 'postgres',
    PGDATABASE: target.database ?? 'postgres',
    PGPASSWORD: target.password ?? '',
    PGCONNECT_TIMEOUT: '20',
    PGSYSCONFDIR: '/nonexistent',
    PSQLRC: '/nonexistent',
    LC_ALL: 'C',
  };
}

/**
 * Runs a script in one psql session; the rows, unaligned, without headers.
 * @throws with psql's messages if it fails; a failed statement ends the script.
 */
export async function psql(target: Target, script: string, args: string[] = []): Promise<string> {
  const child = run('psql', ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', '-', ...args], {
    env: environment(target),
    maxBuffer: 64 * 1024 * 1024,
    ...(target.uid === undefined ? {} : { uid: target.uid }),
  });
  child.child.stdin?.end(script);
  return (await child).stdout;
}

/** Runs pgbench; its report. */
export async function pgbench(target: Target, args: string[]): Promise<string> {
  const { stdout, stderr } = await run('pgbench', args, { env: environment(target) });
  return stdout + stderr;
}
