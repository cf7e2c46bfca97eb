import { randomBytes } from 'node:crypto';
import { clientKeyOf, equals, hmac, saltedPassword, serverKeyOf, sha256, xor } from './secrets.ts';
import { SCRAM, SCRAM_PLUS, ScramError, type LearnedKeys } from './scram-server.ts';

/** The iterations that a server may ask of us; PostgreSQL's default is 4096. */
const MAX_ITERATIONS = 10_000_000;

/** The client's side of SCRAM-SHA-256, towards servers. The keys come from a password, or were learnt. */
export class ScramClient {
  readonly mechanism: string;
  readonly #credentials: { readonly password: string } | LearnedKeys;
  readonly #endPointHash: Buffer | null;
  readonly #gs2Header: string;
  readonly #nonce: string;
  #serverSignature: Buffer | null = null;

  /** @param mechanisms what the server offers @throws ScramError when none of them is ours */
  constructor(
    mechanisms: readonly string[],
    credentials: { readonly password: string } | LearnedKeys,
    endPointHash: Buffer | null,
    nonce?: string,
  ) {
    const binds = endPointHash !== null && mechanisms.includes(SCRAM_PLUS);
    if (!binds && !mechanisms.includes(SCRAM))
      throw new ScramError(`no SASL mechanism in common: ${mechanisms.join(', ')}`);
    this.mechanism = binds ? SCRAM_PLUS : SCRAM;
    this.#credentials = credentials;
    this.#endPointHash = binds ? endPointHash : null;
    // "y" where we could have bound: a server that did offer it then knows that the offer was taken away on its way
    this.#gs2Header = binds ? 'p=tls-server-end-point,,' : endPointHash !== null ? 'y,,' : 'n,,';
    this.#nonce = nonce ?? randomBytes(18).toString('base64');
  }

  /** client-first-message; PostgreSQL takes the user's name from the StartupMessage. */
  first(): string {
    return `${this.#gs2Header}${this.#bare}`;
  }

  get #bare(): string {
    return `n=,r=${this.#nonce}`;
  }

  /** Takes server-first-message. @returns client-final-message @throws ScramError */
  async final(serverFirst: string): Promise<string> {
    const match = /^r=([\x21-\x2b\x2d-\x7e]+),s=([A-Za-z0-9+/=]+),i=(\d{1,9})(?:,.*)?$/s.exec(serverFirst);
    if (match === null) throw new ScramError('malformed server-first-message');
    const [, nonce, salt, iterationText] = match as unknown as [string, string, string, string];
    const iterations = Number(iterationText);
    if (!nonce.startsWith(this.#nonce) || nonce === this.#nonce)
      throw new ScramError("server's nonce does not continue ours");
    if (iterations < 1 || iterations > MAX_ITERATIONS)
      throw new ScramError(`server wants ${iterations} iterations`);

    const binding = Buffer.concat([Buffer.from(this.#gs2Header), this.#endPointHash ?? Buffer.alloc(0)]);
    const withoutProof = `c=${binding.toString('base64')},r=${nonce}`;
    const authMessage = `${this.#bare},${serverFirst},${withoutProof}`;
    const { clientKey, serverKey } = await this.#keys(Buffer.from(salt, 'base64'), iterations);
    this.#serverSignature = hmac(serverKey, authMessage);
    const proof = xor(clientKey, hmac(sha256(clientKey), authMessage));
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  /** Takes server-final-message: the server proves that it knows the secret too. @throws ScramError */
  verify(serverFinal: string): void {
    const match = /^v=([A-Za-z0-9+/=]+)/.exec(serverFinal);
    if (match === null || this.#serverSignature === null)
      throw new ScramError('malformed server-final-message');
    if (!equals(Buffer.from(match[1]!, 'base64'), this.#serverSignature))
      throw new ScramError("server's signature is wrong");
  }

  async #keys(salt: Buffer, iterations: number): Promise<LearnedKeys> {
    if ('clientKey' in this.#credentials) return this.#credentials;
    const key = await saltedPassword(this.#credentials.password, salt, iterations);
    return { clientKey: clientKeyOf(key), serverKey: serverKeyOf(key) };
  }
}
