/**
 * Calls of versions whose functions see the shape of a query instead of its text. The constants do not leave the proxy: they
 * are put back into the query that a function returns.
 */
import { UNKNOWN_LEXING } from '../../sql/lexing.ts';
import { restored } from '../../sql/restoring.ts';
import { shapeOf, type Shape } from '../../sql/shape.ts';
import type { HostAnswer, HostCall } from '../sandbox/call.ts';
import type { OnAnswers, SandboxHost, VersionCode } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { Decision } from './policy.ts';

/** A version that can be asked. */
export interface Asked {
  readonly id: number;
  readonly code: Pick<VersionCode, 'maxResult'>;
  readonly manifest: Pick<Manifest, 'options'>;
}

/** The shape that a version's functions see of a query; null: they see the text. */
export function shapeFor(
  { manifest }: Pick<Asked, 'manifest'>,
  { query, lexing }: Pick<HostCall, 'query' | 'lexing'>,
): Shape | null {
  return manifest.options.sees === 'shape' ? shapeOf(query, lexing ?? UNKNOWN_LEXING) : null;
}

/** Has a host evaluate a batch (host.ts). Answers are about the queries as they were given here. */
export function evaluate(
  version: Asked,
  host: SandboxHost,
  calls: readonly HostCall[],
  done: OnAnswers,
): void {
  if (version.manifest.options.sees === 'text') return host.evaluate(version.id, calls, done);
  const shapes = calls.map((call) => shapeFor(version, call));
  const seen = calls.map((call, i) => ({ ...call, query: shapes[i]?.text ?? call.query }));
  host.evaluate(version.id, seen, (answers, consoleText, cost) => {
    const { maxResult } = version.code;
    done(
      answers.map((answer, i) => answerWith(answer, shapes[i]!, maxResult)),
      consoleText,
      cost,
    );
  });
}

/** The answer about a query, for the answer about its shape. */
function answerWith(answer: HostAnswer, shape: Shape | null, maxResult: number): HostAnswer {
  if (shape === null) return answer;
  const { rewrite } = answer;
  const text = rewrite !== null && 'text' in rewrite && rewrite.text !== shape.text ? rewrite.text : null;
  const asShape = { query: shape.text, rewrite: text };
  if (text === null) {
    const isUnchanged = rewrite !== null && 'text' in rewrite;
    return { ...answer, rewrite: isUnchanged ? null : rewrite, asShape };
  }
  const found = restored(text, shape, maxResult);
  if ('text' in found) return { ...answer, rewrite: found, asShape };
  const outcome = found.isTooLong ? 'too_large' : 'bad_result';
  return { route: answer.route, rewrite: { failure: { outcome, message: found.complaint, stack: '' } } };
}

/** The call and the decision to be kept for all queries of a shape: about the shape, if the functions have seen one. */
export function asSeen(
  call: HostCall,
  { asShape }: HostAnswer,
  decision: Decision,
): readonly [HostCall, Decision] {
  if (asShape === undefined) return [call, decision];
  const seen = { ...call, query: asShape.query };
  return [seen, decision.kind === 'go' ? { ...decision, query: asShape.rewrite } : decision];
}

/** The decision about a query, for one about its shape; null: the functions must be asked, since it does not fit this query. */
export function decisionWith(
  decision: Decision,
  shape: Shape,
  query: string,
  maxResult: number,
): Decision | null {
  if (decision.kind !== 'go' || decision.query === null) return decision;
  const found = restored(decision.query, shape, maxResult);
  if (!('text' in found)) return null;
  return { ...decision, query: found.text === query ? null : found.text };
}
