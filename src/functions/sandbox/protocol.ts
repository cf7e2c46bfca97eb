import type { VersionCode } from './host.ts';
import { MESSAGE } from '../limits.ts';

/**
 * What the proxy and a sandbox host process tell each other, and how it crosses the pipe: int32 length of what follows,
 * a byte for the kind, int32 id, UTF-8 text. Ids are of versions for `load`, `loaded` and `dispose`, of batches else.
 */
export type HostMessage =
  /** proxy → host: JSON of Hello, once */
  | { readonly kind: 'hello'; readonly id: 0; readonly text: string }
  /** host → proxy: ready for versions and batches */
  | { readonly kind: 'ready'; readonly id: 0; readonly text: string }
  /** proxy → host: JSON of VersionCode */
  | { readonly kind: 'load'; readonly id: number; readonly text: string }
  /** host → proxy: a LoadResult */
  | { readonly kind: 'loaded'; readonly id: number; readonly text: string }
  | { readonly kind: 'dispose'; readonly id: number; readonly text: string }
  /** proxy → host: version id, NUL, packed calls */
  | { readonly kind: 'batch'; readonly id: number; readonly text: string }
  /** host → proxy: a call of this batch was cut off, and the batch goes on; how long its next call may take, in ms */
  | { readonly kind: 'alive'; readonly id: number; readonly text: string }
  /** host → proxy: bytes that the version's isolate holds, NUL, packed answers; in the order of the batches */
  | { readonly kind: 'answers'; readonly id: number; readonly text: string };

export interface Hello {
  readonly prelude: string;
}

export type { VersionCode };

const KINDS = ['hello', 'ready', 'load', 'loaded', 'dispose', 'batch', 'alive', 'answers'] as const;
const HEADER = 9;

export function encodeMessage({ kind, id, text }: HostMessage): Buffer {
  const size = Buffer.byteLength(text);
  const out = Buffer.allocUnsafe(HEADER + size);
  out.writeInt32BE(HEADER - 4 + size, 0);
  out[4] = KINDS.indexOf(kind);
  out.writeInt32BE(id, 5);
  out.write(text, HEADER);
  return out;
}

/** Puts messages together from chunks as they come. */
export class MessageReader {
  #parts: Buffer[] = [];
  #have = 0;
  /** bytes; null: the other end is trusted */
  #maxAnswers: number | null;

  /**
   * @param maxAnswers where the other end is a host process: bytes of the longest message with answers. Any other message
   * is short.
   */
  constructor(maxAnswers: number | null = null) {
    this.#maxAnswers = maxAnswers;
  }

  /** Messages with answers may be this long from now on, in bytes. */
  allow(maxAnswers: number): void {
    if (this.#maxAnswers !== null) this.#maxAnswers = Math.max(this.#maxAnswers, maxAnswers);
  }

  /** @throws Error on bytes that are no message: the stream can't be used any more */
  push(chunk: Buffer): HostMessage[] {
    this.#parts.push(chunk);
    this.#have += chunk.length;
    const messages: HostMessage[] = [];
    // joined only when a whole message is there, so that a large one is copied once
    while (this.#have >= HEADER) {
      if (this.#parts[0]!.length < HEADER) this.#join();
      const size = this.#parts[0]!.readInt32BE(0) + 4;
      if (size < HEADER || size > this.#limit(this.#parts[0]![4]!))
        throw new Error('malformed message between proxy and sandbox host');
      if (this.#have < size) break;
      this.#join();
      const all = this.#parts[0]!;
      const kind = KINDS[all[4]!];
      if (kind === undefined) throw new Error('unknown message between proxy and sandbox host');
      messages.push({
        kind,
        id: all.readInt32BE(5),
        text: all.toString('utf8', HEADER, size),
      } as HostMessage);
      this.#parts = [all.subarray(size)];
      this.#have -= size;
    }
    return messages;
  }

  #limit(kind: number): number {
    if (this.#maxAnswers === null) return MESSAGE.maxTrustedBytes;
    return KINDS[kind] === 'answers' ? this.#maxAnswers : MESSAGE.maxSmallBytes;
  }

  #join(): void {
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts)];
  }
}
