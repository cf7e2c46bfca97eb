import { ScramClient } from './scram-client.ts';
import { ScramError, type LearnedKeys } from './scram-server.ts';
import { isMd5Secret, isScramSecret, md5Response, md5Secret } from './secrets.ts';

/** What a client's own login taught about its password: the password itself, or SCRAM keys. */
export type LearnedSecret = { readonly password: string } | LearnedKeys;

/** With what to log in to a server. */
export interface ServerCredentials {
  readonly user: string;
  /** of auth_file, [databases] or auth_query: plain, `md5…` or `SCRAM-SHA-256$…` */
  readonly secret: string | null;
  readonly learned: LearnedSecret | null;
  /** tls-server-end-point of the server's certificate; null without TLS */
  readonly endPointHash: Buffer | null;
}

/** The login can't go on, and why; for the log, and for the clients that wait for this server. */
export class ServerAuthError extends Error {}

/** The authentication request codes of "Message Formats" (AuthenticationOk and its siblings). */
const Code = {
  Ok: 0,
  Kerberos: 2,
  Cleartext: 3,
  Md5: 5,
  Gss: 7,
  GssContinue: 8,
  Sspi: 9,
  Sasl: 10,
  SaslContinue: 11,
  SaslFinal: 12,
};

/** One login at a server: takes the payloads of Authentication messages, gives those of the answers. */
export class ServerAuth {
  /** AuthenticationOk has come. */
  done = false;
  readonly #credentials: ServerCredentials;
  #scram: ScramClient | null = null;
  #scramVerified = false;

  constructor(credentials: ServerCredentials) {
    this.#credentials = credentials;
  }

  /**
   * @param payload of an Authentication message: int32 code and data
   * @returns the payload of the 'p' message to answer with; null: nothing to send
   * @throws ServerAuthError
   */
  async receive(payload: Buffer): Promise<Buffer | null> {
    if (payload.length < 4) throw new ServerAuthError('malformed authentication request');
    const data = payload.subarray(4);
    try {
      return await this.#answer(payload.readInt32BE(0), data);
    } catch (error) {
      if (error instanceof ScramError)
        throw new ServerAuthError(`SASL authentication failed: ${error.message}`);
      throw error;
    }
  }

  async #answer(code: number, data: Buffer): Promise<Buffer | null> {
    switch (code) {
      case Code.Ok:
        // A server that skips its signature has not shown that it knows the secret.
        if (this.#scram !== null && !this.#scramVerified)
          throw new ServerAuthError('server ended SASL early');
        this.done = true;
        return null;
      case Code.Cleartext:
        return cString(this.#password());
      case Code.Md5:
        return this.#md5(data);
      case Code.Sasl:
        this.#scram = new ScramClient(
          mechanisms(data),
          this.#scramCredentials(),
          this.#credentials.endPointHash,
        );
        return initialResponse(this.#scram.mechanism, this.#scram.first());
      case Code.SaslContinue:
        if (this.#scram === null) throw new ServerAuthError('SASL out of order');
        return Buffer.from(await this.#scram.final(data.toString()));
      case Code.SaslFinal:
        if (this.#scram === null) throw new ServerAuthError('SASL out of order');
        this.#scram.verify(data.toString());
        this.#scramVerified = true;
        return null;
      default:
        throw new ServerAuthError(`server wants an unsupported authentication method (${nameOf(code)})`);
    }
  }

  /** The password in clear text, from wherever it is known. */
  #password(): string {
    const { secret, learned, user } = this.#credentials;
    if (secret !== null && !isMd5Secret(secret) && !isScramSecret(secret)) return secret;
    if (learned !== null && 'password' in learned) return learned.password;
    throw new ServerAuthError(
      secret === null
        ? `no password for user "${user}": add it to auth_file`
        : `server wants the password of user "${user}", and only a hash of it is known`,
    );
  }

  #md5(salt: Buffer): Buffer {
    const { secret, user } = this.#credentials;
    if (salt.length < 4) throw new ServerAuthError('malformed MD5 salt');
    const hashed = secret !== null && isMd5Secret(secret) ? secret : md5Secret(user, this.#password());
    return cString(md5Response(hashed, salt.subarray(0, 4)));
  }

  #scramCredentials(): LearnedSecret {
    const { secret, learned, user } = this.#credentials;
    if (secret !== null && !isMd5Secret(secret) && !isScramSecret(secret)) return { password: secret };
    if (learned !== null) return learned;
    if (secret === null) throw new ServerAuthError(`no password for user "${user}": add it to auth_file`);
    throw new ServerAuthError(
      isMd5Secret(secret)
        ? `wrong password type: SCRAM can't be done with the MD5 hash of user "${user}"`
        : `wrong password type: the SCRAM secret of user "${user}" works only after the user has logged in with SCRAM, and when the server holds the same secret`,
    );
  }
}

function nameOf(code: number): string {
  if (code === Code.Gss || code === Code.GssContinue) return 'GSSAPI';
  if (code === Code.Sspi) return 'SSPI';
  if (code === Code.Kerberos) return 'Kerberos V5';
  return String(code);
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}

function mechanisms(data: Buffer): string[] {
  return data
    .toString('latin1')
    .split('\0')
    .filter((name) => name !== '');
}

/** SASLInitialResponse: mechanism, int32 length, data. */
function initialResponse(mechanism: string, first: string): Buffer {
  const name = cString(mechanism);
  const body = Buffer.from(first);
  const length = Buffer.allocUnsafe(4);
  length.writeInt32BE(body.length, 0);
  return Buffer.concat([name, length, body]);
}
