/**
 * The possible outcomes for one message of a client. Every function on the way of a message returns one of them, and the relay
 * acts on it.
 */
export const Handled = {
  /** pass the message on unchanged */
  Forward: 0,
  /** everything necessary was sent */
  Done: 1,
  /** not yet: reading has stopped, or more bytes must arrive; then the message is looked at again */
  Later: 2,
  /** the whole message is needed first */
  NeedsAll: 3,
  /** drop the message */
  Discard: 4,
  /** the part that has arrived was sent in another form, and the rest follows as it arrives */
  ForwardRest: 5,
  /** the content of the message matters: the type alone does not decide */
  Inspect: 6,
  /** the protocol has no such message */
  Unknown: 7,
  /** the names at the beginning of the message have not arrived in full */
  Incomplete: 8,
} as const;
export type Handled = (typeof Handled)[keyof typeof Handled];
