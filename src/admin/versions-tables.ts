/** SHOW FUNCTION VERSIONS and SHOW FUNCTION LOG: the versions that a tenant's functions have had, and the lines about them. */
import { basename } from 'node:path';
import type { LogLine } from '../functions/tenants/log-lines.ts';
import type { VersionRow } from '../functions/tenants/version-rows.ts';
import { table, type Table } from './table.ts';
import { clockTime } from './units.ts';

/** The characters of a file's hash that are shown. */
const SHOWN_HASH = 12;

export function versionsTable(rows: readonly VersionRow[]): Table {
  return table<VersionRow>(
    [
      { name: 'number', type: 'int4', of: ({ record }) => record.number },
      { name: 'version', type: 'text', of: ({ record }) => record.hash },
      { name: 'state', type: 'text', of: ({ state }) => state },
      { name: 'pinned_by', type: 'text', of: ({ pinnedBy }) => pinnedBy },
      { name: 'rolled_back_by', type: 'text', of: ({ leftBy }) => leftBy },
      { name: 'loaded_at', type: 'text', of: ({ record }) => clockTime(record.timeMs) },
      { name: 'files', type: 'text', of: ({ record }) => filesOf(record) },
      { name: 'checked_with', type: 'text', of: ({ record }) => conditionsOf(record) },
    ],
    () => rows,
  );
}

export function logTable(lines: readonly LogLine[]): Table {
  return table<LogLine>(
    [
      { name: 'at', type: 'text', of: ({ atMs }) => clockTime(atMs) },
      { name: 'level', type: 'text', of: ({ level }) => level },
      { name: 'user', type: 'text', of: ({ user }) => user },
      { name: 'text', type: 'text', of: ({ text }) => text },
    ],
    () => lines,
  );
}

/** `routing_rules.ts=0123456789ab, helper.ts=…, and 3 of packages` */
function filesOf({ files, fileCount }: VersionRow['record']): string {
  const own = files.map(({ path, sha256 }) => `${basename(path)}=${sha256.slice(0, SHOWN_HASH)}`);
  const others = fileCount - files.length;
  return [...own, ...(others > 0 ? [`and ${others} more`] : [])].join(', ');
}

function conditionsOf({ checkedWith, isArtifact }: VersionRow['record']): string {
  const { program, node, isolation, timeoutMs, memoryLimitMb, maxResult } = checkedWith;
  const kind = isArtifact ? ' artifact' : '';
  return `pgswitchyard ${program} node ${node} ${isolation} timeout=${timeoutMs} memory_limit=${memoryLimitMb} max_result=${maxResult}${kind}`;
}
