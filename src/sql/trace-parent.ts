/** The trace that a query belongs to, from the comment that sqlcommenter and its like add at the end of its text. */
import type { TraceParent } from '../telemetry/query-trace.ts';

/** The part of the text that is looked at, in characters. */
const TAIL = 1_000;
/** In the last comment, which ends the text. */
const COMMENT = /\/\*([^*]*)\*\/[;\s]*$/;
/** W3C Trace Context: version, trace, parent and flags in hex digits. The version ff is invalid. */
const FIELD = /(?:^|,)\s*traceparent='(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})'/;

/** null: the text names none. */
export function traceParentIn(query: string): TraceParent | null {
  const tail = query.slice(-TAIL);
  const at = tail.lastIndexOf('/*');
  const [, comment] = COMMENT.exec(at < 0 ? '' : tail.slice(at)) ?? [];
  const [, traceId, spanId, flags] = FIELD.exec(comment ?? '') ?? [];
  if (traceId === undefined || spanId === undefined || /^0+$/.test(traceId) || /^0+$/.test(spanId))
    return null;
  return { traceId, spanId, flags: Number.parseInt(flags!, 16) };
}
