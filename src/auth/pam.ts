/**
 * Passwords that the operating system's PAM judges.
 *
 * Why like this: npm's PAM packages need a compiler, and Debian has no tool in its base system that would check a
 * password for us. Node 26 can call libpam itself (node:ffi); since PAM blocks and its modules are somebody else's
 * code, a short-lived child does (pam-helper.ts), which gets the password by a pipe. Node 24 has no node:ffi: there the
 * method fails and the log says why.
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

/** How the helper ends. */
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

/** Modules wait some seconds on purpose when a password was wrong. */
const DEADLINE_MS = 30_000;
/** Helpers at a time: unauthenticated clients must not fill the machine with processes. */
const MAX_HELPERS = 8;

let running = 0;
const waiting: (() => void)[] = [];

/**
 * Is this the user's password, and may the user log in at all?
 * @throws PamError when PAM can't tell
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
    // Modules may want something of it; options for the proxy's Node are not for the helper's.
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
