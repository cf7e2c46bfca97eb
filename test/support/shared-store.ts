/** The store of a fleet in memory, as several proxies see it: each may lose it for a while. */
import type {
  SharedEntry,
  SharedStore,
  ValueChange,
  ValueFollower,
  ValueResult,
} from '../../src/functions/shared/store.ts';

export class MemoryStore {
  #seq = 0;
  #entries = new Map<string, SharedEntry>();
  readonly artifacts = new Map<string, Buffer>();
  readonly #views: View[] = [];

  /** A proxy's view of it. */
  view(): View {
    const view = new View(this);
    this.#views.push(view);
    return view;
  }

  get entries(): SharedEntry[] {
    return [...this.#entries.values()].toSorted((a, b) => a.seq - b.seq);
  }

  body(kind: string, key = ''): unknown {
    return this.entries.find((entry) => entry.kind === kind && entry.key === key)?.body;
  }

  change({ kind, tenant, key, body, after }: ValueChange): ValueResult {
    const value = { kind, tenant, key, body };
    const place = JSON.stringify([value.kind, value.tenant, value.key]);
    const present = this.#entries.get(place) ?? null;
    if (after !== undefined && (present?.seq ?? 0) !== after) return { kind: 'conflict', present };
    const entry = { ...structuredClone(value), seq: ++this.#seq };
    this.#entries.set(place, entry);
    for (const view of this.#views) view.announce();
    return { kind: 'done', seq: entry.seq };
  }

  /** It was made anew, or restored from an empty backup. */
  wipe(): void {
    this.#entries.clear();
    this.#seq = 0;
    this.artifacts.clear();
    for (const view of this.#views) view.forget();
  }
}

export class View implements SharedStore {
  readonly isConfigured = true;
  readonly #store: MemoryStore;
  readonly #followers: ValueFollower[] = [];
  #isReachable = true;
  #seq = 0;

  constructor(store: MemoryStore) {
    this.#store = store;
  }

  get isReachable(): boolean {
    return this.#isReachable;
  }

  lose(): void {
    this.#isReachable = false;
  }

  find(): void {
    this.#isReachable = true;
    this.#hand();
    for (const follower of this.#followers) follower.caughtUp();
  }

  announce(): void {
    if (this.#isReachable) queueMicrotask(() => this.#hand());
  }

  forget(): void {
    this.#seq = 0;
    for (const follower of this.#followers) follower.reset();
  }

  async change(change: ValueChange): Promise<ValueResult> {
    await this.#reach();
    return this.#store.change(change);
  }

  async putArtifact(name: string, artifact: Buffer): Promise<void> {
    await this.#reach();
    if (!this.#store.artifacts.has(name)) this.#store.artifacts.set(name, artifact);
  }

  async artifact(name: string): Promise<Buffer | null> {
    await this.#reach();
    return this.#store.artifacts.get(name) ?? null;
  }

  async removeArtifact(name: string): Promise<void> {
    await this.#reach();
    this.#store.artifacts.delete(name);
  }

  follow(_kinds: readonly string[], follower: ValueFollower): void {
    this.#followers.push(follower);
  }

  async #reach(): Promise<void> {
    await Promise.resolve();
    if (!this.#isReachable) throw new Error('the store is away');
  }

  #hand(): void {
    const news = this.#store.entries.filter(({ seq }) => seq > this.#seq);
    for (const entry of news) {
      this.#seq = entry.seq;
      for (const follower of this.#followers) follower.changed(structuredClone(entry));
    }
    if (news.length > 0) for (const follower of this.#followers) follower.caughtUp();
  }
}
