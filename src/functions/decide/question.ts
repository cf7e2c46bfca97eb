/** A query that functions are to be asked about, in the form in which memory looks it up. */
import type { ClientContext } from '../../../sandbox/crossing.ts';
import type { RoutingContext } from '../../../sandbox/context.ts';
import type { Lexing } from '../../sql/lexing.ts';
import type { HostCall } from '../sandbox/call.ts';
import { CONTEXT_FIELDS } from '../sandbox/context-fields.ts';

/** The value of a part of ctx; undefined: the one that the version was loaded with. */
export type ContextValue = ClientContext[keyof RoutingContext];

/** One object may stand for one question after the other: it is only valid until the next one. */
export interface Question {
  readonly username: string;
  readonly query: string;
  readonly inTransaction: boolean;
  readonly isBytes: boolean;
  /** the client's settings by which the query's constants are found */
  readonly lexing: Lexing;
  readonly routeOnly: boolean;
  readonly entry: string;
  readonly clientId: number;
  /** A part of ctx, which is made only if an earlier answer depended on it. */
  part(field: keyof RoutingContext): ContextValue;
  /** The same question for the functions. */
  call(): HostCall;
}

/** The parts of ctx that an answer depended on. @param basis of the answer (sandbox/call.ts) */
export function partsOf(basis: number): readonly (keyof RoutingContext)[] {
  return PARTS[basis]!;
}

/** By basis. */
const PARTS = Array.from({ length: 2 ** CONTEXT_FIELDS.length }, (_, basis) =>
  CONTEXT_FIELDS.filter((_field, at) => (basis & (1 << at)) !== 0),
);

/** Everything that an answer depends on, except the query and ctx. */
export type Asker = Pick<Question, 'username' | 'inTransaction'> & Partial<Question>;

/** Its plain parts as a number. */
export function flagsOf({ inTransaction, isBytes, routeOnly }: Asker): number {
  return (inTransaction ? 1 : 0) + (isBytes === true ? 2 : 0) + (routeOnly === true ? 4 : 0);
}

/** All of it as a text: neither name has a NUL. */
export function askerKey(asker: Asker): string {
  return `${flagsOf(asker)}${asker.username}\0${asker.entry ?? ''}`;
}
