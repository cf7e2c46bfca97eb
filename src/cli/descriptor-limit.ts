import { readFileSync } from 'node:fs';
import type { Config } from '../config/config.ts';

/** Each client and server takes a descriptor: compares the kernel's limit with the configuration's maximum. */

/** pgbouncer's margin for everything else */
const OTHERS = 10;

/** pgbouncer's line about it, for the log; null: the kernel does not say what it allows. */
export function descriptorLimitLine(config: Config): string | null {
  let limits: string;
  try {
    limits = readFileSync('/proc/self/limits', 'latin1');
  } catch {
    return null;
  }
  const [, soft, hard] = /^Max open files +(\S+) +(\S+)/m.exec(limits) ?? [];
  if (soft === undefined || hard === undefined) return null;
  const { max_client_conn: clients } = config.settings;
  const most = clients + OTHERS + mostServers(config);
  return `kernel file descriptor limit: ${soft} (hard: ${hard}); max_client_conn: ${clients}, max expected fd use: ${most}`;
}

/** Every pool that the known users can have, full. */
function mostServers({ settings, databases, users, userlist }: Config): number {
  const everybody = new Set([...users.keys(), ...userlist.keys()]).size;
  let servers = 0;
  for (const { pool_size: size, user } of databases.values())
    servers += (size ?? settings.default_pool_size) * (user === null ? everybody : 1);
  return servers;
}
