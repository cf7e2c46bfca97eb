/** The store of the fleet, in the form that user functions need. */
import type { SharedStore, ValueChange, ValueFollower, ValueResult } from '../functions/shared/store.ts';
import type { Fleet } from './fleet.ts';

export class FleetStore implements SharedStore {
  readonly #fleet: () => Fleet;
  readonly #followers: { readonly kinds: readonly string[]; readonly follower: ValueFollower }[] = [];

  /** @param fleet which may be built after this */
  constructor(fleet: () => Fleet) {
    this.#fleet = fleet;
  }

  /** The fleet has been built, and has not been started yet. */
  begin(): void {
    const fleet = this.#fleet();
    for (const { kinds, follower } of this.#followers) fleet.shared.follow(kinds, follower);
    fleet.onStore((isUp) => {
      if (isUp) for (const { follower } of this.#followers) follower.caughtUp();
    });
  }

  get isConfigured(): boolean {
    return this.#fleet().isConfigured;
  }

  get isReachable(): boolean {
    return this.#fleet().isUp;
  }

  change(change: ValueChange): Promise<ValueResult> {
    return this.#fleet().shared.change(change);
  }

  putArtifact(name: string, artifact: Buffer): Promise<void> {
    return this.#fleet().artifacts.put(name, artifact);
  }

  artifact(name: string): Promise<Buffer | null> {
    return this.#fleet().artifacts.get(name);
  }

  removeArtifact(name: string): Promise<void> {
    return this.#fleet().artifacts.delete(name);
  }

  /** To be called before `begin`. */
  follow(kinds: readonly string[], follower: ValueFollower): void {
    this.#followers.push({ kinds, follower });
  }
}
