/** Logging in to PostgreSQL: the proxy's answers to a server's Authentication messages. */
import { md5Response, md5Secret } from './md5.ts';
import { SCRAM_SHA_256, SCRAM_SHA_256_PLUS } from './scram.ts';
import { ScramClient, ScramError } from './scram-client.ts';
import { parseSecret, type LearnedSecret, type Secret } from './secrets.ts';

export type { LearnedSecret };

/** The means to log in to a server. */
export interface ServerCredentials {
  readonly user: string;
  /** of auth_file, [databases] or auth_query: plain, `md5…` or `SCRAM-SHA-256$…` */
  readonly secret: string | null;
  readonly learned: LearnedSecret | null;
  /** tls-server-end-point of the server's certificate; null without TLS */
  readonly endPointHash: Buffer | null;
}

/** The login can't continue. The message is for the waiting clients and the log; `reason` has more, for the log only. */
export class ServerAuthError extends Error {
  readonly reason: string;
  constructor(problem: string, reason: string = problem) {
    super(`server login failed: ${problem}`);
    this.reason = reason;
  }
}

/** First field of an Authentication message ("Message Formats", AuthenticationOk and its siblings). */
const Request = { Ok: 0, Cleartext: 3, Md5: 5, Sasl: 10, SaslContinue: 11, SaslFinal: 12 } as const;
const UNSUPPORTED: Readonly<Record<number, string>> = {
  2: 'Kerberos V5',
  4: 'crypt',
  6: 'SCM credentials',
  7: 'GSSAPI',
  8: 'GSSAPI',
  9: 'SSPI',
};

/** One login at a server: takes the payloads of Authentication messages, returns those of the answers. */
export class ServerAuth {
  /** AuthenticationOk has arrived. */
  done = false;
  readonly #credentials: ServerCredentials;
  readonly #secret: Secret | null;
  #scram: ScramClient | null = null;
  /** The SASL message that is due next. */
  #awaits: 'continue' | 'final' | null = null;

  constructor(credentials: ServerCredentials) {
    this.#credentials = credentials;
    this.#secret = credentials.secret === null ? null : parseSecret(credentials.secret);
  }

  /** Why a refusal by the server was to be expected, for the log; null: unknown. */
  get hint(): string | null {
    if (this.#scram?.hasOtherSecret !== true) return null;
    return `the SCRAM secret of user "${this.#credentials.user}" is not the server's: salt or iterations differ`;
  }

  /**
   * @param payload of an Authentication message: int32 code and data
   * @returns the payload of the 'p' message to answer with; null: nothing to send
   * @throws ServerAuthError
   */
  async receive(payload: Buffer): Promise<Buffer | null> {
    if (payload.length < 4) throw new ServerAuthError('malformed authentication request');
    try {
      return await this.#answer(payload.readInt32BE(0), payload.subarray(4));
    } catch (error) {
      throw error instanceof ScramError ? new ServerAuthError(error.message) : error;
    }
  }

  async #answer(request: number, data: Buffer): Promise<Buffer | null> {
    switch (request) {
      case Request.Ok:
        // a server that does not know the secret would leave out the proof
        if (this.#awaits !== null)
          throw new ServerAuthError('authentication ended before the server signature');
        this.done = true;
        return null;
      case Request.Cleartext:
        return cString(this.#password('cleartext'));
      case Request.Md5:
        if (data.length !== 4) throw new ServerAuthError('malformed authentication request');
        return cString(md5Response(this.#md5(), data));
      case Request.Sasl:
        return this.#startSasl(data);
      case Request.SaslContinue:
        if (this.#awaits !== 'continue') throw new ServerAuthError('unexpected AuthenticationSASLContinue');
        // Set before the keys are derived: nothing that the server sends meanwhile counts as an answer.
        this.#awaits = 'final';
        return Buffer.from(await this.#scram!.final(data.toString('latin1')), 'latin1');
      case Request.SaslFinal:
        if (this.#awaits !== 'final') throw new ServerAuthError('unexpected AuthenticationSASLFinal');
        this.#scram!.verify(data.toString('latin1'));
        this.#awaits = null;
        return null;
      default:
        throw new ServerAuthError(`unsupported authentication method: ${UNSUPPORTED[request] ?? request}`);
    }
  }

  /** Without any password, the empty one: the server then reports it as wrong, as to any other client. */
  #password(method: string): string {
    const known = this.#knownPassword();
    if (known !== null) return known;
    if (this.#secret === null || this.#secret.kind === 'plain') return '';
    throw wrongType(`cannot do ${method} authentication: wrong password type`);
  }

  /** The password in clear text, from any source. */
  #knownPassword(): string | null {
    const { learned } = this.#credentials;
    if (this.#secret?.kind === 'plain' && this.#secret.password !== '') return this.#secret.password;
    return learned !== null && 'password' in learned ? learned.password : null;
  }

  #md5(): string {
    if (this.#secret?.kind === 'md5') return this.#secret.text;
    return md5Secret(this.#password('MD5'), this.#credentials.user);
  }

  #startSasl(data: Buffer): Buffer {
    if (this.#scram !== null) throw new ServerAuthError('duplicate AuthenticationSASL message from server');
    const offered = data.toString('latin1').split('\0');
    const { endPointHash } = this.#credentials;
    const binds = endPointHash !== null && offered.includes(SCRAM_SHA_256_PLUS);
    const mechanism = binds ? SCRAM_SHA_256_PLUS : SCRAM_SHA_256;
    if (!offered.includes(mechanism)) {
      const names = offered.filter((name) => name !== '').join(', ');
      throw new ServerAuthError(
        "none of the server's SASL authentication mechanisms are supported",
        `none of the server's SASL authentication mechanisms are supported: ${names}`,
      );
    }
    this.#scram = new ScramClient({
      secret: this.#scramSecret(),
      bindTo: binds ? endPointHash : null,
      couldBind: endPointHash !== null,
    });
    this.#awaits = 'continue';
    // SASLInitialResponse: mechanism, int32 length, data
    const first = Buffer.from(this.#scram.first(), 'latin1');
    const length = Buffer.alloc(4);
    length.writeInt32BE(first.length);
    return Buffer.concat([cString(mechanism), length, first]);
  }

  #scramSecret(): LearnedSecret {
    const { learned } = this.#credentials;
    const password = this.#knownPassword();
    if (password !== null) return { password };
    if (this.#secret?.kind === 'md5') throw wrongType('cannot do SCRAM authentication: wrong password type');
    if (learned !== null) return learned;
    if (this.#secret?.kind === 'scram')
      throw wrongType(
        'cannot do SCRAM authentication: password is SCRAM secret but client authentication did not provide SCRAM keys',
      );
    return { password: '' };
  }
}

function wrongType(reason: string): ServerAuthError {
  return new ServerAuthError('wrong password type', reason);
}

function cString(text: string): Buffer {
  return Buffer.from(`${text}\0`);
}
