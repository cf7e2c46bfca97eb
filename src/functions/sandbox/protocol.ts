/**
 * Messages between the proxy and a sandbox process. On the pipe a message is: int32 length of the rest, one byte for its kind,
 * int32 id of its version or batch, UTF-8 text. The format of the text depends on the kind.
 */
import { MESSAGE } from '../limits.ts';
import type { VersionCode } from './host.ts';
import type { LoadResult } from './load-result.ts';
import { checkedLoadResult } from './untrusted.ts';

/** From the proxy to its child. */
export type Order =
  /** The first message, once. `prelude`: the script that each isolate begins with. */
  | { readonly kind: 'hello'; readonly prelude: string }
  | { readonly kind: 'load'; readonly version: VersionCode }
  | { readonly kind: 'dispose'; readonly versionId: number }
  /** `calls`: packed (packing.ts). `sliceMs`: the batch ends when it has taken this long; 0: each call has all of its time. */
  | {
      readonly kind: 'batch';
      readonly batchId: number;
      readonly versionId: number;
      readonly sliceMs: number;
      readonly calls: string;
    };

/** From a child to the proxy. Jobs (loads and batches) are answered in the order in which they were sent. */
export type Report =
  /** It takes versions and batches from now on. */
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'loaded';
      readonly versionId: number;
      readonly cpuUs: number;
      readonly result: LoadResult;
    }
  /** A call of this batch was cut off, and the batch continues. `nextMs`: the time that its next call may take. */
  | { readonly kind: 'alive'; readonly batchId: number; readonly nextMs: number }
  /**
   * `cut`: the call after these answers did not end within the slice, or needed more memory than its version may have.
   * `starved`: the slice was over before it had a processor for half of it. `unloaded`: its isolate must be built first, and
   * no call was answered: the version is to be loaded again. `answers`: packed, of the first calls. `cpuUs`: the processor
   * time that the batch took, in µs. `heapBytes`: memory that the version's isolate holds.
   */
  | {
      readonly kind: 'answers' | 'cut' | 'starved' | 'unloaded';
      readonly batchId: number;
      readonly cpuUs: number;
      readonly heapBytes: number;
      readonly answers: string;
    };

export type Message = Order | Report;
type Kind = Message['kind'];

/** The index of a kind is its number on the pipe. */
const KINDS: readonly Kind[] = [
  'hello',
  'ready',
  'load',
  'loaded',
  'dispose',
  'batch',
  'alive',
  'answers',
  'cut',
  'starved',
  'unloaded',
];
/** Length, kind and id. */
const HEADER = 9;
/** Separates a number from the text after it. */
const NUL = '\0';

export function encodeMessage(message: Message): Buffer {
  switch (message.kind) {
    case 'hello':
      return encode(message.kind, 0, message.prelude);
    case 'ready':
      return encode(message.kind, 0, '');
    case 'load':
      return encode(message.kind, message.version.id, JSON.stringify(message.version));
    case 'loaded':
      return encode(
        message.kind,
        message.versionId,
        `${message.cpuUs}${NUL}${JSON.stringify(message.result)}`,
      );
    case 'dispose':
      return encode(message.kind, message.versionId, '');
    case 'batch':
      return encode(
        message.kind,
        message.batchId,
        `${message.versionId}${NUL}${message.sliceMs}${NUL}${message.calls}`,
      );
    case 'alive':
      return encode(message.kind, message.batchId, String(message.nextMs));
    case 'answers':
    case 'cut':
    case 'starved':
    case 'unloaded':
      return encode(
        message.kind,
        message.batchId,
        `${message.cpuUs}${NUL}${message.heapBytes}${NUL}${message.answers}`,
      );
  }
}

function encode(kind: Kind, id: number, text: string): Buffer {
  const size = Buffer.byteLength(text);
  const out = Buffer.allocUnsafe(HEADER + size);
  out.writeInt32BE(HEADER - 4 + size, 0);
  out[4] = KINDS.indexOf(kind);
  out.writeInt32BE(id, 5);
  out.write(text, HEADER);
  return out;
}

/** An order from the proxy, which is trusted. Null: not an order. */
function readOrder(kind: Kind, id: number, text: string): Order | null {
  switch (kind) {
    case 'hello':
      return { kind, prelude: text };
    case 'load':
      return { kind, version: JSON.parse(text) as VersionCode };
    case 'dispose':
      return { kind, versionId: id };
    case 'batch': {
      const rest = afterNul(text);
      const [versionId, sliceMs] = [firstNumber(text), firstNumber(rest)];
      return { kind, batchId: id, versionId, sliceMs, calls: afterNul(rest) };
    }
    default:
      return null;
  }
}

/** A report from a child, which is not trusted: its text is checked. Null: not a report. */
function readReport(kind: Kind, id: number, text: string): Report | null {
  switch (kind) {
    case 'ready':
      return { kind };
    case 'loaded': {
      const cpuUs = firstNumber(text);
      const result = checkedLoadResult(JSON.parse(afterNul(text)));
      return result === null || !isAmount(cpuUs) ? null : { kind, versionId: id, cpuUs, result };
    }
    case 'alive': {
      const nextMs = Number(text);
      return Number.isFinite(nextMs) ? { kind, batchId: id, nextMs } : null;
    }
    case 'answers':
    case 'cut':
    case 'starved':
    case 'unloaded': {
      const cpuUs = firstNumber(text);
      const rest = afterNul(text);
      const heapBytes = firstNumber(rest);
      if (!isAmount(cpuUs) || !isAmount(heapBytes)) return null;
      return { kind, batchId: id, cpuUs, heapBytes, answers: afterNul(rest) };
    }
    default:
      return null;
  }
}

/** The number before a NUL; NaN: none. */
function firstNumber(text: string): number {
  const end = text.indexOf(NUL);
  return end > 0 && end <= MESSAGE.maxDigits ? Number(text.slice(0, end)) : NaN;
}

function isAmount(number: number): boolean {
  return Number.isSafeInteger(number) && number >= 0;
}

function afterNul(text: string): string {
  return text.slice(text.indexOf(NUL) + 1);
}

/** Assembles messages from chunks as they arrive. */
abstract class MessageReader<Read extends Message> {
  #parts: Buffer[] = [];
  #have = 0;

  /** @throws Error on bytes that are not a message: the stream can't be used any more */
  push(chunk: Buffer): Read[] {
    this.#parts.push(chunk);
    this.#have += chunk.length;
    const messages: Read[] = [];
    // The parts are joined only once the whole message has arrived, so that a large one is copied once.
    while (this.#have >= HEADER) {
      if (this.#parts[0]!.length < HEADER) this.#join();
      const kind = KINDS[this.#parts[0]![4]!];
      const size = this.#parts[0]!.readInt32BE(0) + 4;
      if (kind === undefined || size < HEADER || size > this.maxSize(kind)) throw malformed();
      if (this.#have < size) break;
      this.#join();
      const all = this.#parts[0]!;
      const message = this.read(kind, all.readInt32BE(5), all.toString('utf8', HEADER, size));
      if (message === null) throw malformed();
      messages.push(message);
      this.#parts = [all.subarray(size)];
      this.#have -= size;
    }
    return messages;
  }

  /** The most bytes of a message of this kind. */
  protected abstract maxSize(kind: Kind): number;

  protected abstract read(kind: Kind, id: number, text: string): Read | null;

  #join(): void {
    if (this.#parts.length > 1) this.#parts = [Buffer.concat(this.#parts)];
  }
}

function malformed(): Error {
  return new Error('malformed message between proxy and sandbox process');
}

/** In the child: reads the proxy's messages. */
export class OrderReader extends MessageReader<Order> {
  protected maxSize(): number {
    return MESSAGE.maxTrustedBytes;
  }

  protected read(kind: Kind, id: number, text: string): Order | null {
    return readOrder(kind, id, text);
  }
}

/** In the proxy: reads a child's messages, and refuses one that is too long at its header. */
export class ReportReader extends MessageReader<Report> {
  #maxAnswers: number;

  /** @param maxAnswers the longest message with answers, in bytes */
  constructor(maxAnswers: number) {
    super();
    this.#maxAnswers = maxAnswers;
  }

  /** The new limit on messages with answers, in bytes. */
  allow(maxAnswers: number): void {
    this.#maxAnswers = Math.max(this.#maxAnswers, maxAnswers);
  }

  protected maxSize(kind: Kind): number {
    return kind === 'answers' || kind === 'cut' || kind === 'starved' || kind === 'unloaded'
      ? this.#maxAnswers
      : MESSAGE.maxSmallBytes;
  }

  protected read(kind: Kind, id: number, text: string): Report | null {
    return readReport(kind, id, text);
  }
}
