/** Bind, Describe and Close of prepared statements. Those of a tracked named statement get its shared name. */
import { writeHeader } from '../../wire/frame.ts';
import { Frontend, HEADER_BYTES } from '../../wire/protocol.ts';
import type { LoggedInClient } from '../client.ts';
import { clientErrors } from '../../wire/errors.ts';
import { link } from '../link/link.ts';
import { isJudged } from '../query/judges.ts';
import { isReadOtherwise } from '../query/text.ts';
import { answerError } from '../send/reject.ts';
import { Handled } from '../state/handled.ts';
import { Request } from '../state/entry.ts';
import { forwardRequest, noteRequest } from '../send/requests.ts';
import { waitForAnswers } from '../send/wait.ts';
import { bringUnnamed, prepareOn } from './bring.ts';
import { closeNamed } from './close.ts';
import { noteBound } from './deallocate.ts';
import { refuseUnknown } from './name-error.ts';
import { adoptUntracked, reviewNamed, reviewUnnamed, reviewUntracked } from './rejudge.ts';
import {
  checkShape,
  describing,
  describingUnnamed,
  findColumns,
  refuseOtherColumns,
} from './result-shape.ts';
import { isTracked } from './tracking.ts';

/** Describe and Close have this byte before the name of a statement. */
const STATEMENT = 0x53;

/** A Bind, Describe or Close whose names have arrived. */
interface Use {
  readonly type: number;
  /** of the whole message */
  readonly size: number;
  /** the part that has arrived */
  readonly bytes: Buffer;
  readonly request: Request;
  /** where the statement's name begins and ends */
  readonly nameStart: number;
  readonly nameEnd: number;
}

/** @returns Handled.Incomplete: the names have not arrived in full */
export function useStatement(client: LoggedInClient, type: number, size: number, bytes: Buffer): Handled {
  const request = requestOf(type);
  let nameStart = HEADER_BYTES + 1;
  if (type === Frontend.Bind) {
    const portalEnd = bytes.indexOf(0, HEADER_BYTES);
    if (portalEnd < 0) return Handled.Incomplete;
    nameStart = portalEnd + 1;
  } else {
    if (bytes.length <= HEADER_BYTES) return Handled.Incomplete;
    // a portal exists on one server only
    if (bytes[HEADER_BYTES] !== STATEMENT) return forwardRequest(client, request);
  }
  const nameEnd = bytes.indexOf(0, nameStart);
  if (nameEnd < 0) return Handled.Incomplete;
  if (client.outstanding.skipping) return Handled.Discard;
  const name = bytes.toString('latin1', nameStart, nameEnd);
  if (!isTracked(client)) return reviewUntracked(client, type, name) ?? forwardRequest(client, request);
  const use = { type, size, bytes, request, nameStart, nameEnd };
  return name === '' ? useUnnamed(client, use) : useNamed(client, use, name);
}

function requestOf(type: number): Request {
  if (type === Frontend.Bind) return Request.Bind;
  return type === Frontend.Describe ? Request.Describe : Request.Close;
}

function useUnnamed(client: LoggedInClient, { type, request, bytes, nameStart }: Use): Handled {
  const { unnamed } = client.statements;
  const held = request === Request.Close ? null : reviewUnnamed(client, type);
  if (held !== null) return held;
  if (link(client) === null) return Handled.Later;
  const refused = request === Request.Bind ? refuseOtherColumns(client, type) : null;
  if (refused !== null) return refused;
  if (request === Request.Close) unnamed.dropped();
  else if (!bringUnnamed(client)) return waitForAnswers(client);
  if (request === Request.Bind) {
    const asked = findColumns(client);
    if (asked !== null) return asked;
    noteBound(client, bytes, nameStart, unnamed.frees);
  }
  if (request !== Request.Describe || !isJudged(client)) return forwardRequest(client, request);
  noteRequest(client, request);
  client.outstanding.sentDescribe(false, describingUnnamed(unnamed), unnamed);
  return Handled.Forward;
}

function useNamed(client: LoggedInClient, use: Use, name: string): Handled {
  const { outstanding, statements } = client;
  const { type, request } = use;
  if (statements.unanswered.isInDoubt(name)) return waitForAnswers(client);
  if (request === Request.Close) return closeNamed(client, name);
  if (statements.discards.isPending()) return waitForAnswers(client);
  const statement = statements.named.find(name) ?? adoptUntracked(client, name);
  if (statement === undefined) return refuseUnknown(client, type, name);
  const held = reviewNamed(client, type, statement);
  if (held !== null) return held;
  const server = link(client);
  if (server === null) return Handled.Later;
  const { shared } = statement;
  if (statements.unanswered.isInDoubt(shared)) return waitForAnswers(client);
  if (!server.prepared.has(shared) && isReadOtherwise(client, shared.body, shared.reading)) {
    if (!outstanding.empty) return waitForAnswers(client);
    answerError(client, type, clientErrors.mustBePrepared(name));
    statements.unnamed.displaced();
    return Handled.Done;
  }
  const { stats } = client.database;
  noteRequest(client, request);
  if (!server.prepared.use(shared)) prepareOn(client, server, shared);
  if (request === Request.Bind) {
    const other = checkShape(client, type, server, statement);
    if (other !== null) return other;
    stats.bindCount++;
    noteBound(client, use.bytes, use.nameStart, null);
    outstanding.sentAbout(shared.bind);
  } else {
    outstanding.sentDescribe(false, describing(server, shared, statement), shared);
  }
  sendRenamed(client, use, shared.serverName);
  return Handled.ForwardRest;
}

/** Sends the message with another statement name. The rest, a Bind's values of any size, follows as it arrives. */
function sendRenamed(
  client: LoggedInClient,
  { type, size, bytes, nameStart, nameEnd }: Use,
  name: string,
): void {
  const head = Buffer.concat([bytes.subarray(HEADER_BYTES, nameStart), Buffer.from(name)]);
  const tail = bytes.subarray(nameEnd);
  const out = Buffer.allocUnsafe(HEADER_BYTES + head.length + tail.length);
  writeHeader(out, type, size + name.length - (nameEnd - nameStart));
  head.copy(out, HEADER_BYTES);
  tail.copy(out, HEADER_BYTES + head.length);
  client.forward(out);
}
