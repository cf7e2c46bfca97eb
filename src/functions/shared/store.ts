/** The store of a fleet, as the user functions need it. src/fleet/ has the one in PostgreSQL. */

type Body = Readonly<Record<string, unknown>>;

/** A value about a tenant that the proxies of a fleet share: the last one that was written for its kind and key. */
export interface SharedValue {
  readonly kind: string;
  readonly tenant: string;
  readonly key: string;
  /** plain data, whose form the reader must check; null: it was removed */
  readonly body: Body | null;
}

export interface SharedEntry extends SharedValue {
  /** of two changes in the fleet the later one has the greater number, whatever clocks say */
  readonly seq: number;
}

export interface ValueChange extends SharedValue {
  /** the user that asked for it; '': no user did */
  readonly user: string;
  /** the change is made only if the value has this number; 0: only if there is none. Missing: in any case */
  readonly after?: number;
}

export type ValueResult =
  | { readonly kind: 'done'; readonly seq: number }
  | { readonly kind: 'conflict'; readonly present: SharedEntry | null };

/** Takes the values, in the order of their changes. */
export interface ValueFollower {
  changed(entry: SharedEntry): void;
  /** Everything that was in the store a moment ago has been handed over: it can be reached. */
  caughtUp(): void;
  /** It is another store: all its values follow. */
  reset(): void;
}

export interface SharedStore {
  /** There is one, whether or not it can be reached. */
  readonly isConfigured: boolean;
  /** Whether it answered last. No promise that it answers next. */
  readonly isReachable: boolean;
  /** @throws Error if the store can't be reached: whether the change was made is open then */
  change(change: ValueChange): Promise<ValueResult>;
  /** Keeps an artifact, unless there is one of this name. */
  putArtifact(name: string, artifact: Buffer): Promise<void>;
  /** Null: there is none. */
  artifact(name: string): Promise<Buffer | null>;
  removeArtifact(name: string): Promise<void>;
  follow(kinds: readonly string[], follower: ValueFollower): void;
}

/** Of a proxy that is in no fleet. */
export const ALONE: SharedStore = {
  isConfigured: false,
  isReachable: false,
  change: () => Promise.reject(new Error('there is no fleet')),
  putArtifact: () => Promise.resolve(),
  artifact: () => Promise.resolve(null),
  removeArtifact: () => Promise.resolve(),
  follow: () => {},
};
