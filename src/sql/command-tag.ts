/** Recognizes command tags in CommandComplete messages as bytes, so that no string is made for the other tags. */

/** The tags that matter to the proxy. */
export const CommandTag = {
  Other: 0,
  DiscardAll: 1,
  DeallocateAll: 2,
  Set: 3,
  Commit: 4,
  Rollback: 5,
  PrepareTransaction: 6,
} as const;
export type CommandTag = (typeof CommandTag)[keyof typeof CommandTag];

const DISCARD_ALL = Buffer.from('DISCARD ALL\0');
const DEALLOCATE_ALL = Buffer.from('DEALLOCATE ALL\0');
const SET = Buffer.from('SET\0');
const COMMIT = Buffer.from('COMMIT\0');
const ROLLBACK = Buffer.from('ROLLBACK\0');
const PREPARE_TRANSACTION = Buffer.from('PREPARE TRANSACTION\0');

/** The tag in the payload of a CommandComplete, from `start` to `end`. All tags that matter differ in length. */
export function commandTag(bytes: Buffer, start: number, end: number): CommandTag {
  switch (end - start) {
    case SET.length:
      return isTag(SET, bytes, start) ? CommandTag.Set : CommandTag.Other;
    case COMMIT.length:
      return isTag(COMMIT, bytes, start) ? CommandTag.Commit : CommandTag.Other;
    case ROLLBACK.length:
      return isTag(ROLLBACK, bytes, start) ? CommandTag.Rollback : CommandTag.Other;
    case DISCARD_ALL.length:
      return isTag(DISCARD_ALL, bytes, start) ? CommandTag.DiscardAll : CommandTag.Other;
    case DEALLOCATE_ALL.length:
      return isTag(DEALLOCATE_ALL, bytes, start) ? CommandTag.DeallocateAll : CommandTag.Other;
    case PREPARE_TRANSACTION.length:
      return isTag(PREPARE_TRANSACTION, bytes, start) ? CommandTag.PrepareTransaction : CommandTag.Other;
    default:
      return CommandTag.Other;
  }
}

/** Whether a payload of this length may be the tag of a statement that changes the session or its prepared statements. */
export function mayChangeSession(bytes: number): boolean {
  return bytes === SET.length || bytes === DISCARD_ALL.length || bytes === DEALLOCATE_ALL.length;
}

/** Whether a tag is that of a statement that ends a transaction block. */
export function endsTransaction(tag: CommandTag): boolean {
  return tag === CommandTag.Commit || tag === CommandTag.Rollback || tag === CommandTag.PrepareTransaction;
}

function isTag(tag: Buffer, bytes: Buffer, start: number): boolean {
  for (let i = 0; i < tag.length; i++) if (bytes[start + i] !== tag[i]) return false;
  return true;
}
