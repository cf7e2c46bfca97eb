/** NOTIFY TOPOLOGY and SWITCHOVER: the console's commands for clusters. */
import type { ClusterController } from '../switchover/controller.ts';
import { PlannedSwitchover } from '../switchover/planned/planned.ts';
import { takenBack } from '../switchover/planned/take-back.ts';
import { notice } from './answers.ts';
import { consoleErrors } from './errors.ts';
import type { Operator } from './operator.ts';
import { commandComplete } from './result.ts';

function controllerOf({ steer }: Operator, name: string): ClusterController {
  const controller = steer.clusters.get(name);
  if (controller === undefined) throw consoleErrors.noSuchCluster(name);
  return controller;
}

/** NOTIFY TOPOLOGY [db]: the operator knows that a cluster has changed, so all of its nodes are probed now. */
export function notifyTopology(operator: Operator, name: string): Buffer {
  operator.requireAdmin();
  const { clusters } = operator.steer;
  const chosen = name === '' ? [...clusters.values()] : [controllerOf(operator, name)];
  for (const controller of chosen) controller.notify();
  return commandComplete('NOTIFY');
}

/**
 * SWITCHOVER db TO node [WAIT n]: answered when the node is the writer, with a notice for each remaining manual step. With the
 * old writer as its target, it takes back a switchover that can't be finished.
 */
export async function switchOver(
  operator: Operator,
  { database, node: name, wait }: { database: string; node: string; wait: number },
): Promise<Buffer> {
  operator.requireAdmin();
  const controller = controllerOf(operator, database);
  const { log, observe, steer } = operator;
  log.info({ event: 'console_command', database }, `SWITCHOVER '${database}' TO '${name}' command issued`);
  let switchover: PlannedSwitchover;
  try {
    if (await takenBack(controller, name, steer.clusters.values())) return commandComplete('SWITCHOVER');
    switchover = new PlannedSwitchover({
      cluster: controller,
      name,
      all: steer.clusters.values(),
      settings: observe.config.settings,
      waitMs: wait * 1000,
      log: (level, message) =>
        log[level]({ database, event: 'switchover' }, `switchover ${database}: ${message}`),
    });
  } catch (error) {
    throw consoleErrors.switchoverFailed((error as Error).message);
  }
  const left = await runFor(operator, switchover, (message) =>
    log.warn({ database }, `SWITCHOVER '${database}' TO '${name}' failed: ${message}`),
  );
  return Buffer.concat([...left.map((line) => notice(line)), commandComplete('SWITCHOVER')]);
}

/**
 * Runs a switchover for an operator, who may cancel it or leave: either ends it until a promotion has been requested.
 * @returns the remaining manual steps
 * @throws ClientError
 */
async function runFor(
  operator: Operator,
  switchover: PlannedSwitchover,
  onFailure: (message: string) => void,
): Promise<string[]> {
  const { terminal } = operator;
  const onLeft = terminal.onLeft(() => {
    switchover.cancel('the administrator has left');
    onLeft?.();
  });
  let left: string[] = [];
  let failure: Error | null = null;
  const done = switchover.run().then(
    (lines) => {
      left = lines;
    },
    (error: unknown) => {
      failure = error as Error;
      onFailure(failure.message);
    },
  );
  try {
    await operator.waitFor(done, () => void switchover.cancel('it was canceled'));
  } catch (error) {
    // canceled too late: a requested promotion continues
    if (failure !== null) throw error;
  } finally {
    terminal.onLeft(onLeft);
  }
  if (failure !== null) throw consoleErrors.switchoverFailed((failure as Error).message);
  return left;
}
