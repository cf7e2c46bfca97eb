import { clientErrors } from '../../wire/errors.ts';
import { message } from '../../wire/messages.ts';
import { sizeOf } from '../../wire/frame.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { Client } from '../client.ts';
import { link } from '../link/link.ts';
import { Request } from '../relay/outstanding.ts';
import {
  deallocated,
  freeingParse,
  isInDoubt,
  mayBeTracked,
  undecided,
  waitForAnswers,
  type ClientStatement,
} from './prepared.ts';
import { answerError, judge, rewriteBody, route, type Verdict } from '../query/query.ts';
import { Handled } from '../relay/handled.ts';
import { nameWithoutEnd } from '../relay/relay-client.ts';
import { generationOf, type Generations } from './generations.ts';
import type { SharedStatement } from './shared.ts';
import { noteUnnamedParse } from './unnamed.ts';

/**
 * Prepared statements that were judged under other functions than those that apply now: another version serves, another
 * database's functions are met, or there were none. Their first Bind or Describe is judged as their Parse was, by the text
 * that the client sent.
 */

/** Sends a client where its statement belongs. @returns null: it is there, and its text was judged for that place */
function settlePlace(
  client: Client,
  type: number,
  generations: Generations,
  home: string | null,
): Handled | 'judge' | null {
  const elsewhere = route(client, type, home);
  if (elsewhere !== null) return elsewhere;
  return generations.targetGeneration === generationOf(client.targetFunctions) ? null : 'judge';
}

/**
 * Bind or Describe of a named statement: the client goes to where the statement was routed, and the statement is judged
 * again where that is due.
 * @returns null: the message goes on, with the statement as it is now
 */
export function reviewNamed(client: Client, type: number, statement: ClientStatement): Handled | null {
  const stays = statement.originGeneration === generationOf(client.functions);
  if (stays && client.question.isOpen) {
    const held = settlePlace(client, type, statement, statement.route);
    if (held !== 'judge') return held;
  }
  const { body } = statement.original ?? statement.shared;
  const verdict = judgeBody(client, type, body, stays);
  if (typeof verdict === 'number') return verdict;
  const next = verdict.query === null ? body : rewriteBody(client, body, verdict.query);
  if (!next.equals(statement.shared.body)) {
    const { statements, originals } = client.context;
    statement.original ??= originals.acquire(body);
    const old = statement.shared;
    statement.shared = statements.acquire(next);
    statement.shape = null;
    statements.release(old);
  }
  statement.originGeneration = verdict.originGeneration;
  statement.targetGeneration = verdict.targetGeneration;
  if (!stays) statement.route = client.functions === null ? null : client.database!.name;
  return null;
}

/** The same for the unnamed statement. One whose text is too long to be kept has to be prepared again. */
export function reviewUnnamed(client: Client, type: number): Handled | null {
  const { unnamed } = client;
  if (unnamed.isHere && isInDoubt(client, unnamed)) return waitForAnswers(client);
  const stays = unnamed.originGeneration === generationOf(client.functions);
  if (stays && client.question.isOpen) {
    // where there is a server, it is the one that has it
    const held = settlePlace(client, type, unnamed, client.server === null ? client.unnamedRoute : null);
    if (held !== 'judge') return held;
  }
  const { original } = unnamed;
  if (original === null) {
    client.question.forget();
    if (!client.isJudged) return null;
    if (unnamed.isUnkept) {
      answerError(client, type, clientErrors.mustBePrepared(''));
      return Handled.Done;
    }
    // There is none, unless the server has skipped what took it away: bringUnnamed sees to it, and the server says so.
    unnamed.isHere = false;
    return null;
  }
  const body = original.subarray(HEADER_BYTES + 1);
  const verdict = judgeBody(client, type, body, stays);
  if (typeof verdict === 'number') return verdict;
  let next =
    verdict.query === null ? original : message(Frontend.Parse, '', rewriteBody(client, body, verdict.query));
  const frees = deallocated(client, next);
  if (frees !== null) next = freeingParse(next);
  if (!next.equals(unnamed.parse!)) {
    unnamed.replace(next);
    client.undecided?.delete(unnamed);
  }
  unnamed.frees = frees;
  unnamed.judged(verdict, next === original ? null : original);
  if (!stays) client.unnamedRoute = client.functions === null ? null : client.database!.name;
  return null;
}

/** @param body what a Parse holds behind the statement's name */
function judgeBody(client: Client, type: number, body: Buffer, stays: boolean): Handled | Verdict {
  const end = body.indexOf(0);
  const maxQueryBytes = (client.functions ?? client.targetFunctions)?.maxQueryBytes ?? Infinity;
  const tooLong = end > maxQueryBytes ? end : 0;
  return judge(client, type, { tooLong, text: () => body.subarray(0, end) }, stays);
}

/** An unnamed Parse that was judged. @param frees the statement that it deallocates */
export function parseUnnamed(
  client: Client,
  bytes: Buffer,
  rewritten: Buffer | null,
  verdict: Generations,
  frees: string | null,
): Handled {
  const { outstanding, unnamed } = client;
  if (outstanding.skipping) return Handled.Discard;
  noteUnnamedParse(client, rewritten ?? bytes);
  unnamed.frees = frees;
  unnamed.judged(verdict, rewritten === null ? null : bytes);
  const { serial } = unnamed;
  const done = undecided(client, unnamed);
  client.clock.noteRequest(Request.Parse, client.outstanding, client.database!.stats);
  outstanding.sentParse(false, {
    // the server may still have the one before, which was judged otherwise
    undo: () => {
      done();
      if (unnamed.serial === serial) unnamed.lost();
    },
    done,
  });
  if (rewritten === null) return Handled.Forward;
  client.forward(rewritten);
  return Handled.Done;
}

/** A named statement that its server has under the client's own name. */
export interface UntrackedStatement extends Generations {
  /** what the client's Parse said, for the time when it is to be tracked; null: it never is, or too long to be kept */
  readonly original: SharedStatement | null;
  /** position of its Parse in the ledger */
  readonly sentAt: number;
  /** the loan of a server that it was prepared in (Client.links): in another one its name may be somebody else's */
  readonly madeIn: number;
}

/** A Parse where statements are not tracked. @param bytes the message, of which the end may not have come */
export function parseUntracked(
  client: Client,
  bytes: Buffer,
  rewritten: Buffer | null,
  verdict: Generations,
): Handled {
  const nameEnd = bytes.indexOf(0, HEADER_BYTES);
  if (nameEnd < 0) {
    nameWithoutEnd(client, Frontend.Parse);
    return Handled.Later;
  }
  if (client.outstanding.skipping) return Handled.Discard;
  const name = bytes.toString('latin1', HEADER_BYTES, nameEnd);
  if (isInDoubt(client, name)) return waitForAnswers(client);
  if (!link(client)) return Handled.Later;
  const isWhole = bytes.length === sizeOf(bytes);
  const { originals } = client.context;
  const original = mayBeTracked(client) && isWhole ? originals.acquire(bytes.subarray(nameEnd + 1)) : null;
  const { originGeneration, targetGeneration } = verdict;
  const sentAt = client.outstanding.nextPosition;
  const statement = { original, originGeneration, targetGeneration, sentAt, madeIn: client.links };
  const before = client.untracked?.get(name);
  const decided = undecided(client, name);
  client.clock.noteRequest(Request.Parse, client.outstanding, client.database!.stats);
  (client.untracked ??= new Map()).set(name, statement);
  client.outstanding.sentParse(false, {
    // the name is taken: it means what it meant before
    undo: () => {
      decided();
      if (client.untracked?.get(name) !== statement) return;
      releaseUntracked(client, statement);
      if (before !== undefined && before.sentAt >= client.discardedBefore) {
        client.untracked.set(name, before);
        return;
      }
      client.untracked.delete(name);
      if (before !== undefined) releaseUntracked(client, before);
    },
    done: () => {
      decided();
      if (before !== undefined) releaseUntracked(client, before);
    },
  });
  if (rewritten === null) return Handled.Forward;
  client.forward(rewritten);
  return Handled.Done;
}

/**
 * Bind or Describe of a statement that is not tracked: where functions apply, it must have been judged under these very
 * ones, because its text is not there any more, and prepared since the client has its server: another client may have used
 * the name before that.
 * @returns null: the message goes on
 */
export function reviewUntracked(client: Client, type: number, name: string): Handled | null {
  if (!client.isJudged) return null;
  if (isInDoubt(client, name)) return waitForAnswers(client);
  const judged = client.untracked?.get(name);
  if (
    judged?.originGeneration === generationOf(client.functions) &&
    judged.targetGeneration === generationOf(client.targetFunctions) &&
    client.server !== null &&
    judged.madeIn === client.links
  )
    return null;
  answerError(client, type, clientErrors.mustBePrepared(name));
  return Handled.Done;
}

/** Named statements are tracked from now on, and this one was made before: it will be prepared anew, under a shared name. */
export function adoptUntracked(client: Client, name: string): ClientStatement | undefined {
  const found = client.untracked?.get(name);
  if (found === undefined || found.original === null) return undefined;
  const { original, originGeneration, targetGeneration } = found;
  const shared = client.context.statements.acquire(original.body);
  const statement = {
    shared,
    original,
    route: null,
    sentAt: found.sentAt,
    isUnmade: false,
    shape: null,
    originGeneration,
    targetGeneration,
  };
  client.untracked!.delete(name);
  (client.statements ??= new Map()).set(name, statement);
  return statement;
}

/** A name means something else from now on, or nothing. */
export function forgetUntracked(client: Client, name: string): void {
  const found = client.untracked?.get(name);
  if (found === undefined) return;
  client.untracked!.delete(name);
  releaseUntracked(client, found);
}

/** All were dropped whose Parse has a lower position in the ledger. */
export function forgetUntrackedBefore(client: Client, position: number): void {
  for (const [name, each] of client.untracked ?? [])
    if (each.sentAt < position) forgetUntracked(client, name);
  if (client.untracked?.size === 0) client.untracked = null;
}

export function forgetAllUntracked(client: Client): void {
  for (const each of client.untracked?.values() ?? []) releaseUntracked(client, each);
  client.untracked = null;
}

function releaseUntracked(client: Client, { original }: UntrackedStatement): void {
  if (original !== null) client.context.originals.release(original);
}
