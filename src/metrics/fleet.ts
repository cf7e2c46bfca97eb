/** Metrics about the fleet and its store. */
import type { Observe } from '../admin/observe.ts';
import { fixed, OTHER, type ValueFamily } from './family.ts';

/** A proxy of another version may have others, and a damaged row any. */
const STATES: ReadonlySet<string> = new Set([
  'starting',
  'serving',
  'paused',
  'suspended',
  'leaving',
  'draining',
  'stopped',
  'handed over',
  'away',
  'ended',
]);

/** Empty: the proxy has no fleet. */
export function fleetFamilies({ fleet }: Observe): ValueFamily[] {
  const { store, sinceContactMs, proxies, waitingAuditLines, lostAuditLines, refusedRows } = fleet.observe();
  if (store === 'off') return [];
  const states = Map.groupBy(proxies, ({ state }) => (STATES.has(state) ? state : OTHER));
  return [
    fixed('gauge', 'fleet_store_up', '1 while the store of the fleet answers', Number(store === 'up')),
    fixed(
      'gauge',
      'fleet_store_last_contact_seconds',
      'Time since the store of the fleet has last answered',
      sinceContactMs === null ? NaN : sinceContactMs / 1000,
    ),
    fixed(
      'gauge',
      'fleet_proxies',
      'Proxies of the fleet by state; only this one while the store is away',
      [...states].map(([state, { length }]) => [{ state }, length]),
    ),
    fixed(
      'gauge',
      'fleet_audit_lines_waiting',
      'Lines of the audit log that wait for the store',
      waitingAuditLines,
    ),
    fixed(
      'counter',
      'fleet_audit_lines_lost_total',
      'Lines of the audit log that were dropped because too many waited',
      lostAuditLines,
    ),
    fixed(
      'counter',
      'fleet_rows_refused_total',
      'Complaints about damaged rows in the store, each counted once',
      refusedRows,
    ),
  ];
}
