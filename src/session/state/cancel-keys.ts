/** The keys by which a CancelRequest finds its connection. */
import { randomBytes } from 'node:crypto';
import { markKey } from '../../pool/peers.ts';

/** The key in BackendKeyData. */
export interface CancelKey {
  readonly pid: number;
  readonly secret: Buffer;
  /** both in one string, as `CancelKeys.find` takes it (latin1) */
  readonly text: string;
}

export class CancelKeys<Holder> {
  readonly #holders = new Map<string, Holder>();

  /**
   * A key that no other connection has.
   * @param secretBytes length of its secret: 4 in protocol 3.0
   * @param peerId the proxy's own, which the key carries
   */
  issue(holder: Holder, secretBytes: number, peerId: number): CancelKey {
    for (;;) {
      const bytes = randomBytes(4 + secretBytes);
      bytes[0]! &= 0x7f;
      markKey(bytes, peerId);
      const text = bytes.toString('latin1', 0, bytes.length);
      if (this.#holders.has(text)) continue;
      this.#holders.set(text, holder);
      return { pid: bytes.readInt32BE(0), secret: bytes.subarray(4), text };
    }
  }

  find(text: string): Holder | undefined {
    return this.#holders.get(text);
  }

  delete(text: string): void {
    this.#holders.delete(text);
  }
}
