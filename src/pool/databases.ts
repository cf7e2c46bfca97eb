/** The parts of src/pool under one name, until everybody takes the parts that it needs. */
import type { Config } from '../config/config.ts';
import type { Logger } from '../telemetry/log.ts';
import type { IdCounter } from '../telemetry/stats.ts';
import type { Context } from './context.ts';
import type { Database } from './database.ts';
import type { Directory } from './directory.ts';
import type { TrackedParameters } from './parameters.ts';
import type { Pause } from './pause.ts';
import type { Peers } from './peers.ts';
import type { Pool } from './pool.ts';
import type { Resolver } from './resolver.ts';
import type { Server } from './server.ts';
import type { Turnover } from './turnover.ts';
import type { User } from './users.ts';

export class Registry {
  readonly context: Context;
  readonly turnover: Turnover;
  readonly pauses: Pause;
  readonly resolver: Resolver;
  readonly directory: Directory;
  readonly peers: Peers;

  constructor(
    context: Context,
    turnover: Turnover,
    pauses: Pause,
    resolver: Resolver,
    directory: Directory,
    peers: Peers,
  ) {
    this.context = context;
    this.turnover = turnover;
    this.pauses = pauses;
    this.resolver = resolver;
    this.directory = directory;
    this.peers = peers;
  }

  get config(): Config {
    return this.context.config;
  }
  get log(): Logger {
    return this.context.log;
  }
  get ids(): IdCounter {
    return this.context.ids;
  }
  get tracked(): TrackedParameters {
    return this.context.tracked;
  }
  get databases(): ReadonlyMap<string, Database> {
    return this.directory.databases;
  }
  get paused(): boolean {
    return this.pauses.isWhole;
  }
  resolveAlias(name: string, current: Database | null = null): Database | null {
    return this.directory.resolveAlias(name, current);
  }
  find(name: string, current: Database | null = null): Database | null {
    return this.directory.find(name, current);
  }
  entryOf(name: string): string | null {
    return this.directory.entryOf(name);
  }
  userLeft(name: string): void {
    this.directory.users.left(name);
  }
  user(name: string): User {
    return this.directory.users.get(name);
  }
  lookUpUser(name: string): User {
    return this.directory.users.lookUp(name);
  }
  pool(database: Database, user: string): Pool {
    return this.directory.pool(database, user);
  }
  poolOf(database: Database, user: string): Pool {
    return this.directory.poolOf(database, user);
  }
  allPools(): Generator<Pool> {
    return this.directory.allPools();
  }
  allServers(): Generator<Server> {
    return this.directory.allServers();
  }
  poolsOf(database: Database | null): Generator<Pool> {
    return this.directory.poolsOf(database);
  }
  pause(database: Database | null): void {
    this.pauses.begin(database, this.directory.poolsOf(database));
  }
  resume(database: Database | null): void {
    this.pauses.end(database);
  }
  hasServers(database: Database | null): boolean {
    return this.directory.hasServers(database);
  }
  hasRetired(database: Database | null): boolean {
    return this.directory.hasRetired(database);
  }
  recheck(): void {
    this.turnover.recheck();
  }
  async untilServers(done: () => boolean): Promise<void> {
    await this.turnover.until(done);
  }
  reconfigure(config: Config): Database[] {
    this.context.configure(config);
    return this.directory.reconfigure();
  }
}
