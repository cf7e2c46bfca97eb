import { randomBytes } from 'node:crypto';
import { SCRAM, SCRAM_PLUS, ScramError, ScramServer } from './scram-server.ts';
import {
  equals,
  isMd5Secret,
  md5Response,
  md5Secret,
  mockScramSecret,
  parseScramSecret,
  passwordMatches,
  scramSecretFor,
  type ScramSecret,
} from './secrets.ts';
import type { LearnedSecret } from './server-auth.ts';

/** How a client proves who it is: values of auth_type and of the method column of an HBA file. */
export type ClientMethod =
  | 'any'
  | 'trust'
  | 'plain'
  | 'md5'
  | 'scram-sha-256'
  | 'cert'
  | 'peer'
  | 'ldap'
  | 'pam'
  | 'reject';

/** What is known of a client before it has proved anything. */
export interface ClientIdentity {
  readonly user: string;
  /** stored secret; null: the user is unknown or has none, and nothing matches */
  readonly secret: string | null;
  readonly exists: boolean;
  readonly tls: {
    /** common name of the client's certificate, when it showed one that was verified */
    readonly certificateCn: string | null;
    /** tls-server-end-point of our certificate */
    readonly endPointHash: Buffer | null;
  } | null;
  /** user names that a certificate's or a peer's name may log in as; missing: only its own */
  readonly mapsTo?: ((externalName: string) => boolean) | undefined;
  /** name of the operating system's user at the other end of a Unix socket */
  readonly peerName?: (() => Promise<string | null>) | undefined;
  /** asks somebody else about a password (LDAP, PAM) */
  readonly checkPassword?: ((password: string) => Promise<boolean>) | undefined;
}

export type AuthStep =
  | { readonly kind: 'continue'; /** payload of an Authentication message */ readonly authentication: Buffer }
  | {
      readonly kind: 'ok';
      /** payload of AuthenticationSASLFinal, to be sent before AuthenticationOk */ readonly final: Buffer | null;
      readonly keys: LearnedSecret | null;
    }
  | { readonly kind: 'failed'; /** for the log, in pgbouncer's words */ readonly reason: string };

/** One login: `begin` gives the first step; `receive` takes the payload of a PasswordMessage and gives the next. */
export interface AuthDialogue {
  begin(): AuthStep | Promise<AuthStep>;
  receive(payload: Buffer): AuthStep | Promise<AuthStep>;
}

const OK: AuthStep = { kind: 'ok', final: null, keys: null };
const PASSWORD_FAILED: AuthStep = { kind: 'failed', reason: 'password authentication failed' };
const SASL_FAILED: AuthStep = { kind: 'failed', reason: 'SASL authentication failed' };

/** The dialogue of a method. */
export function authDialogue(
  method: ClientMethod,
  identity: ClientIdentity,
  options: { readonly scramIterations: number },
): AuthDialogue {
  switch (method) {
    case 'any':
      return decided(OK);
    case 'trust':
      return decided(identity.exists ? OK : { kind: 'failed', reason: '"trust" authentication failed' });
    case 'reject':
      return decided({ kind: 'failed', reason: 'login rejected' });
    case 'cert':
      return decided(certificateStep(identity));
    case 'peer':
      return { begin: () => peerStep(identity), receive: () => PASSWORD_FAILED };
    case 'plain':
    case 'ldap':
    case 'pam':
      return new PasswordDialogue(identity);
    case 'md5':
      // pgbouncer: "md5 ... if the user has a SCRAM secret, SCRAM authentication is used automatically instead"
      if (identity.secret !== null && parseScramSecret(identity.secret) !== null)
        return new ScramDialogue(identity, options.scramIterations);
      return new Md5Dialogue(identity);
    case 'scram-sha-256':
      return new ScramDialogue(identity, options.scramIterations);
  }
}

function decided(step: AuthStep): AuthDialogue {
  return { begin: () => step, receive: () => PASSWORD_FAILED };
}

function certificateStep(identity: ClientIdentity): AuthStep {
  const name = identity.tls?.certificateCn ?? null;
  const allowed = name !== null && (identity.mapsTo ? identity.mapsTo(name) : name === identity.user);
  return allowed && identity.exists ? OK : { kind: 'failed', reason: 'TLS certificate name mismatch' };
}

async function peerStep(identity: ClientIdentity): Promise<AuthStep> {
  const name = identity.peerName ? await identity.peerName() : null;
  const allowed = name !== null && (identity.mapsTo ? identity.mapsTo(name) : name === identity.user);
  return allowed && identity.exists ? OK : { kind: 'failed', reason: 'unix socket login rejected' };
}

function code(number: number, ...data: Buffer[]): Buffer {
  const head = Buffer.allocUnsafe(4);
  head.writeInt32BE(number, 0);
  return Buffer.concat([head, ...data]);
}

/** A PasswordMessage's text; null when it is not one NUL-terminated string. */
function passwordOf(payload: Buffer): string | null {
  return payload.length > 0 && payload.indexOf(0) === payload.length - 1
    ? payload.toString('utf8', 0, payload.length - 1)
    : null;
}

/** AuthenticationCleartextPassword: the password itself, compared here or by somebody else. */
class PasswordDialogue implements AuthDialogue {
  readonly #identity: ClientIdentity;

  constructor(identity: ClientIdentity) {
    this.#identity = identity;
  }

  begin(): AuthStep {
    return { kind: 'continue', authentication: code(3) };
  }

  async receive(payload: Buffer): Promise<AuthStep> {
    const password = passwordOf(payload);
    const { user, secret, exists, checkPassword } = this.#identity;
    // "An empty password is never accepted", also where an LDAP server would take it for an anonymous bind
    if (password === null || password === '') return PASSWORD_FAILED;
    const right = checkPassword
      ? await checkPassword(password)
      : secret !== null && exists && (await passwordMatches(user, password, secret));
    return right ? { kind: 'ok', final: null, keys: { password } } : PASSWORD_FAILED;
  }
}

/** AuthenticationMD5Password. */
class Md5Dialogue implements AuthDialogue {
  readonly #identity: ClientIdentity;
  readonly #salt = randomBytes(4);

  constructor(identity: ClientIdentity) {
    this.#identity = identity;
  }

  begin(): AuthStep {
    return { kind: 'continue', authentication: code(5, this.#salt) };
  }

  receive(payload: Buffer): AuthStep {
    const response = passwordOf(payload);
    const { user, secret, exists } = this.#identity;
    if (response === null || secret === null || secret === '' || !exists) return PASSWORD_FAILED;
    const hashed = isMd5Secret(secret) ? secret : md5Secret(user, secret);
    return equals(Buffer.from(md5Response(hashed, this.#salt)), Buffer.from(response)) ? OK : PASSWORD_FAILED;
  }
}

/** AuthenticationSASL with SCRAM-SHA-256, and with channel binding over TLS. */
class ScramDialogue implements AuthDialogue {
  readonly #identity: ClientIdentity;
  readonly #iterations: number;
  #scram: ScramServer | null = null;
  #mock = false;
  #step: 'initial' | 'final' | 'over' = 'initial';

  constructor(identity: ClientIdentity, iterations: number) {
    this.#identity = identity;
    this.#iterations = iterations;
  }

  async begin(): Promise<AuthStep> {
    const endPointHash = this.#identity.tls?.endPointHash ?? null;
    this.#scram = new ScramServer(await this.#secret(), endPointHash);
    const mechanisms = endPointHash === null ? [SCRAM] : [SCRAM_PLUS, SCRAM];
    return { kind: 'continue', authentication: code(10, Buffer.from(`${mechanisms.join('\0')}\0\0`)) };
  }

  receive(payload: Buffer): AuthStep {
    try {
      return this.#step === 'initial'
        ? this.#first(payload)
        : this.#step === 'final'
          ? this.#final(payload)
          : SASL_FAILED;
    } catch (error) {
      if (!(error instanceof ScramError)) throw error;
      this.#step = 'over';
      return SASL_FAILED;
    }
  }

  /** SASLInitialResponse: mechanism, int32 length, client-first-message. */
  #first(payload: Buffer): AuthStep {
    const end = payload.indexOf(0);
    if (end < 0 || payload.length < end + 5) throw new ScramError('malformed SASLInitialResponse');
    const mechanism = payload.toString('latin1', 0, end);
    const length = payload.readInt32BE(end + 1);
    if (length !== payload.length - end - 5) throw new ScramError('malformed SASLInitialResponse');
    if (mechanism !== SCRAM && mechanism !== SCRAM_PLUS) throw new ScramError('unknown mechanism');
    const reply = this.#scram!.first(mechanism, payload.toString('utf8', end + 5));
    this.#step = 'final';
    return { kind: 'continue', authentication: code(11, Buffer.from(reply)) };
  }

  #final(payload: Buffer): AuthStep {
    this.#step = 'over';
    const result = this.#scram!.final(payload.toString('utf8'));
    if (result === null || this.#mock) return SASL_FAILED;
    return { kind: 'ok', final: code(12, Buffer.from(result.message)), keys: result.keys };
  }

  async #secret(): Promise<ScramSecret> {
    const { user, secret, exists } = this.#identity;
    if (secret !== null && secret !== '' && exists) {
      const scram = parseScramSecret(secret);
      if (scram !== null) return scram;
      if (!isMd5Secret(secret)) return scramSecretFor(user, secret, this.#iterations);
    }
    this.#mock = true;
    return mockScramSecret(user, this.#iterations);
  }
}
