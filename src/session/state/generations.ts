/**
 * The versions of the user functions that have judged a text, each with the settings by which its constants were found (the
 * code of sql/lexing.ts) as one number.
 */
import type { Tenant } from '../../functions/functions.ts';
import { LEXING_CODES, UNKNOWN_CODE } from '../../sql/lexing.ts';

/** The functions that judged a text; 0: there were none. */
export interface Generations {
  /** of the database that the client logged in to */
  readonly originGeneration: number;
  /** of the database that it was moved to */
  readonly targetGeneration: number;
}

/** How a text was judged. */
export interface Judgement extends Generations {
  /** the functions could not be asked, and the text passed: a statement is judged again when it is used */
  readonly isProvisional?: boolean;
}

/** Differs from all generations of functions. */
const NEVER = -1;

/** The generations to remember for a statement whose text is kept. */
export function lasting({ originGeneration, targetGeneration, isProvisional }: Judgement): Generations {
  if (isProvisional === true) return { originGeneration: NEVER, targetGeneration: NEVER };
  return { originGeneration, targetGeneration };
}

/** @param clientId the client whose text is judged @param code of the settings by which its constants are found */
export function generationOf(set: Tenant | null, clientId: number, code: number): number {
  return set === null ? 0 : set.generationOf(clientId) * LEXING_CODES + code;
}

/** Whether these functions, with these settings, have judged a text. */
export function isOfNow(judged: number, set: Tenant | null, clientId: number, code: number): boolean {
  const now = generationOf(set, clientId, code);
  return judged === now || (set !== null && judged === now - code + UNKNOWN_CODE);
}

/** Whether these functions have judged a text, whatever the settings were. */
export function isByFunctions(judged: number, set: Tenant | null, clientId: number): boolean {
  return set === null ? judged === 0 : Math.floor(judged / LEXING_CODES) === set.generationOf(clientId);
}
