/** The versions of the user functions that have judged a text. */
import type { Tenant } from '../../functions/functions.ts';

/** The functions that judged a text; 0: there were none. */
export interface Generations {
  /** of the database that the client logged in to */
  readonly originGeneration: number;
  /** of the database that it was moved to */
  readonly targetGeneration: number;
}

export function generationOf(set: Tenant | null): number {
  return set === null ? 0 : set.generation;
}
