/** The unsolicited messages of an idle server: changed settings, notices, and its shutdown. */
import { BAD_HEADER, frameSize, INCOMPLETE } from '../wire/frame.ts';
import { parseErrorFields, parseParameterStatus } from '../wire/messages.ts';
import { Backend, HEADER_BYTES } from '../wire/protocol.ts';

/** The reason to close the server. */
export interface IdleEnd {
  readonly reason: string;
  /** The SQLSTATE of the server's own error; null: the server sent a message that an idle server never sends. */
  readonly sqlstate: string | null;
}

/**
 * Reads the messages of one read.
 * @param largest the size of the longest message that is accepted, in bytes
 * @param onParameter called with each reported setting
 * @returns null: the server may stay
 */
export function readIdleMessages(
  chunk: Buffer,
  largest: number,
  onParameter: (name: string, value: string) => void,
): IdleEnd | null {
  let at = 0;
  for (let end = 0; at < chunk.length; at = end) {
    const size = frameSize(chunk, at, largest);
    if (size === BAD_HEADER) return { reason: 'bad pkt header', sqlstate: null };
    end = at + size;
    // a message cut in two while the server is idle is not worth a state of its own
    if (size === INCOMPLETE || end > chunk.length)
      return { reason: 'partial message from an idle server', sqlstate: null };
    const type = chunk[at];
    const payload = chunk.subarray(at + HEADER_BYTES, end);
    if (type === Backend.ParameterStatus) {
      const parameter = parseParameterStatus(payload);
      if (parameter !== null) onParameter(parameter.name, parameter.value);
    } else if (type === Backend.ErrorResponse) {
      const fields = parseErrorFields(payload);
      return { reason: fields.get('M') ?? 'server error', sqlstate: fields.get('C') ?? '' };
    } else if (type !== Backend.NoticeResponse && type !== Backend.NotificationResponse) {
      return { reason: 'unexpected message from an idle server', sqlstate: null };
    }
  }
  return null;
}
