/** SHOW TOPOLOGY and SWITCHOVERS: the nodes of the clusters, and the moves of the writer. */
import { timestamp } from '../telemetry/log.ts';
import type { NodeSnapshot, SwitchoverSnapshot } from '../telemetry/snapshots/switchovers.ts';
import { table } from './table.ts';

export const TOPOLOGY = table<NodeSnapshot>(
  [
    { name: 'database', type: 'text', of: (row) => row.database },
    { name: 'node', type: 'text', of: (row) => row.name },
    { name: 'host', type: 'text', of: (row) => row.host },
    { name: 'port', type: 'int4', of: (row) => row.port },
    { name: 'role', type: 'text', of: (row) => row.role },
    { name: 'state', type: 'text', of: (row) => row.state },
    { name: 'timeline', type: 'int8', of: (row) => row.timeline },
    { name: 'lag_bytes', type: 'int8', of: (row) => row.lagBytes },
    { name: 'lag_seconds', type: 'numeric', of: (row) => row.lagSeconds },
    { name: 'last_probe_ms', type: 'int8', of: (row) => wholeOrNull(row.sinceProbeMs) },
    { name: 'last_change_ms', type: 'int8', of: (row) => Math.round(row.sinceChangeMs) },
    { name: 'label', type: 'text', of: (row) => row.label },
    { name: 'error', type: 'text', of: (row) => row.problem },
  ],
  ({ switchovers }) => switchovers.nodes(),
);

export const SWITCHOVERS = table<SwitchoverSnapshot>(
  [
    { name: 'database', type: 'text', of: (row) => row.database },
    { name: 'at', type: 'text', of: (row) => timestamp(row.detectedAtMs) },
    { name: 'from', type: 'text', of: (row) => row.from },
    { name: 'to', type: 'text', of: (row) => row.to },
    { name: 'detected_by', type: 'text', of: (row) => row.detectedBy },
    { name: 'detection_ms', type: 'numeric', of: (row) => tenthsOrNull(row.detectionMs) },
    { name: 'writer_found_ms', type: 'numeric', of: (row) => tenthsOrNull(row.writerFoundMs) },
    { name: 'resumed_ms', type: 'numeric', of: (row) => tenthsOrNull(row.resumedMs) },
    { name: 'clients_held', type: 'int4', of: (row) => row.clientsHeld },
    { name: 'transactions_broken', type: 'int4', of: (row) => row.transactionsBroken },
  ],
  ({ switchovers }) => switchovers.switchovers(),
);

function wholeOrNull(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms);
}

function tenthsOrNull(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 10) / 10;
}
