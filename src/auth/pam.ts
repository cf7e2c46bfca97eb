/**
 * Passwords checked by the operating system's PAM.
 * npm's PAM packages need a compiler, and Debian's base system has no tool that would check a password for us. Node 26 can
 * call libpam itself (node:ffi). Since PAM blocks and loads foreign modules, a short-lived child calls it (pam-helper.ts),
 * which gets the password through a pipe. Node 24 has no node:ffi: there the method fails and the log says why.
 */
import { spawn } from 'node:child_process';
import { extname, join } from 'node:path';
import { text } from 'node:stream/consumers';

export interface PamRequest {
  readonly service: string;
  readonly user: string;
  readonly password: string;
  readonly remoteHost: string | null;
}

/** The helper's exit statuses. */
export const PamStatus = { Accepted: 0, Refused: 10, Unavailable: 11 } as const;

/** PAM could not be asked. The message is for the log. */
export class PamError extends Error {}

export interface PamOptions {
  /** Name of the file in /etc/pam.d; pgbouncer's is `pgbouncer`. */
  readonly service?: string;
  /** The client's address, for PAM_RHOST; null: a Unix socket. */
  readonly remoteHost?: string | null;
  readonly deadlineMs?: number;
}

/** Modules delay the answer to a wrong password on purpose, by some seconds. */
const DEADLINE_MS = 30_000;
/** Helpers at a time: unauthenticated clients must not fill the machine with processes. */
const MAX_HELPERS = 8;

let running = 0;
const waiting: (() => void)[] = [];

/**
 * Whether this is the user's password, and whether the user may log in at all.
 * @throws PamError if PAM can't tell
 */
export async function authenticatePam(
  user: string,
  password: string,
  options: PamOptions = {},
): Promise<boolean> {
  // C strings: text after a zero byte would be ignored
  if (user.includes('\0') || password.includes('\0')) return false;
  if (running >= MAX_HELPERS) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await askHelper(
      { service: options.service ?? 'pgbouncer', user, password, remoteHost: options.remoteHost ?? null },
      options.deadlineMs ?? DEADLINE_MS,
    );
  } finally {
    const next = waiting.shift();
    if (next) next();
    else running--;
  }
}

async function askHelper(request: PamRequest, deadlineMs: number): Promise<boolean> {
  const helper = join(import.meta.dirname, `pam-helper${extname(import.meta.filename)}`);
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', helper], {
    stdio: ['pipe', 'ignore', 'pipe'],
    // Modules may read the environment; options for the proxy's Node are not meant for the helper's.
    env: { ...process.env, NODE_OPTIONS: '' },
    timeout: deadlineMs,
    killSignal: 'SIGKILL',
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) => reject(new PamError(`PAM helper could not be started: ${error.message}`)));
    child.once('close', resolve);
  });
  // A helper that ended early breaks the pipe; its status tells more.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify(request));
  const [status, explanation] = await Promise.all([ended, text(child.stderr)]);
  if (status === PamStatus.Accepted) return true;
  if (status === PamStatus.Refused) return false;
  if (status === null) throw new PamError('PAM took too long');
  throw new PamError(`PAM could not tell: ${explanation.trim().split('\n')[0] || `status ${status}`}`);
}
