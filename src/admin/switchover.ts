import { isSameServer, type Node } from '../switchover/node.ts';
import type { ClusterController } from '../switchover/controller.ts';
import { switchTo } from '../switchover/planned.ts';
import { lagBytes } from '../switchover/readers.ts';
import { timestamp } from '../telemetry/log.ts';
import type { AdminActions } from './actions.ts';
import { commandError, type Operator } from './operator.ts';
import { commandComplete, type Column, type Value } from './result.ts';

/** What the console shows and does of clusters. */

export const TOPOLOGY_COLUMNS: readonly Column[] = [
  ['database', 'text'],
  ['node', 'text'],
  ['host', 'text'],
  ['port', 'int4'],
  ['role', 'text'],
  ['state', 'text'],
  ['timeline', 'int8'],
  ['lag_bytes', 'int8'],
  ['lag_seconds', 'numeric'],
  ['last_probe_ms', 'int8'],
  ['last_change_ms', 'int8'],
  ['label', 'text'],
  ['error', 'text'],
];

export const SWITCHOVER_COLUMNS: readonly Column[] = [
  ['database', 'text'],
  ['at', 'text'],
  ['from', 'text'],
  ['to', 'text'],
  ['detected_by', 'text'],
  ['detection_ms', 'numeric'],
  ['writer_found_ms', 'numeric'],
  ['resumed_ms', 'numeric'],
  ['clients_held', 'int4'],
  ['transactions_broken', 'int4'],
];

export function topologyRows({ switchovers }: AdminActions): Value[][] {
  return [...switchovers.controllers.values()].flatMap((controller) =>
    [...controller.nodes].map((node) => topologyRow(controller, node)),
  );
}

function topologyRow(controller: ClusterController, node: Node): Value[] {
  const now = performance.now();
  const { writer } = controller;
  const { evidence } = node;
  return [
    controller.database.name,
    node.database.name,
    node.target.host,
    node.target.port,
    node.role,
    stateOf(controller, node, now),
    evidence?.timeline ?? null,
    lagBytes(node, writer),
    evidence?.lagSeconds ?? null,
    node.lastProbe === 0 ? null : Math.round(now - node.lastProbe),
    Math.round(now - node.lastChange),
    node.label,
    node.failure,
  ];
}

function stateOf(controller: ClusterController, node: Node, now: number): string {
  const { writer } = controller;
  if (node.failure !== '') return 'failed';
  if (node.role === 'unknown') return 'asked';
  if (node === writer) return controller.state;
  if (node.isFenced) return 'fenced';
  if (writer !== null && node.role === 'writer' && isSameServer(node, writer)) return 'alias';
  return node.readerFrom > now ? 'recovering' : 'ready';
}

export function switchoverRows({ switchovers }: AdminActions): Value[][] {
  return switchovers.history.entries.map((entry) => [
    entry.database,
    timestamp(entry.at.getTime()),
    entry.from,
    entry.to,
    entry.detectedBy,
    rounded(entry.detectionMs),
    rounded(entry.writerFoundMs),
    rounded(entry.resumedMs),
    entry.clientsHeld,
    entry.transactionsBroken,
  ]);
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms * 10) / 10;
}

function controllerOf({ actions }: Operator, name: string): ClusterController {
  const controller = actions.switchovers.controllers.get(name);
  if (controller === undefined) throw commandError(`no such database with a topology_query: ${name}`);
  return controller;
}

/** NOTIFY TOPOLOGY [db]: somebody knows that something has changed, and everything is looked at now. */
export function notifyTopology(operator: Operator, name: string): Buffer {
  operator.requireAdmin();
  const { controllers } = operator.actions.switchovers;
  const chosen = name === '' ? [...controllers.values()] : [controllerOf(operator, name)];
  for (const controller of chosen) controller.notify();
  return commandComplete('NOTIFY');
}

/** SWITCHOVER db TO node: answered when the node is the writer. */
export async function switchOver(operator: Operator, name: string, node: string): Promise<Buffer> {
  operator.requireAdmin();
  const controller = controllerOf(operator, name);
  operator.actions.log.info({ event: 'console_command' }, `SWITCHOVER '${name}' TO '${node}' command issued`);
  const { registry, switchovers } = operator.actions;
  const end = new AbortController();
  let failure: Error | null = null;
  const done = switchTo(
    controller,
    node,
    switchovers.controllers.values(),
    registry.config.settings,
    end.signal,
  ).catch((error: unknown) => {
    failure = error as Error;
    operator.actions.log.warn(
      { database: name },
      `SWITCHOVER '${name}' TO '${node}' failed: ${failure.message}`,
    );
  });
  const { onLeft } = operator.client;
  operator.client.onLeft = () => {
    end.abort(new Error('the administrator has left'));
    onLeft?.();
  };
  try {
    await operator.waitFor(done, () => end.abort(new Error('it was canceled')));
  } catch (error) {
    // a promotion that was asked for goes on
    if (failure !== null) throw error;
  } finally {
    operator.client.onLeft = onLeft;
  }
  if (failure !== null) throw commandError(`switchover failed: ${(failure as Error).message}`);
  return commandComplete('SWITCHOVER');
}
