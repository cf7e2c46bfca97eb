/** The fields of ctx in their order, in which the bits of an answer's basis follow (sandbox/crossing.ts). */
import { BLANK_CONTEXT, type RoutingContext } from '../../../sandbox/context.ts';

export const CONTEXT_FIELDS = Object.keys(BLANK_CONTEXT) as readonly (keyof RoutingContext)[];

/** Whether a number stands for parts of ctx. */
export function isBasis(basis: number): boolean {
  return Number.isInteger(basis) && basis >= 0 && basis < 2 ** CONTEXT_FIELDS.length;
}
