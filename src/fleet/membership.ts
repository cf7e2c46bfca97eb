/** This proxy among the proxies of its fleet: its row with the heartbeats, its id as a peer, and what it knows of the others. */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Config, PeerConfig } from '../config/config.ts';
import type { LifecycleView } from '../lifecycle.ts';
import { programVersion } from '../platform/program-version.ts';
import { printable } from '../telemetry/printable.ts';
import type { FleetProxySnapshot, LoadSnapshot } from '../telemetry/snapshots/fleet.ts';
import type { StoreConnection } from './connection.ts';
import { HEARTBEAT } from './limits.ts';
import { ownAddress } from './own-address.ts';
import {
  beat,
  deregister,
  ENDED,
  NOTIFY,
  readNews,
  readOthers,
  register,
  type Beat,
  type OtherProxy,
  type OwnIdentity,
  type OwnReport,
} from './proxies.ts';
import type { RefusedRows } from './refused-rows.ts';

export interface MembershipParts {
  readonly config: () => Config;
  readonly log: { warn(fields: object, message: string): void };
  readonly load: () => LoadSnapshot;
  /** the state that the heartbeats report, and whether another process has this one's place */
  readonly lifecycle: Pick<LifecycleView, 'state' | 'isHandedOver' | 'isLeaving' | 'isStopping'>;
  /** takes the peers that the store knows, and the own id; 0: none */
  readonly peers: { setFleet(ownId: number, peers: ReadonlyMap<number, PeerConfig>): void };
}

/** The state of a proxy that will stop soon. */
const LEAVING = 'leaving';

export class Membership {
  readonly #parts: MembershipParts;
  readonly #own: OwnIdentity;
  readonly #refused: RefusedRows;
  #others: readonly OtherProxy[] = [];
  /** when `#others` was read; ms of performance.now() */
  #readAt = 0;
  /** the id that the store has assigned; 0: none yet. Cancel keys carry it, so it stays when the store is away */
  #peerId = 0;
  /** as the store has it; '': not known yet */
  #address = '';
  /** the options that the row was made from; null: this process has not been in the table */
  #claim: unknown = null;
  #isNameTaken = false;
  /** the proxy that has the peer_id of the configuration as well; '': none */
  #peerIdTakenBy = '';
  /** the state that the others know */
  #reportedState = '';

  constructor(parts: MembershipParts, refused: RefusedRows) {
    this.#parts = parts;
    this.#refused = refused;
    const { fleet_name: name, listen_port: port } = parts.config().settings;
    this.#own = {
      name: name || `${hostname().slice(0, 200)}:${port}`,
      instance: randomUUID(),
      startedAtMs: Math.round(performance.timeOrigin),
    };
  }

  get name(): string {
    return this.#own.name;
  }

  /** Why this proxy is not in the table although the store is there; '': it is. */
  get problem(): string {
    return this.#isNameTaken
      ? `another process has the name "${printable(this.name)}" in the fleet: set fleet_name`
      : '';
  }

  /** ms between two heartbeats */
  get intervalMs(): number {
    const { fleet_heartbeat: interval } = this.#parts.config().settings;
    return Math.round(Math.min(HEARTBEAT.longestMs, Math.max(HEARTBEAT.shortestMs, interval)));
  }

  /** Enters this proxy into the table, unless a successor has its place. */
  async join(connection: StoreConnection): Promise<void> {
    const { config, log, lifecycle } = this.#parts;
    if (lifecycle.isHandedOver) return;
    const { settings, peers } = config();
    const wish = { configured: settings.peer_id, present: this.#peerId, taken: [...peers.keys()] };
    // another process with the name is a predecessor only before this one has been in the table
    const isSuccessor = this.#claim === null;
    const result = await register(connection, this.#own, this.#report(), { wish, isSuccessor });
    const wasTaken = this.#isNameTaken;
    this.#isNameTaken = result.kind === 'name taken';
    if (result.kind === 'name taken') {
      if (!wasTaken) log.warn({ event: 'fleet_name' }, `fleet: ${this.problem}`);
      return;
    }
    this.#claim = claimOf(config());
    this.#address = result.address;
    this.#peerIdTakenBy = result.kind === 'registered' ? '' : result.by;
    if (result.kind === 'registered') this.#peerId = result.peerId;
    else
      log.warn(
        { event: 'fleet_peer_id' },
        `fleet: peer_id ${settings.peer_id} is also the one of proxy "${printable(result.by)}": cancel requests may not find their way`,
      );
    this.#publishPeers();
  }

  /** Whether the row of this proxy should say something else than it does. */
  get hasNewClaim(): boolean {
    if (this.#claim === null) return false;
    const config = this.#parts.config();
    const { peer_id: id } = config.settings;
    const isTaken = this.#others.some(({ peerId, state }) => peerId === id && state !== ENDED);
    const isFreed = this.#peerIdTakenBy !== '' && !isTaken;
    return isFreed || !isDeepStrictEqual(this.#claim, claimOf(config));
  }

  /** A heartbeat. @returns what is new in the store */
  async beat(connection: StoreConnection): Promise<Omit<Beat, 'isRegistered'>> {
    if (this.#parts.lifecycle.isHandedOver) return await readNews(connection);
    const report = this.#report();
    const { isRegistered, ...news } = await beat(connection, this.#own, report);
    if (report.state !== this.#reportedState) await connection.query(NOTIFY);
    this.#reportedState = report.state;
    // the row was removed during a long absence, or another process has taken it
    if (!isRegistered || this.hasNewClaim) await this.join(connection);
    return news;
  }

  async readOthers(connection: StoreConnection): Promise<void> {
    this.#others = await readOthers(connection, this.#own.name, this.#refused);
    this.#readAt = performance.now();
    this.#publishPeers();
  }

  /** Tells the fleet that this proxy ends. */
  leave(connection: StoreConnection): Promise<void> {
    return deregister(connection, this.#own);
  }

  /** There is no fleet any more. Cancel keys keep the proxy's id. */
  forgetOthers(): void {
    this.#others = [];
    this.#publishPeers();
  }

  /** @param contactAtMs when the store has last answered, by performance.now(); null: never */
  ownRow(contactAtMs: number | null): FleetProxySnapshot {
    const { config, lifecycle, load } = this.#parts;
    const { settings } = config();
    return {
      name: this.#own.name,
      isOwn: true,
      address: this.#address || (ownAddress(settings) ?? ''),
      port: settings.listen_port,
      peerId: settings.peer_id || this.#peerId || null,
      version: programVersion(),
      state: stateOf(lifecycle),
      startedAtMs: this.#own.startedAtMs,
      sinceHeartbeatMs: contactAtMs === null ? null : performance.now() - contactAtMs,
      load: load(),
    };
  }

  /** The other proxies, as they were at the last heartbeat. */
  otherRows(): FleetProxySnapshot[] {
    return this.#others.map(({ heartbeatMs, ageMs, ...other }) => {
      const sinceHeartbeatMs = ageMs + (performance.now() - this.#readAt);
      const isAway = other.state !== ENDED && sinceHeartbeatMs > HEARTBEAT.missed * heartbeatMs;
      return { ...other, isOwn: false, state: isAway ? 'away' : other.state, sinceHeartbeatMs };
    });
  }

  /** A proxy that is away for the store may be there for its clients. */
  #publishPeers(): void {
    const peers = new Map<number, PeerConfig>();
    for (const { peerId: id, address: host, port, state } of this.#others)
      if (id !== null && host !== '' && port > 0 && state !== ENDED)
        peers.set(id, { id, host, port, pool_size: null });
    this.#parts.peers.setFleet(this.#peerId, peers);
  }

  #report(): OwnReport {
    const { config, load, lifecycle } = this.#parts;
    const { settings } = config();
    return {
      address: ownAddress(settings),
      port: settings.listen_port,
      state: stateOf(lifecycle),
      heartbeatMs: this.intervalMs,
      load: load(),
    };
  }
}

/** What a row says that does not change by itself. */
function claimOf({ settings, peers }: Config): unknown {
  return [settings.peer_id, settings.peer_id === 0 ? [...peers.keys()] : [], ownAddress(settings)];
}

function stateOf({ state, isLeaving, isStopping }: MembershipParts['lifecycle']): string {
  return isLeaving && !isStopping ? LEAVING : state;
}
