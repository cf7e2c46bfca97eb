/** The placement of versions in processes: a policy over places, which knows no processes. */
import { PLACEMENT } from '../limits.ts';

/** A process, as far as it is shared. */
export interface Place {
  /** ids of the tenants whose versions it holds */
  readonly owners: ReadonlySet<string>;
}

/**
 * The place of a well-behaved tenant: its present one, or else the first with room.
 * @param most tenants that may share a place
 * @returns null: a new place is needed
 */
export function sharedPlace<Any extends Place>(
  places: readonly Any[],
  owner: string,
  most: number = PLACEMENT.tenantsPerProcess,
): Any | null {
  return (
    places.find(({ owners }) => owners.has(owner)) ?? places.find(({ owners }) => owners.size < most) ?? null
  );
}

/**
 * The place of a separated tenant: one of its own, or, if there are many such tenants, the one with the fewest.
 * @returns null: a new place is needed
 */
export function ownPlace<Any extends Place>(
  places: readonly Any[],
  most: number = PLACEMENT.maxOwn,
): Any | null {
  const owners = places.reduce((sum, place) => sum + place.owners.size, 0);
  return owners < most ? null : (places.toSorted((a, b) => a.owners.size - b.owners.size)[0] ?? null);
}

/**
 * Places without an owner, to be ended.
 * @param kept how many places stay even if they are empty
 */
export function emptyPlaces<Any extends Place>(places: readonly Any[], kept: number): Any[] {
  return places.filter(({ owners }) => owners.size === 0).slice(0, Math.max(0, places.length - kept));
}
