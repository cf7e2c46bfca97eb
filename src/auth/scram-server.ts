import { randomBytes } from 'node:crypto';
import { equals, hmac, sha256, xor, type ScramSecret } from './secrets.ts';

/** The two sides' SCRAM messages do not fit: what to log; the client is only told that authentication failed. */
export class ScramError extends Error {}

/** What a client's proof gave away: enough to log in, as that client, to a server with the same secret. */
export interface LearnedKeys {
  readonly clientKey: Buffer;
  readonly serverKey: Buffer;
}

export const SCRAM = 'SCRAM-SHA-256';
export const SCRAM_PLUS = 'SCRAM-SHA-256-PLUS';

/**
 * The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677; PostgreSQL's "SASL Authentication"), towards clients.
 * `endPointHash` is tls-server-end-point of our certificate; null: channel binding is not offered.
 */
export class ScramServer {
  readonly #secret: ScramSecret;
  readonly #endPointHash: Buffer | null;
  #usesBinding = false;
  #gs2Header = '';
  #clientFirstBare = '';
  #serverFirst = '';
  #nonce = '';

  constructor(secret: ScramSecret, endPointHash: Buffer | null) {
    this.#secret = secret;
    this.#endPointHash = endPointHash;
  }

  /** Takes SASLInitialResponse's mechanism and client-first-message. @returns server-first-message @throws ScramError */
  first(mechanism: string, message: string): string {
    const match =
      /^(p=[A-Za-z0-9.-]+|n|y),([^,]*),((?:m=[^,]*,)?n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/s.exec(
        message,
      );
    if (match === null) throw new ScramError('malformed client-first-message');
    const [, flag, authzid, bare, , nonce] = match as unknown as [
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    if (authzid !== '') throw new ScramError('client uses an authorization identity');
    if (bare.startsWith('m=')) throw new ScramError('client requires an unsupported extension');
    this.#usesBinding = mechanism === SCRAM_PLUS;
    if (this.#usesBinding) {
      if (this.#endPointHash === null) throw new ScramError('channel binding without TLS');
      if (flag !== 'p=tls-server-end-point') throw new ScramError(`unsupported channel binding ${flag}`);
    } else if (flag.startsWith('p=')) {
      throw new ScramError('channel binding without its mechanism');
    } else if (flag === 'y' && this.#endPointHash !== null) {
      // "y": the client could bind and believes that we can't; we offered it, so somebody took the offer away
      throw new ScramError('channel binding negotiation was tampered with');
    }
    this.#gs2Header = `${flag},${authzid},`;
    this.#clientFirstBare = bare;
    this.#nonce = nonce + randomBytes(18).toString('base64');
    this.#serverFirst = `r=${this.#nonce},s=${this.#secret.salt.toString('base64')},i=${this.#secret.iterations}`;
    return this.#serverFirst;
  }

  /** Takes client-final-message. @returns server-final-message and the keys, or null for a wrong proof @throws ScramError */
  final(message: string): { message: string; keys: LearnedKeys } | null {
    const match = /^(c=([A-Za-z0-9+/=]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,[^p].*)?),p=([A-Za-z0-9+/=]+)$/s.exec(
      message,
    );
    if (match === null) throw new ScramError('malformed client-final-message');
    const [, withoutProof, binding, nonce, proofText] = match as unknown as [
      string,
      string,
      string,
      string,
      string,
    ];
    const header = Buffer.from(this.#gs2Header);
    const expected = this.#usesBinding ? Buffer.concat([header, this.#endPointHash!]) : header;
    if (!equals(Buffer.from(binding, 'base64'), expected))
      throw new ScramError('channel binding check failed');
    if (nonce !== this.#nonce) throw new ScramError('nonce does not match');
    const proof = Buffer.from(proofText, 'base64');
    if (proof.length !== 32) throw new ScramError('malformed proof');

    const authMessage = `${this.#clientFirstBare},${this.#serverFirst},${withoutProof}`;
    const clientKey = xor(proof, hmac(this.#secret.storedKey, authMessage));
    if (!equals(sha256(clientKey), this.#secret.storedKey)) return null;
    const { serverKey } = this.#secret;
    return {
      message: `v=${hmac(serverKey, authMessage).toString('base64')}`,
      keys: { clientKey, serverKey },
    };
  }
}
