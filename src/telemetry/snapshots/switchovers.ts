/**
 * Snapshots of clusters, their nodes and their switchovers.
 * Plain data, with units in the names (docs/architecture.md).
 */
import type { HistogramSnapshot } from '../histogram.ts';

/** A server of a watched cluster (topology_query). */
export interface NodeSnapshot {
  readonly database: string;
  /** `host:port` */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly role: 'unknown' | 'writer' | 'reader';
  readonly state: string;
  /** null: unknown; the same for the fields below */
  readonly timeline: number | null;
  readonly lagBytes: number | null;
  readonly lagSeconds: number | null;
  /** ms since the last answer to a probe */
  readonly sinceProbeMs: number | null;
  /** ms since its role or state changed */
  readonly sinceChangeMs: number;
  /** role and status of the topology query */
  readonly label: string;
  /** its problem; '': none */
  readonly problem: string;
}

/** A switchover or an alarm. Durations count from its detection; null: not yet. */
export interface SwitchoverSnapshot {
  readonly database: string;
  readonly detectedAtMs: number;
  readonly from: string;
  /** the same node: a false alarm or a restart; '': not over yet */
  readonly to: string;
  readonly detectedBy: string;
  /** from the last sign of life of the old writer */
  readonly detectionMs: number;
  readonly writerFoundMs: number | null;
  readonly resumedMs: number | null;
  readonly clientsHeld: number;
  readonly transactionsBroken: number;
}

/** All switchovers and alarms of a database that ended in one way. */
export interface SwitchoverTallySnapshot {
  readonly database: string;
  /** `moved`: another node; `returned`: the old one, which was gone; `given_up`: a SWITCHOVER; `false_alarm` */
  readonly outcome: string;
  /** from the detection until clients went on */
  readonly gaps: HistogramSnapshot;
}

export interface ObserveSwitchovers {
  /** Each node of each cluster. */
  nodes(): NodeSnapshot[];
  /** The last switchovers of all databases, the oldest first. */
  switchovers(): SwitchoverSnapshot[];
  /** Of all switchovers since the start. */
  tallies(): SwitchoverTallySnapshot[];
}
