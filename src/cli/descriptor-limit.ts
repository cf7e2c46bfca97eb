/** The log line that compares the kernel's limit on descriptors with the number that the configuration may need. */
import { readFileSync } from 'node:fs';
import type { Config } from '../config/config.ts';

/** pgbouncer's margin for all other descriptors */
const OTHERS = 10;

/** pgbouncer's line; null: the kernel does not report its limit. */
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

/** The number of servers if every possible pool of the known users is full. */
function mostServers({ settings, databases, users, userlist }: Config): number {
  const everybody = new Set([...users.keys(), ...userlist.keys()]).size;
  let servers = 0;
  for (const { pool_size: size, user } of databases.values())
    servers += (size ?? settings.default_pool_size) * (user === null ? everybody : 1);
  return servers;
}
