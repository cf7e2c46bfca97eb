/** Snapshots of the clusters: their nodes, and the last switchovers. */
import type {
  NodeSnapshot,
  ObserveSwitchovers,
  SwitchoverSnapshot,
  SwitchoverTallySnapshot,
} from '../telemetry/snapshots/switchovers.ts';
import type { ClusterController } from './controller.ts';
import { remedy } from './following.ts';
import type { Node } from './node.ts';
import { stateOf } from './readers.ts';
import type { Switchovers } from './switchovers.ts';

export class SwitchoversObserver implements ObserveSwitchovers {
  readonly #switchovers: Switchovers;

  constructor(switchovers: Switchovers) {
    this.#switchovers = switchovers;
  }

  nodes(): NodeSnapshot[] {
    const now = performance.now();
    return [...this.#switchovers.controllers.values()].flatMap((controller) =>
      [...controller.nodes].map((node) => nodeSnapshot(controller, node, now)),
    );
  }

  switchovers(): SwitchoverSnapshot[] {
    return this.#switchovers.history.entries.map((entry) => ({
      database: entry.database,
      detectedAtMs: entry.at.getTime(),
      from: entry.from,
      to: entry.to,
      detectedBy: entry.detectedBy,
      detectionMs: entry.detectionMs,
      writerFoundMs: entry.writerFoundMs,
      resumedMs: entry.resumedMs,
      clientsHeld: entry.clientsHeld,
      transactionsBroken: entry.transactionsBroken,
    }));
  }

  tallies(): SwitchoverTallySnapshot[] {
    return this.#switchovers.history.tallies.map(({ database, how, gaps }) => ({
      database,
      outcome: how.replace(' ', '_'),
      gaps: gaps.observe(),
    }));
  }
}

function nodeSnapshot(controller: ClusterController, node: Node, now: number): NodeSnapshot {
  const { writer, lag } = controller;
  const isServingWriter = node === writer && node.failure === '' && node.role !== 'unknown';
  return {
    database: controller.database.name,
    name: node.key,
    host: node.target.host,
    port: node.target.port,
    // a writer that was replaced still reports itself as the writer
    role: node.isFenced ? 'unknown' : node.role,
    state: isServingWriter ? controller.state : stateOf(node, writer, now),
    timeline: node.evidence?.timeline ?? null,
    lagBytes: lag.bytes(node),
    lagSeconds: lag.seconds(node, now),
    sinceProbeMs: node.lastProbe === 0 ? null : now - node.lastProbe,
    sinceChangeMs: now - node.lastChange,
    label: node.label,
    problem: node.failure || controller.fences.problem(node) || followingProblem(node, writer),
  };
}

function followingProblem({ following }: Node, writer: Node | null): string {
  return following.isOrphaned && writer !== null ? `${following.why}. ${remedy(writer)}` : following.why;
}
