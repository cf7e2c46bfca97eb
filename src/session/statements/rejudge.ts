/**
 * Prepared statements that were judged by other functions than those that apply now: another version serves, the client has
 * moved to another database, there were no functions, or the client's settings say something else about constants. The first
 * Bind or Describe of such a statement is judged as its Parse was, by the text that the client sent.
 */
import { lexingCode, UNKNOWN_CODE } from '../../sql/lexing.ts';
import { clientErrors } from '../../wire/errors.ts';
import { message } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { isJudged, ownFunctions, targetFunctions } from '../query/judges.ts';
import { judge } from '../query/judge.ts';
import { answerError } from '../send/reject.ts';
import { rewriteBody } from '../query/rewrite.ts';
import { readingOf, reportedLexing } from '../query/text.ts';
import { route } from '../query/route.ts';
import type { Approval } from '../state/approval.ts';
import { Handled } from '../state/handled.ts';
import { waitForAnswers } from '../send/wait.ts';
import { deallocated, freeingParse } from './deallocate.ts';
import { isByFunctions, isOfNow, type Generations } from '../state/generations.ts';
import { NamedStatement } from '../state/named.ts';
import { routeOf } from './parse.ts';

/**
 * Bind or Describe of a named statement: the client goes to the database that the statement was routed to, and the statement
 * is judged again if necessary.
 * @returns null: the message continues, with the statement as it is now
 */
export function reviewNamed(client: LoggedInClient, type: number, statement: NamedStatement): Handled | null {
  const stays = isByFunctions(statement.originGeneration, ownFunctions(client), client.id);
  if (stays && client.question.isOpen) {
    const elsewhere = route(client, type, statement.route);
    if (elsewhere !== null) return elsewhere;
    const isHere = client.server?.prepared.has(statement.shared) === true;
    if (areOfNow(client, statement, codeFor(client, isHere))) return null;
  }
  const { body } = statement.original ?? statement.shared;
  const approval = judgeBody(client, type, body, stays);
  if (typeof approval === 'number') return approval;
  const next = approval.query === null ? body : rewriteBody(client, body, approval.query);
  client.statements.named.rewrite(statement, body, next, readingOf(client, next));
  statement.judged(approval);
  if (!stays) statement.routed(routeOf(client));
  return null;
}

/** Whether the client's server has the unnamed statement as the functions that apply now have judged it. */
export function isUnnamedCurrent(client: LoggedInClient): boolean {
  const { unanswered, unnamed } = client.statements;
  return (
    unnamed.isHere &&
    client.server !== null &&
    client.question.isOpen &&
    !unanswered.isInDoubt(unnamed) &&
    areOfNow(client, unnamed, codeFor(client, true))
  );
}

/** As `reviewNamed`, for the unnamed statement. If its text was too long to keep, it must be prepared again. */
export function reviewUnnamed(client: LoggedInClient, type: number): Handled | null {
  const { unanswered, unnamed } = client.statements;
  if (unnamed.isHere && unanswered.isInDoubt(unnamed)) return waitForAnswers(client);
  const stays = isByFunctions(unnamed.originGeneration, ownFunctions(client), client.id);
  if (stays && client.question.isOpen) {
    // if the client has a server, the statement is there
    const elsewhere = route(client, type, client.server === null ? unnamed.route : null);
    if (elsewhere !== null) return elsewhere;
    if (areOfNow(client, unnamed, codeFor(client, unnamed.isHere))) return null;
  }
  const { original } = unnamed;
  if (original === null) return reviewUnkept(client, type);
  const body = original.subarray(HEADER_BYTES + 1);
  const approval = judgeBody(client, type, body, stays);
  if (typeof approval === 'number') return approval;
  let next = original;
  if (approval.query !== null) next = message(Frontend.Parse, '', rewriteBody(client, body, approval.query));
  const frees = deallocated(client, next);
  if (frees !== null) next = freeingParse(next);
  if (unnamed.replace(next)) unanswered.forget(unnamed);
  unnamed.deallocates(frees);
  unnamed.judged(approval, next === original ? null : original);
  if (!stays) unnamed.routed(routeOf(client));
  return null;
}

/** No unnamed statement exists, or its text is not kept. */
function reviewUnkept(client: LoggedInClient, type: number): Handled | null {
  const { unnamed } = client.statements;
  client.question.forget();
  if (!isJudged(client)) return null;
  if (unnamed.isUnkept) {
    answerError(client, type, clientErrors.mustBePrepared(''));
    return Handled.Done;
  }
  // The server may have skipped the message that dropped the statement: bringUnnamed closes it there, and the server reports
  // the error.
  unnamed.displaced();
  return null;
}

/**
 * Bind or Describe of a named statement that is not tracked. Its text is no longer known, so where functions apply, these very
 * functions must have judged it. And it must have been prepared since the client was lent its server: another client may have
 * used the name before.
 * @returns null: the message continues
 */
export function reviewUntracked(client: LoggedInClient, type: number, name: string): Handled | null {
  if (!isJudged(client)) return null;
  const { unanswered, untracked } = client.statements;
  if (unanswered.isInDoubt(name)) return waitForAnswers(client);
  const judged = untracked.get(name);
  if (
    judged !== undefined &&
    areOfNow(client, judged, codeFor(client, true)) &&
    client.server !== null &&
    judged.madeIn === client.loan.count
  )
    return null;
  answerError(client, type, clientErrors.mustBePrepared(name));
  return Handled.Done;
}

/** Tracks a named statement that was not tracked when it was prepared: it is prepared again, under a shared name. */
export function adoptUntracked(client: LoggedInClient, name: string): NamedStatement | undefined {
  const { named, untracked } = client.statements;
  const found = untracked.handOver(name);
  if (found === undefined || found.original === null) return undefined;
  const shared = client.context.statements.acquire(
    found.original.body,
    readingOf(client, found.original.body),
  );
  const statement = new NamedStatement(shared, found.original, null, found.sentAt, found);
  named.set(name, statement);
  return statement;
}

/** Whether the functions that apply now, with these settings, have judged a text for the place where the client is. */
function areOfNow(client: LoggedInClient, judged: Generations, code: number): boolean {
  return (
    isOfNow(judged.originGeneration, ownFunctions(client), client.id, code) &&
    isOfNow(judged.targetGeneration, targetFunctions(client), client.id, code)
  );
}

/**
 * The settings by which a server will find the constants of a statement, as a code: it must have been judged by these. A SET may
 * be under way before a statement that has yet to be prepared on the client's server.
 */
function codeFor(client: LoggedInClient, isHere: boolean): number {
  return isHere || !client.outstanding.busy ? lexingCode(reportedLexing(client)) : UNKNOWN_CODE;
}

/** @param body query text, zero byte and parameter types of a Parse */
function judgeBody(client: LoggedInClient, type: number, body: Buffer, stays: boolean): Handled | Approval {
  const end = body.indexOf(0);
  const maxQueryBytes = (ownFunctions(client) ?? targetFunctions(client))?.maxQueryBytes ?? Infinity;
  const tooLong = end > maxQueryBytes ? end : 0;
  return judge(client, type, { tooLong, text: body.subarray(0, end) }, stays);
}
