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
export function generationOf(set: Tenant | null, clientId: number): number {
  return set === null ? 0 : set.generationOf(clientId);
}
