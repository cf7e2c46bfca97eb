/** The client's part of a SCRAM exchange, toward servers (RFC 5802, section 5). */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import {
  authMessage,
  CHANNEL_BINDING_HEADER,
  deriveKeys,
  hmac,
  isPrintable,
  NONCE_BYTES,
  parseAttributes,
  sha256,
  xor,
} from './scram.ts';
import { decodeBase64, SCRAM_KEY_BYTES, type LearnedSecret } from './secrets.ts';

/** The server's message makes no sense, or proves that the server does not know the secret. */
export class ScramError extends Error {}

/** So many iterations keep a thread busy for some seconds; a server that asks for more is malicious. */
const MAX_ITERATIONS = 10_000_000;

export interface ScramClientOptions {
  /** The password, or the keys of a secret that is the same as the server's. */
  readonly secret: LearnedSecret;
  /** tls-server-end-point of the server's certificate: the exchange is bound to it */
  readonly bindTo: Buffer | null;
  /**
   * True: we could have bound, but the server does not offer it; if it did offer it, it then knows that the offer was removed.
   */
  readonly couldBind: boolean;
  /** For tests against the RFC's examples. */
  readonly nonce?: string;
  readonly userAttribute?: string;
}

export class ScramClient {
  readonly #options: ScramClientOptions;
  readonly #nonce: string;
  readonly #gs2Header: string;
  readonly #firstBare: string;
  #serverSignature: Buffer | null = null;
  #hasOtherSecret = false;

  constructor(options: ScramClientOptions) {
    this.#options = options;
    this.#nonce = options.nonce ?? randomBytes(NONCE_BYTES).toString('base64');
    this.#gs2Header = options.bindTo !== null ? CHANNEL_BINDING_HEADER : options.couldBind ? 'y,,' : 'n,,';
    // PostgreSQL takes the user name of the StartupMessage.
    this.#firstBare = `n=${options.userAttribute ?? ''},r=${this.#nonce}`;
  }

  /** True: the server's salt or iterations are not those of our secret, so it will refuse us. */
  get hasOtherSecret(): boolean {
    return this.#hasOtherSecret;
  }

  /** The client-first-message. */
  first(): string {
    return this.#gs2Header + this.#firstBare;
  }

  /**
   * Takes the server-first-message, returns the client-final-message.
   * @throws ScramError
   */
  async final(serverFirst: string): Promise<string> {
    const attributes = parseAttributes(serverFirst);
    if (attributes === null) throw new ScramError('malformed SCRAM message (attributes expected)');
    const [nonce, salt, count] = attributes;
    if (nonce?.name === 'm') throw new ScramError('server requires an unsupported SCRAM extension');
    if (nonce?.name !== 'r' || salt?.name !== 's' || count?.name !== 'i' || attributes.length !== 3)
      throw new ScramError('malformed SCRAM message (server-first-message expected)');
    const isOurs = nonce.value.startsWith(this.#nonce) && nonce.value.length > this.#nonce.length;
    if (!isOurs || !isPrintable(nonce.value)) throw new ScramError('invalid SCRAM response (nonce mismatch)');
    const saltBytes = decodeBase64(salt.value);
    if (saltBytes === null || saltBytes.length === 0)
      throw new ScramError('malformed SCRAM message (invalid salt)');
    const iterations = /^[1-9][0-9]{0,9}$/.test(count.value) ? Number(count.value) : 0;
    if (iterations < 1 || iterations > MAX_ITERATIONS)
      throw new ScramError('malformed SCRAM message (invalid iteration count)');

    const { clientKey, serverKey } = await this.#keys(saltBytes, iterations);
    const header = Buffer.from(this.#gs2Header);
    const { bindTo } = this.#options;
    const binding = (bindTo === null ? header : Buffer.concat([header, bindTo])).toString('base64');
    const withoutProof = `c=${binding},r=${nonce.value}`;
    const signed = authMessage(this.#firstBare, serverFirst, withoutProof);
    this.#serverSignature = hmac(serverKey, signed);
    const proof = xor(clientKey, hmac(sha256(clientKey), signed));
    return `${withoutProof},p=${proof.toString('base64')}`;
  }

  async #keys(
    salt: Buffer,
    iterations: number,
  ): Promise<{ readonly clientKey: Buffer; readonly serverKey: Buffer }> {
    const { secret } = this.#options;
    if ('password' in secret) return await deriveKeys(secret.password, salt, iterations);
    this.#hasOtherSecret = secret.iterations !== iterations || !secret.salt.equals(salt);
    return secret;
  }

  /**
   * Takes the server-final-message: proves that the server knows the secret as well.
   * @throws ScramError
   */
  verify(serverFinal: string): void {
    const [first, ...rest] = parseAttributes(serverFinal) ?? [];
    if (first?.name === 'e')
      throw new ScramError(`error received from server in SCRAM exchange: ${first.value}`);
    const signature = first?.name === 'v' && rest.length === 0 ? decodeBase64(first.value) : null;
    if (signature?.length !== SCRAM_KEY_BYTES)
      throw new ScramError('malformed SCRAM message (malformed server signature)');
    if (this.#serverSignature === null || !timingSafeEqual(signature, this.#serverSignature))
      throw new ScramError('invalid server signature');
  }
}
