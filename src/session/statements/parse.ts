/** Parse messages: of tracked named statements, of untracked named ones, and of the unnamed statement. */
import { sizeOf } from '../../wire/frame.ts';
import { PARSE_COMPLETE } from '../../wire/messages.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { ownFunctions } from '../query/judges.ts';
import { readingOf } from '../query/text.ts';
import { link } from '../link/link.ts';
import { UNJUDGED, type Approval } from '../state/approval.ts';
import { Handled } from '../state/handled.ts';
import { Request, type Effect } from '../state/entry.ts';
import { nameWithoutEnd } from '../send/refusal.ts';
import { forwardRequest, noteRequest, sendInstead } from '../send/requests.ts';
import { waitForAnswers } from '../send/wait.ts';
import { prepareOn } from './bring.ts';
import { deallocated, freeingParse } from './deallocate.ts';
import { noteDiscard } from './discard.ts';
import type { Generations, Judgement } from '../state/generations.ts';
import { NamedStatement } from '../state/named.ts';
import { refuseDuplicate } from './name-error.ts';
import type { UntrackedStatement } from '../state/untracked.ts';
import type { Pending } from '../state/unanswered.ts';
import type { UnnamedStatement } from '../state/unnamed.ts';
import { isTracked, mayBeTracked } from './tracking.ts';

/**
 * Records what a Parse prepares, and sends it.
 * @param bytes the message as the client sent it, whose end may not have arrived
 * @param rewritten the message for the server; null: the same
 */
export function parse(
  client: LoggedInClient,
  bytes: Buffer,
  rewritten: Buffer | null,
  approval: Approval,
): Handled {
  if (bytes[HEADER_BYTES] !== 0) {
    return isTracked(client)
      ? parseNamed(client, rewritten ?? bytes, bytes, approval)
      : parseUntracked(client, bytes, rewritten, approval);
  }
  const frees = deallocated(client, rewritten ?? bytes);
  const sent = frees === null ? rewritten : freeingParse(rewritten ?? bytes);
  if (approval === UNJUDGED) return parseUnjudged(client, bytes, sent, frees);
  return isTracked(client)
    ? parseUnnamed(client, bytes, sent, approval, frees)
    : parseUntracked(client, bytes, sent, approval);
}

/**
 * A whole Parse of a named statement. The statement is prepared under its shared name, if the server does not have it yet.
 * @param bytes the message for the servers
 * @param original the message as the client sent it
 * @param judged the functions that judged it
 */
function parseNamed(client: LoggedInClient, bytes: Buffer, original: Buffer, judged: Judgement): Handled {
  const { outstanding, statements } = client;
  const { statements: registry, originals } = client.context;
  if (outstanding.skipping) return Handled.Discard;
  const name = nameOf(client, bytes);
  if (name === null) return Handled.Later;
  if (statements.discards.isPending() || statements.unanswered.isInDoubt(name, true))
    return waitForAnswers(client);
  if (statements.named.find(name)?.isUnmade === false) return refuseDuplicate(client, name);
  const server = link(client);
  if (server === null) return Handled.Later;
  const shared = registry.acquire(bodyOf(bytes), readingOf(client, bodyOf(bytes)));
  if (statements.unanswered.isInDoubt(shared)) {
    registry.release(shared);
    return waitForAnswers(client);
  }
  const statement = new NamedStatement(
    shared,
    original === bytes ? null : originals.acquire(bodyOf(original)),
    routeOf(client),
    outstanding.nextPosition,
    judged,
  );
  statements.set(name, statement);
  client.database.stats.clientParseCount++;
  noteRequest(client, Request.Parse);
  const pending = statements.unanswered.add(name);
  const outcome = {
    undo: () => {
      pending.settle();
      statement.unmade();
    },
    done: () => pending.settle(),
  };
  if (!server.prepared.use(shared)) prepareOn(client, server, shared, outcome);
  else if (outstanding.answered(Request.Parse, PARSE_COMPLETE, outcome)) client.sendAhead(PARSE_COMPLETE);
  return Handled.Done;
}

/**
 * A Parse of the unnamed statement that was judged.
 * @param bytes the message as the client sent it
 * @param rewritten the message for the server; null: the same
 * @param frees the client's statement that it deallocates; null: none
 */
function parseUnnamed(
  client: LoggedInClient,
  bytes: Buffer,
  rewritten: Buffer | null,
  judged: Judgement,
  frees: string | null,
): Handled {
  const { outstanding, statements } = client;
  const { unnamed } = statements;
  if (outstanding.skipping) return Handled.Discard;
  noteUnnamedParse(client, rewritten ?? bytes);
  unnamed.deallocates(frees);
  unnamed.judged(judged, rewritten === null ? null : bytes);
  unnamed.routed(routeOf(client));
  const outcome = new UnnamedParse(unnamed, statements.unanswered.add(unnamed));
  noteRequest(client, Request.Parse);
  outstanding.sentParse(false, outcome);
  if (rewritten === null) return Handled.Forward;
  client.forward(rewritten);
  return Handled.Done;
}

/** The outcome of a Parse that was judged. Drivers send one for each query: it is one object, without closures. */
class UnnamedParse implements Effect {
  readonly #unnamed: UnnamedStatement;
  readonly #serial: number;
  readonly #pending: Pending;

  constructor(unnamed: UnnamedStatement, pending: Pending) {
    this.#unnamed = unnamed;
    this.#serial = unnamed.serial;
    this.#pending = pending;
  }

  done(): void {
    this.#pending.settle();
  }

  undo(): void {
    this.#pending.settle();
    // the server may still have the previous one, which other functions judged
    if (this.#unnamed.serial === this.#serial) this.#unnamed.lost();
  }
}

/** A Parse of the unnamed statement to which no user functions apply; the parameters are those of `parseUnnamed`. */
function parseUnjudged(
  client: LoggedInClient,
  bytes: Buffer,
  rewritten: Buffer | null,
  frees: string | null,
): Handled {
  if (mayBeTracked(client)) {
    if (link(client) === null) return Handled.Later;
    noteUnnamedParse(client, rewritten ?? bytes);
    if (frees !== null) client.statements.unnamed.deallocates(frees);
  }
  return rewritten === null
    ? forwardRequest(client, Request.Parse)
    : sendInstead(client, Request.Parse, rewritten);
}

/** An unnamed Parse is being sent to the client's server. @param at where it begins */
export function noteUnnamedParse(client: LoggedInClient, bytes: Buffer, at = 0, size = sizeOf(bytes)): void {
  if (client.outstanding.skipping) return;
  client.statements.unnamed.parsed(bytes, at, size);
  noteDiscard(client, bytes, at + HEADER_BYTES + 1, at + size);
}

/**
 * A Parse where statements are not tracked.
 * @param bytes the message as the client sent it, whose end may not have arrived
 * @param rewritten the message for the server; null: the same
 */
function parseUntracked(
  client: LoggedInClient,
  bytes: Buffer,
  rewritten: Buffer | null,
  judged: Generations,
): Handled {
  const { outstanding, statements } = client;
  const name = nameOf(client, bytes);
  if (name === null) return Handled.Later;
  if (outstanding.skipping) return Handled.Discard;
  if (statements.unanswered.isInDoubt(name)) return waitForAnswers(client);
  if (link(client) === null) return Handled.Later;
  const isWhole = bytes.length === sizeOf(bytes);
  const statement: UntrackedStatement = {
    original: mayBeTracked(client) && isWhole ? client.context.originals.acquire(bodyOf(bytes)) : null,
    originGeneration: judged.originGeneration,
    targetGeneration: judged.targetGeneration,
    sentAt: outstanding.nextPosition,
    madeIn: client.loan.count,
  };
  const pending = statements.unanswered.add(name);
  const outcome = statements.untracked.set(name, statement);
  noteRequest(client, Request.Parse);
  outstanding.sentParse(false, {
    undo: () => {
      pending.settle();
      outcome.undo();
    },
    done: () => {
      pending.settle();
      outcome.done();
    },
  });
  if (rewritten === null) return Handled.Forward;
  client.forward(rewritten);
  return Handled.Done;
}

/** The name that a Parse gives its statement; null: the name is not terminated, and the client is being disconnected. */
function nameOf(client: LoggedInClient, bytes: Buffer): string | null {
  const end = bytes.indexOf(0, HEADER_BYTES);
  if (end < 0) {
    nameWithoutEnd(client, Frontend.Parse);
    return null;
  }
  return bytes.toString('latin1', HEADER_BYTES, end);
}

/** The query text and the parameter types of a Parse. */
function bodyOf(bytes: Buffer): Buffer {
  return bytes.subarray(bytes.indexOf(0, HEADER_BYTES) + 1);
}

/** Where a newly prepared statement belongs; null: no user functions apply that could have moved it. */
export function routeOf(client: LoggedInClient): string | null {
  return ownFunctions(client) === null ? null : client.database.name;
}
