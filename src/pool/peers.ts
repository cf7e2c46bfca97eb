import type { PeerConfig } from '../config/config.ts';
import { cancelRequest } from '../wire/messages.ts';
import { deliverCancel } from './connect.ts';
import type { Registry } from './databases.ts';
import { Slots } from './slots.ts';
import { unixPath } from './socket.ts';

/**
 * Several processes behind one address (so_reuseport, or a load balancer): a cancel request may come to one that does not
 * know the client. Its key says who does (pgbouncer config.md, peer_id): bytes 1 and 2 are the peer's id, low byte first,
 * and the last two bits count the hops that are left, so that a wrong configuration can't make it go round for ever.
 */

const TTL_MASK = 0b11;

/** Makes a cancel key one of this process's. */
export function markKey(key: Buffer, peerId: number): void {
  if (peerId === 0) return;
  key.writeUInt16LE(peerId, 1);
  key[key.length - 1]! |= TTL_MASK;
}

/** The process that issued a key. */
export function peerOf(key: Buffer): number {
  return key.readUInt16LE(1);
}

/** The same key with one hop less; null: it has gone far enough. */
export function nextHop(key: Buffer): Buffer | null {
  const last = key.length - 1;
  if ((key[last]! & TTL_MASK) === 0) return null;
  const next = Buffer.from(key);
  next[last]!--;
  return next;
}

export interface PeerStats {
  /** being delivered */
  readonly active: number;
  readonly waiting: number;
}

export class Peers {
  readonly #registry: Registry;
  readonly #slots = new Map<number, Slots>();

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /**
   * Hands a cancel request on; at most twice pool_size at a time, as to servers.
   * @param key pid and secret
   * @throws ConnectError, or the signal's reason
   */
  async forward(peer: PeerConfig, key: Buffer, signal: AbortSignal): Promise<void> {
    const { settings } = this.#registry.config;
    const slots = this.#slotsOf(peer.id);
    await slots.take(2 * (peer.pool_size ?? settings.default_pool_size) || Infinity, signal);
    try {
      const mode = unixPath(peer) === null ? settings.server_tls_sslmode : 'disable';
      const isPlain = mode === 'disable' || mode === 'allow';
      await deliverCancel(this.#registry, peer, cancelRequest(key.readInt32BE(0), key.subarray(4)), signal, {
        encryption: isPlain ? 'none' : mode === 'prefer' ? 'offered' : 'required',
        negotiation: 'postgres',
        serverName: peer.host,
      });
    } finally {
      slots.free();
    }
  }

  stats(id: number): PeerStats {
    const slots = this.#slots.get(id);
    return { active: slots?.taken ?? 0, waiting: slots?.waiting ?? 0 };
  }

  #slotsOf(id: number): Slots {
    let slots = this.#slots.get(id);
    if (slots === undefined) this.#slots.set(id, (slots = new Slots()));
    return slots;
  }
}
