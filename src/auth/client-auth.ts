/** Clients' logins: the proxy's questions, and its checks of the answers. Payloads only; framing is the session's. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { md5Response, md5Secret } from './md5.ts';
import { deriveKeys, sha256 } from './scram.ts';
import { ScramServer } from './scram-server.ts';
import { parseSecret, type LearnedSecret, type Secret } from './secrets.ts';

/** The ways to prove an identity: values of auth_type and of the method column of an HBA file. */
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

/** Methods that find the user's password right or wrong. Their dialogue hides whether the user exists. */
export function asksPassword(method: ClientMethod): boolean {
  return PASSWORD_METHODS.includes(method);
}
const PASSWORD_METHODS: readonly ClientMethod[] = ['plain', 'md5', 'scram-sha-256', 'ldap', 'pam'];

/** Methods that let a known user in without asking for anything, so that an unknown user can't be hidden. */
export function asksNothing(method: ClientMethod): boolean {
  return method === 'trust' || method === 'peer' || method === 'cert';
}

/** Facts about a client before authentication. */
export interface ClientIdentity {
  readonly user: string;
  /** stored secret; null: the user is unknown or has none, and nothing matches */
  readonly secret: string | null;
  readonly exists: boolean;
  readonly tls: {
    /** common name of the client's verified certificate, if it showed one */
    readonly certificateCn: string | null;
    /** tls-server-end-point of our certificate; null: SCRAM-SHA-256-PLUS is not offered */
    readonly endPointHash: Buffer | null;
  } | null;
  /** cert, peer: whether an external name may log in as `user` (an ident map); missing: only its own. @see identMapper */
  readonly mapsTo?: ((externalName: string) => boolean) | undefined;
  /** the map's name, for the log */
  readonly mapName?: string | null | undefined;
  /** peer: name of the operating system's user at the other end of a Unix socket */
  readonly peerName?: (() => Promise<string | null>) | undefined;
  /** ldap, pam: has a password checked elsewhere. A rejection is a failed login; its message goes to the log. */
  readonly checkPassword?: ((password: string) => Promise<boolean>) | undefined;
}

export interface AuthOptions {
  /** For secrets made from plain passwords, and for nonexistent users. */
  readonly scramIterations: number;
  /** Makes the salts of users without a SCRAM secret. Processes that form one proxy share it. */
  readonly saltKey?: Buffer;
}

export type AuthStep =
  /** Send this payload of an Authentication message and wait for a PasswordMessage. */
  | { readonly kind: 'continue'; readonly authentication: Buffer }
  /** Send `final`, a payload of AuthenticationSASLFinal, if there is one; then AuthenticationOk. */
  | { readonly kind: 'ok'; readonly final: Buffer | null; readonly keys: LearnedSecret | null }
  /** `reason` in pgbouncer's words; `detail` is for the log only. */
  | { readonly kind: 'failed'; readonly reason: string; readonly detail?: string };

/** One login: `begin` returns the first step; `receive` takes the payload of a PasswordMessage and returns the next. */
export interface AuthDialogue {
  begin(): AuthStep | Promise<AuthStep>;
  /** Never throws. */
  receive(payload: Buffer): AuthStep | Promise<AuthStep>;
}

/** Longest password, in bytes; pgbouncer's MAX_PASSWORD. */
const MAX_PASSWORD_BYTES = 65_530;
/** First field of an Authentication message. */
const Request = { Cleartext: 3, Md5: 5, Sasl: 10, SaslContinue: 11, SaslFinal: 12 } as const;

const PASSWORD_FAILED = 'password authentication failed';
const PAM_FAILED = 'PAM authentication failed';
const LDAP_FAILED = 'LDAP authentication failed';
const SASL_FAILED = 'SASL authentication failed';

const processSaltKey = randomBytes(32);

/** The dialogue for a method of auth_type or of an HBA line. */
export function authDialogue(
  method: ClientMethod,
  identity: ClientIdentity,
  options: AuthOptions,
): AuthDialogue {
  const { user, exists, checkPassword } = identity;
  // pgbouncer: "disallow empty passwords"
  const secret = exists && identity.secret ? parseSecret(identity.secret) : null;
  switch (method) {
    case 'any':
      return decided(ok(null));
    case 'trust':
      return decided(exists ? ok(null) : failed('"trust" authentication failed'));
    case 'reject':
      return decided(failed('login rejected'));
    case 'cert':
      return decided(certificateStep(identity));
    case 'peer':
      return { begin: () => peerStep(identity), receive: unexpected };
    case 'plain':
      return passwordDialogue(PASSWORD_FAILED, (password) => matches(user, password, secret));
    case 'ldap':
    case 'pam':
      return passwordDialogue(method === 'ldap' ? LDAP_FAILED : PAM_FAILED, async (password) => {
        return (await checkPassword?.(password.toString())) ?? false;
      });
    case 'md5':
      // config.md: "If the user has a SCRAM secret, then SCRAM authentication is used automatically instead."
      return secret?.kind === 'scram' ? scramDialogue(identity, secret, options) : md5Dialogue(user, secret);
    case 'scram-sha-256':
      return scramDialogue(identity, secret, options);
  }
}

function ok(keys: LearnedSecret | null, final: Buffer | null = null): AuthStep {
  return { kind: 'ok', final, keys };
}

function failed(reason: string, detail?: string): AuthStep {
  return detail === undefined ? { kind: 'failed', reason } : { kind: 'failed', reason, detail };
}

function unexpected(): AuthStep {
  return failed(PASSWORD_FAILED, 'unexpected password message');
}

/** A method that asks nothing. */
function decided(step: AuthStep): AuthDialogue {
  return { begin: () => step, receive: unexpected };
}

function ask(request: number, data: Buffer | string = ''): AuthStep {
  return { kind: 'continue', authentication: authentication(request, data) };
}

function authentication(request: number, data: Buffer | string): Buffer {
  const code = Buffer.alloc(4);
  code.writeInt32BE(request);
  return Buffer.concat([code, typeof data === 'string' ? Buffer.from(data, 'latin1') : data]);
}

/**
 * The password of a PasswordMessage, or the error in it. An empty one is never right: an LDAP server would take it
 * for an anonymous bind (RFC 4513, section 5.1.2).
 */
function readPassword(payload: Buffer): Buffer | AuthStep {
  const end = payload.length - 1;
  if (end === 0 && payload[0] === 0) return failed('empty password returned by client');
  if (end < 0 || end > MAX_PASSWORD_BYTES || payload.indexOf(0) !== end)
    return failed(PASSWORD_FAILED, 'malformed password message');
  return payload.subarray(0, end);
}

function passwordDialogue(reason: string, isRight: (password: Buffer) => Promise<boolean>): AuthDialogue {
  return {
    begin: () => ask(Request.Cleartext),
    async receive(payload) {
      const password = readPassword(payload);
      if (!Buffer.isBuffer(password)) return password;
      try {
        return (await isRight(password)) ? ok({ password: password.toString() }) : failed(reason);
      } catch (error) {
        return failed(reason, (error as Error).message);
      }
    },
  };
}

/**
 * Whether a password is the one that a secret of auth_file stands for.
 * @param secret null or '': there is none, and nothing is right
 */
export async function isPassword(user: string, password: Buffer, secret: string | null): Promise<boolean> {
  return await matches(user, password, secret ? parseSecret(secret) : null);
}

/** Compares a password with a secret of any kind. */
async function matches(user: string, password: Buffer, secret: Secret | null): Promise<boolean> {
  switch (secret?.kind) {
    case 'plain':
      return sameText(password, secret.password);
    case 'md5':
      return sameText(md5Secret(password, user), secret.text);
    case 'scram': {
      const { storedKey } = await deriveKeys(password, secret.salt, secret.iterations);
      return timingSafeEqual(storedKey, secret.storedKey);
    }
    case undefined:
      return false;
  }
}

/** Takes the same time wherever the texts differ, and whatever their lengths. */
function sameText(a: Buffer | string, b: Buffer | string): boolean {
  return timingSafeEqual(sha256(a), sha256(b));
}

function md5Dialogue(user: string, secret: Secret | null): AuthDialogue {
  const salt = randomBytes(4);
  return {
    begin: () => ask(Request.Md5, salt),
    receive(payload) {
      const response = readPassword(payload);
      if (!Buffer.isBuffer(response)) return response;
      const stored = secret?.kind === 'md5' ? secret.text : md5Secret(plainPassword(secret), user);
      const isRight = sameText(response, md5Response(stored, salt));
      return isRight && secret !== null ? ok(null) : failed(PASSWORD_FAILED);
    },
  };
}

function plainPassword(secret: Secret | null): string {
  return secret?.kind === 'plain' ? secret.password : '';
}

function scramDialogue(identity: ClientIdentity, secret: Secret | null, options: AuthOptions): AuthDialogue {
  const scram = new ScramServer({
    user: identity.user,
    secret,
    iterations: options.scramIterations,
    endPointHash: identity.tls?.endPointHash ?? null,
    saltKey: options.saltKey ?? processSaltKey,
  });
  let awaits: 'first' | 'final' | null = 'first';

  const answer = async (payload: Buffer): Promise<AuthStep> => {
    const message = awaits;
    awaits = null;
    if (message === 'first') {
      const initial = readInitialResponse(payload);
      if (initial === null) return failed(SASL_FAILED, 'malformed SASLInitialResponse message');
      const reply = scram.first(initial.mechanism, initial.data);
      awaits = 'final';
      return ask(Request.SaslContinue, reply);
    }
    if (message === null) return failed(SASL_FAILED, 'unexpected SASLResponse message');
    const final = await scram.final(payload.toString('latin1'));
    return ok(final.learned, authentication(Request.SaslFinal, final.message));
  };

  return {
    // A list of names, each ended by a zero byte, and one more at its end.
    begin: () => ask(Request.Sasl, `${scram.mechanisms.join('\0')}\0\0`),
    async receive(payload) {
      try {
        return await answer(payload);
      } catch (error) {
        return failed(SASL_FAILED, (error as Error).message);
      }
    },
  };
}

/** SASLInitialResponse: mechanism, int32 length (-1: no data), data. */
function readInitialResponse(payload: Buffer): { mechanism: string; data: string } | null {
  const end = payload.indexOf(0);
  if (end < 0 || payload.length < end + 5) return null;
  const data = payload.subarray(end + 5);
  if (payload.readInt32BE(end + 1) !== data.length || data.includes(0)) return null;
  return { mechanism: payload.toString('latin1', 0, end), data: data.toString('latin1') };
}

function certificateStep({ user, exists, tls, mapsTo, mapName }: ClientIdentity): AuthStep {
  const reason = 'certificate authentication failed';
  if (tls === null) return failed(reason, 'TLS connection required');
  const name = tls.certificateCn;
  if (name === null) return failed(reason, 'TLS client certificate required');
  if (mapsTo && !mapsTo(name)) return failed(reason, `ident map: ${mapName} does not have a match`);
  if (!mapsTo && name !== user) return failed(reason, 'TLS certificate name mismatch');
  return exists ? ok(null) : failed(reason, `no such user: ${user}`);
}

async function peerStep({ user, exists, peerName, mapsTo, mapName }: ClientIdentity): Promise<AuthStep> {
  const reason = 'unix socket login rejected';
  let name: string | null = null;
  try {
    name = (await peerName?.()) ?? null;
  } catch (error) {
    return failed(reason, (error as Error).message);
  }
  if (name === null) return failed(reason, 'the peer is not known');
  if (mapsTo && !mapsTo(name)) return failed(reason, `ident map ${mapName} cannot be matched`);
  if (!mapsTo && name !== user) return failed(reason, `the peer is ${name}`);
  return exists ? ok(null) : failed(reason, `no such user: ${user}`);
}
