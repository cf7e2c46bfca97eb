/** The address at which the other proxies of a fleet reach this one. */
import type { Settings } from '../config/options.ts';

/** Addresses that stand for all of a host's. */
const ALL = new Set(['*', '0.0.0.0', '::']);

/** null: what the store sees as this proxy's address is the best guess. */
export function ownAddress({
  fleet_address: given,
  listen_addr: addresses,
  unix_socket_dir: socketFolder,
}: Pick<Settings, 'fleet_address' | 'listen_addr' | 'unix_socket_dir'>): string | null {
  if (given !== '') return given;
  const [address, ...more] = addresses;
  // without TCP, only proxies on the same host can reach this one
  if (address === undefined) return socketFolder || null;
  return more.length > 0 || ALL.has(address) ? null : address;
}
