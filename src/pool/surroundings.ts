/** The rest of the proxy, and the database, as a pool needs them. */
import type { LifecycleView } from '../lifecycle.ts';
import type { DatabaseConfig } from '../config/config.ts';
import type { Capacity, CountedPool } from './capacity.ts';
import type { OpenServer } from './connect.ts';
import type { Context } from './context.ts';
import type { Resolver } from './resolver.ts';
import type { Turnover } from './turnover.ts';
import type { SessionWatch } from './watch.ts';

/** Shared by all pools. */
export interface PoolSurroundings {
  readonly context: Context;
  readonly resolver: Resolver;
  readonly lifecycle: LifecycleView;
  readonly capacity: Capacity;
  readonly turnover: Turnover;
  readonly connect: OpenServer;
}

/** A database, as its pools see it. */
export interface PoolDatabase {
  readonly name: string;
  readonly config: DatabaseConfig;
  readonly pools: ReadonlyMap<string, CountedPool>;
  readonly watch: SessionWatch | null;
  readonly isPrepared: boolean;
  readonly paused: boolean;
  readonly removed: boolean;
  readonly clientCount: number;
  enter(): void;
  leave(): void;
  noteUse(now: number): void;
}
