/**
 * Asks the user functions about a text: first those of the database that the client logged in to, then those of the database
 * that it is in. A remembered decision is taken at once. Otherwise the message is held: `client.question` keeps the answer, and
 * the message goes through the steps of a query again.
 */
import { BLANK_CONTEXT, type RoutingContext } from '../../../sandbox/context.ts';
import type { ClientContext } from '../../../sandbox/crossing.ts';
import { ownFunctions, targetFunctions } from './judges.ts';
import type { Unjudged } from '../../config/options.ts';
import {
  CONTEXT_FIELDS,
  GO,
  type ContextValue,
  type Decision,
  type FunctionCall,
  type Question,
  type Tenant,
} from '../../functions/functions.ts';
import { lexingCode, type Lexing } from '../../sql/lexing.ts';
import { queryWaitTimeout } from '../../pool/limits.ts';
import { clientErrors } from '../../wire/errors.ts';
import type { Client, LoggedInClient } from '../client.ts';
import { Handled } from '../state/handled.ts';
import { generationOf } from '../state/generations.ts';
import type { PendingQuestion } from '../state/question.ts';
import { lengthOver, lexingFor, shown } from './text.ts';
import type { TextToJudge } from '../state/approval.ts';

/** A decision that passes the text unchanged. */
export type Go = Extract<Decision, { kind: 'go' }>;

/**
 * The decision at the database that the client logged in to.
 * @returns null: no functions apply; Handled: the functions are being asked
 */
export function decideAtOrigin(client: LoggedInClient, subject: TextToJudge): Decision | Handled | null {
  const { question } = client;
  if (question.origin !== null) return question.origin;
  const tenant = ownFunctions(client);
  if (tenant === null && targetFunctions(client) === null) return null;
  let decision: Decision | Handled = GO;
  if (tenant !== null)
    decision =
      subject.tooLong === 0
        ? ask(client, tenant, client.entry, subject.text)
        : refuseUnseen(client, tenant, client.entry, subject.tooLong);
  if (typeof decision === 'number') return decision;
  question.decideOrigin(decision, generationNow(client, tenant));
  return decision;
}

/**
 * The decision at the database that the client is in, about the text as the origin's functions rewrote it.
 * @returns null: only the origin's functions apply; Handled: the functions are being asked
 */
export function decideAtTarget(
  client: LoggedInClient,
  origin: Go,
  subject: TextToJudge,
): Decision | Handled | null {
  const { question } = client;
  const tenant = targetFunctions(client);
  const { entry } = client.database;
  if (tenant === null) {
    question.decideTarget(null, 0, '');
    return null;
  }
  const known = question.targetFor(entry);
  if (known !== null) return known;
  const tooLong = tooLongForTarget(client, tenant, origin, subject);
  const decision =
    tooLong === 0
      ? ask(client, tenant, entry, origin.query ?? subject.text)
      : refuseUnseen(client, tenant, entry, tooLong);
  if (typeof decision === 'number') return decision;
  question.decideTarget(decision, generationNow(client, tenant), entry);
  return decision;
}

/**
 * Bytes of the text of a Query or Parse that is over user_function_max_query, so that the functions never see it.
 * @returns 0: the text is within the limit, or has not arrived whole, or no functions apply
 */
export function tooLongForFunctions(
  client: LoggedInClient,
  type: number,
  size: number,
  bytes: Buffer,
): number {
  const tenant = ownFunctions(client) ?? targetFunctions(client);
  return tenant === null ? 0 : lengthOver(tenant.maxQueryBytes, type, size, bytes);
}

function generationNow(client: LoggedInClient, tenant: Tenant | null): number {
  return generationOf(tenant, client.id, lexingCode(lexingFor(client)));
}

function tooLongForTarget(client: LoggedInClient, target: Tenant, origin: Go, subject: TextToJudge): number {
  if (origin.query === null) return subject.tooLong;
  const length = Buffer.byteLength(origin.query, client.question.isInBytes ? 'latin1' : 'utf8');
  return length > target.maxQueryBytes ? length : 0;
}

/**
 * @param entry the entry of [databases] whose functions are asked
 * @returns Handled: the functions are being asked, or the client is disconnected
 */
function ask(
  client: LoggedInClient,
  tenant: Tenant,
  entry: string,
  text: Buffer | string | null,
): Decision | Handled {
  if (text === null) {
    const reason = 'bad packet: query without end';
    client.close(reason, clientErrors.protocolViolation(reason));
    return Handled.Later;
  }
  const query = typeof text === 'string' ? text : shown(client, text);
  const remembered = tenant.recall(QUESTION.of(client, tenant, entry, query));
  return remembered ?? wait(client, tenant, entry, QUESTION.call());
}

/** @param tooLong bytes of the query, which the functions do not see */
function refuseUnseen(
  client: LoggedInClient,
  tenant: Tenant,
  entry: string,
  tooLong: number,
): Decision | Handled {
  const decision = tenant.tooLarge(tooLong);
  if (decision !== null) return decision;
  return wait(client, tenant, entry, { ...QUESTION.of(client, tenant, entry, '').call(), tooLong });
}

function wait(client: LoggedInClient, tenant: Tenant, entry: string, call: FunctionCall): Handled {
  const asked = client.question.ask(generationNow(client, tenant), entry);
  client.gate.close('decision');
  const user = client.context.directory.users.get(client.user);
  const patienceMs = queryWaitTimeout(user, client.pool);
  tenant.decide({ ...call, asker: asked, patienceMs }, (decision) => client.onDecision(asked, decision));
  return Handled.Later;
}

/** A client's question to a tenant, asked for an entry. */
class ClientQuestion implements Question {
  username = '';
  query = '';
  inTransaction = false;
  isBytes = false;
  routeOnly = false;
  entry = '';
  #client: LoggedInClient | null = null;
  #tenant: Tenant | null = null;

  of(client: LoggedInClient, tenant: Tenant, entry: string, query: string): this {
    this.username = client.user;
    this.query = query;
    this.inTransaction = client.inTransaction;
    this.isBytes = client.question.isInBytes;
    this.routeOnly = entry !== client.entry && tenant.sharesRewriting(ownFunctions(client));
    this.entry = entry;
    this.#client = client;
    this.#tenant = tenant;
    return this;
  }

  get clientId(): number {
    return this.#client!.id;
  }

  get lexing(): Lexing {
    return lexingFor(this.#client!);
  }

  part<Field extends keyof RoutingContext>(field: Field): ClientContext[Field] {
    return CONTEXT[field](this.#client!, this.#tenant!, this.entry);
  }

  call(): FunctionCall {
    const { username, query, inTransaction, isBytes, lexing, routeOnly, entry, clientId } = this;
    const context: { -readonly [Field in keyof RoutingContext]?: ContextValue } = {};
    for (const field of CONTEXT_FIELDS) context[field] = this.part(field);
    const address = this.#client!.connection.host;
    return {
      username,
      query,
      inTransaction,
      context: context as ClientContext,
      entry,
      isBytes,
      lexing,
      routeOnly,
      clientId,
      address,
    };
  }
}

/** One object for all questions, one after the other: a question that is answered from memory makes no object. */
const QUESTION = new ClientQuestion();

/** ctx of a client's question, asked for an entry. A new field of ctx (sandbox/context.ts) gets its value here. */
const CONTEXT: {
  readonly [Field in keyof RoutingContext]: (
    client: LoggedInClient,
    tenant: Tenant,
    entry: string,
  ) => ClientContext[Field];
} = {
  database: (client) => client.database.name,
  login_database: (client) => client.entry,
  databases: (_client, tenant, entry) => tenant.nameable(entry),
  nodes: (client, tenant, entry) => {
    const { cluster, entry: currentEntry } = client.database;
    const seesNodes = cluster !== null && tenant.mayName(entry, currentEntry);
    return seesNodes ? cluster.contextNodes : BLANK_CONTEXT.nodes;
  },
};

/** The functions have answered: the held message goes through the steps again. */
export function decided(client: LoggedInClient, asked: PendingQuestion, decision: Decision): void {
  if (client.isClosed || !client.question.answer(asked)) return;
  client.clock.noteCall(asked.since, performance.now());
  // its server has failed since: the first held message may be another one now
  if (client.loss.awaitsVerdict) return;
  client.question.note(asked, decision);
  client.gate.open('decision');
  client.resume();
}

/** Whether the functions where the client is, or where it logged in, include any that can't judge this kind of message. */
export function isPastFunctions(client: Client, what: Unjudged): boolean {
  const { functions } = client.context;
  const bars = (entry: string): boolean =>
    functions.tenantOf(entry) !== null && !functions.allows(entry, what);
  return bars(client.entry) || (client.database !== null && bars(client.database.entry));
}
