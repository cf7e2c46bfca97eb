/** The versions that a child has been sent, and whether their isolates were lost through no fault of theirs. */
export class ChildVersions {
  /** the one that was used last at the end */
  readonly #ids = new Set<number>();
  /** building their isolates again costs their tenants nothing */
  readonly #pardoned = new Set<number>();
  /** loaded, and not asked yet */
  readonly #fresh = new Set<number>();

  get size(): number {
    return this.#ids.size;
  }

  has(id: number): boolean {
    return this.#ids.has(id);
  }

  /** The version is loaded, or asked. */
  use(id: number): void {
    this.#ids.delete(id);
    this.#ids.add(id);
  }

  /** The version that was not used for longest, of those for which this holds; undefined: none. */
  oldest(mayLeave: (id: number) => boolean): number | undefined {
    for (const id of this.#ids) if (mayLeave(id)) return id;
    return undefined;
  }

  /** @returns whether it was there */
  delete(id: number): boolean {
    this.#fresh.delete(id);
    return this.#ids.delete(id);
  }

  /** The child has ended. @param guilty the version that was running, if that may be why; null: none */
  lose(guilty: number | null): void {
    for (const id of this.#ids) this.#pardoned.add(id);
    if (guilty !== null) this.#pardoned.delete(guilty);
    this.#ids.clear();
    this.#fresh.clear();
  }

  noteFresh(id: number): void {
    this.#fresh.add(id);
  }

  /** The version has been asked. @returns whether for the first time since it was loaded */
  takeFresh(id: number): boolean {
    return this.#fresh.delete(id);
  }

  /** The version's isolate is built. @returns whether it had been lost through no fault of its own */
  takePardon(id: number): boolean {
    return this.#pardoned.delete(id);
  }
}
