/** The versions of the user functions that have judged a text. */
import type { Tenant } from '../../functions/functions.ts';

/** The functions that judged a text; 0: there were none. */
export interface Generations {
  /** of the database that the client logged in to */
  readonly originGeneration: number;
  /** of the database that it was moved to */
  readonly targetGeneration: number;
}

/** @param clientId the client whose text is judged */
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

export function generationOf(set: Tenant | null, clientId: number): number {
  return set === null ? 0 : set.generationOf(clientId);
}
