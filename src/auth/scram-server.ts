/** The server's part of a SCRAM exchange, toward clients (RFC 5802, section 5). */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import {
  authMessage,
  deriveKeys,
  hmac,
  isPrintable,
  NONCE_BYTES,
  parseAttributes,
  SALT_BYTES,
  SCRAM_SHA_256,
  SCRAM_SHA_256_PLUS,
  sha256,
  xor,
} from './scram.ts';
import { decodeBase64, SCRAM_KEY_BYTES, type LearnedSecret, type Secret } from './secrets.ts';

/** The exchange is over. The message is for the log: the client only learns that it failed. */
export class ScramFailure extends Error {}

export interface ScramServerOptions {
  readonly user: string;
  /** null: no login as this user can succeed, and the exchange must not show it */
  readonly secret: Secret | null;
  /** For secrets made from a plain password, and for nonexistent users. */
  readonly iterations: number;
  /** tls-server-end-point of our certificate; null: no channel binding can be offered */
  readonly endPointHash: Buffer | null;
  /** Makes salts for users without a SCRAM secret. */
  readonly saltKey: Buffer;
  /** For tests against the RFC's examples. */
  readonly nonce?: string;
}

/** The stored secret, looked up before authentication. */
interface Expected {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly keys: Promise<{ readonly storedKey: Buffer; readonly serverKey: Buffer }>;
}

export class ScramServer {
  readonly #options: ScramServerOptions;
  readonly #expected: Expected;
  #gs2Header = '';
  #isBound = false;
  #clientFirstBare = '';
  #serverFirst = '';
  #nonce = '';

  constructor(options: ScramServerOptions) {
    this.#options = options;
    this.#expected = expect(options);
  }

  /** In the order of preference. */
  get mechanisms(): readonly string[] {
    return this.#options.endPointHash === null ? [SCRAM_SHA_256] : [SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
  }

  /**
   * Takes the client-first-message, returns the server-first-message.
   * @throws ScramFailure
   */
  first(mechanism: string, message: string): string {
    if (!this.mechanisms.includes(mechanism))
      throw new ScramFailure('client selected an invalid SASL mechanism');
    this.#isBound = mechanism === SCRAM_SHA_256_PLUS;
    // gs2-cbind-flag "," [ authzid ] ","
    const match = /^(n|y|p=([^,]*)),([^,]*),/.exec(message);
    if (match === null) throw new ScramFailure('malformed SCRAM message (unexpected channel-binding flag)');
    this.#checkBindingFlag(match[1]!, match[2]);
    if (match[3] !== '')
      throw new ScramFailure('client uses authorization identity, but it is not supported');
    this.#gs2Header = match[0];
    this.#clientFirstBare = message.slice(match[0].length);

    const attributes = parseAttributes(this.#clientFirstBare);
    if (attributes === null) throw new ScramFailure('malformed SCRAM message (attributes expected)');
    const [user, nonce] = attributes;
    if (user?.name === 'm') throw new ScramFailure('client requires an unsupported SCRAM extension');
    // The user name is that of the StartupMessage; the one here is ignored, as in PostgreSQL.
    if (user?.name !== 'n' || nonce?.name !== 'r')
      throw new ScramFailure('malformed SCRAM message (nonce expected)');
    if (!isPrintable(nonce.value)) throw new ScramFailure('non-printable characters in SCRAM nonce');

    this.#nonce = nonce.value + (this.#options.nonce ?? randomBytes(NONCE_BYTES).toString('base64'));
    const { salt, iterations } = this.#expected;
    this.#serverFirst = `r=${this.#nonce},s=${salt.toString('base64')},i=${iterations}`;
    return this.#serverFirst;
  }

  /** RFC 5802, section 6: the flag must fit the offer, or a man in the middle has changed the offer. */
  #checkBindingFlag(flag: string, type: string | undefined): void {
    if (this.#isBound) {
      if (type === undefined)
        throw new ScramFailure('client selected SCRAM-SHA-256-PLUS, but sent no channel binding data');
      if (type !== 'tls-server-end-point')
        throw new ScramFailure(`unsupported SCRAM channel-binding type "${type}"`);
    } else if (type !== undefined) {
      throw new ScramFailure('client requires SCRAM channel binding, but it is not supported');
    } else if (flag === 'y' && this.#options.endPointHash !== null) {
      throw new ScramFailure(
        'SCRAM channel binding negotiation error: client thinks that it is not supported',
      );
    }
  }

  /**
   * Takes the client-final-message, returns the server-final-message and the keys for servers that have the same secret.
   * @throws ScramFailure
   */
  async final(message: string): Promise<{ message: string; learned: LearnedSecret }> {
    const attributes = parseAttributes(message);
    const [binding, nonce] = attributes ?? [];
    const proof = attributes?.at(-1);
    if (binding?.name !== 'c' || nonce?.name !== 'r' || proof?.name !== 'p')
      throw new ScramFailure('malformed SCRAM message (client-final-message expected)');
    const clientProof = decodeBase64(proof.value);
    if (clientProof?.length !== SCRAM_KEY_BYTES)
      throw new ScramFailure('malformed SCRAM message (malformed proof in client-final-message)');
    this.#checkBinding(binding.value);
    if (!sameText(nonce.value, this.#nonce))
      throw new ScramFailure('invalid SCRAM response (nonce mismatch)');

    const { storedKey, serverKey } = await this.#expected.keys;
    const withoutProof = message.slice(0, message.length - proof.value.length - ',p='.length);
    const signed = authMessage(this.#clientFirstBare, this.#serverFirst, withoutProof);
    const clientKey = xor(clientProof, hmac(storedKey, signed));
    const isProved = timingSafeEqual(sha256(clientKey), storedKey);
    const { secret } = this.#options;
    if (!isProved || secret === null) throw new ScramFailure(problem(secret));
    const { salt, iterations } = this.#expected;
    return {
      message: `v=${hmac(serverKey, signed).toString('base64')}`,
      learned:
        secret.kind === 'plain' ? { password: secret.password } : { clientKey, serverKey, salt, iterations },
    };
  }

  #checkBinding(value: string): void {
    const header = Buffer.from(this.#gs2Header, 'latin1');
    const expected = this.#isBound ? Buffer.concat([header, this.#options.endPointHash!]) : header;
    if (sameText(value, expected.toString('base64'))) return;
    throw new ScramFailure(
      this.#isBound
        ? 'SCRAM channel binding check failed'
        : 'unexpected SCRAM channel-binding attribute in client-final-message',
    );
  }
}

function expect({ user, secret, iterations, saltKey }: ScramServerOptions): Expected {
  if (secret?.kind === 'scram') return { ...secret, keys: Promise.resolve(secret) };
  // The salt depends on the name only, so that neither repeated attempts nor comparisons show which users exist.
  const salt = createHmac('sha256', saltKey).update(user).digest().subarray(0, SALT_BYTES);
  if (secret?.kind === 'plain') {
    const keys = deriveKeys(secret.password, salt, iterations);
    // Awaited in `final`, if the client gets as far as that.
    keys.catch(() => {});
    return { salt, iterations, keys };
  }
  const nothing = { storedKey: randomBytes(SCRAM_KEY_BYTES), serverKey: randomBytes(SCRAM_KEY_BYTES) };
  return { salt, iterations, keys: Promise.resolve(nothing) };
}

function problem(secret: Secret | null): string {
  if (secret === null) return 'no such user, or none with a password';
  return secret.kind === 'md5'
    ? 'an MD5 secret is of no use for SCRAM: wrong password type'
    : 'wrong password';
}

function sameText(a: string, b: string): boolean {
  return timingSafeEqual(sha256(a), sha256(b));
}
