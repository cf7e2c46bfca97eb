/**
 * Several processes at one address (so_reuseport, or a load balancer): a cancel request may reach a process that does not know
 * the client. Its key identifies the one that does (pgbouncer config.md, peer_id): bytes 1 and 2 are the peer's id, low byte
 * first, and the last two bits count the remaining hops, so that a wrong configuration can't make it go round without end.
 */
import type { PeerConfig } from '../config/config.ts';
import { cancelRequest } from '../wire/messages.ts';
import { Cancels } from './cancels.ts';
import { deliverCancel, encryptionTo } from './connect.ts';
import type { Context } from './context.ts';
import type { Resolver } from './resolver.ts';

const TTL_MASK = 0b11;

/** Marks a cancel key as one of this process's. */
export function markKey(key: Buffer, peerId: number): void {
  if (peerId === 0) return;
  key.writeUInt16LE(peerId, 1);
  key[key.length - 1]! |= TTL_MASK;
}

/** The id of the process that issued a key. */
export function peerOf(key: Buffer): number {
  return key.readUInt16LE(1);
}

/** The same key with one hop less; null: no hop is left. */
export function nextHop(key: Buffer): Buffer | null {
  const last = key.length - 1;
  if ((key[last]! & TTL_MASK) === 0) return null;
  const next = Buffer.from(key);
  next[last]!--;
  return next;
}

/** Cancel requests on their way to other processes. */
export class Peers {
  readonly #context: Context;
  readonly #resolver: Resolver;
  readonly #cancels = new Map<number, Cancels>();
  /** the other proxies of the fleet */
  #found: ReadonlyMap<number, PeerConfig> = new Map();
  #assignedId = 0;

  constructor(context: Context, resolver: Resolver) {
    this.#context = context;
    this.#resolver = resolver;
  }

  /** This process's id, which the cancel keys carry: peer_id, or the one that the fleet has assigned; 0: it has none. */
  get ownId(): number {
    return this.#context.settings.peer_id || this.#assignedId;
  }

  /** The fleet's view of this process and of its peers. The section [peers] goes before it. @param ownId 0: none */
  setFleet(ownId: number, found: ReadonlyMap<number, PeerConfig>): void {
    this.#assignedId = ownId;
    this.#found = found;
    for (const id of this.#cancels.keys())
      if (this.find(id) === undefined && this.#cancels.get(id)?.deliveries.size === 0)
        this.#cancels.delete(id);
  }

  /** Another process of the service. */
  find(id: number): PeerConfig | undefined {
    if (id === this.ownId) return undefined;
    return this.#context.config.peers.get(id) ?? this.#found.get(id);
  }

  /** All of them: those that are listed, in their order, and those of the fleet. */
  all(): PeerConfig[] {
    const { peers } = this.#context.config;
    return [...peers.values(), ...[...this.#found.values()].filter(({ id }) => !peers.has(id))];
  }

  /**
   * Passes a cancel request on; at most twice pool_size at a time, as to servers.
   * @param key pid and secret
   * @param onSent called when it has been sent
   * @throws ConnectError, or the signal's reason
   */
  async forward(
    peer: PeerConfig,
    key: Buffer,
    signal: AbortSignal,
    requesterId: number,
    onSent: () => void,
  ): Promise<void> {
    const { settings, ids } = this.#context;
    const cancels = this.cancelsTo(peer.id);
    const limit = 2 * (peer.pool_size ?? settings.default_pool_size) || Infinity;
    const request = cancelRequest(key.readInt32BE(0), key.subarray(4));
    await cancels.inTurn(limit, signal, () =>
      cancels.deliver(ids, requesterId, (delivery) =>
        deliverCancel(request, {
          target: peer,
          resolver: this.#resolver,
          settings,
          signal,
          encryption: encryptionTo(peer, settings.server_tls_sslmode),
          negotiation: 'postgres',
          serverName: peer.host,
          onSent: () => {
            delivery.noteSent();
            onSent();
          },
        }),
      ),
    );
  }

  /** Requests on their way to a peer. */
  cancelsTo(id: number): Cancels {
    let cancels = this.#cancels.get(id);
    if (cancels === undefined) this.#cancels.set(id, (cancels = new Cancels()));
    return cancels;
  }
}
