/** SHADOW, CANARY and PROMOTE FUNCTIONS: what is done with the candidate of a tenant's functions. */
import { dirname, resolve } from 'node:path';
import { RolloutError, type AskedBy, type Rollout } from '../functions/functions.ts';
import { printable } from '../telemetry/printable.ts';
import { notice } from './answers.ts';
import { consoleErrors } from './errors.ts';
import type { FunctionsArguments } from './functions-grammar.ts';
import type { Operator } from './operator.ts';

/** SHADOW FUNCTIONS tenant [FROM 'folder' | OFF]. */
export async function shadow(
  operator: Operator,
  tenant: string,
  { from, isOff }: FunctionsArguments,
): Promise<Buffer[]> {
  requireOwn(operator, tenant);
  if (isOff) return await carryOut(operator, tenant, (rollout) => rollout.shadowOff());
  if (from === undefined) return await carryOut(operator, tenant, (rollout) => rollout.shadowNext());
  const folder = resolve(dirname(operator.observe.config.file), from);
  // what a file there holds may be shown in errors
  if (!operator.isAdmin && !operator.steer.functions.administration.isInFolderOf(tenant, folder))
    throw consoleErrors.permissionDenied();
  return await carryOut(operator, tenant, (rollout) => rollout.shadowFrom(folder));
}

/** CANARY FUNCTIONS tenant n% [PROMOTE], CANARY FUNCTIONS tenant OFF. */
export async function canary(
  operator: Operator,
  tenant: string,
  { percent = 0, promotes, isOff }: FunctionsArguments,
): Promise<Buffer[]> {
  requireOwn(operator, tenant);
  const asked = askedBy(operator);
  if (isOff || percent === 0)
    return await carryOut(operator, tenant, (rollout) => {
      if (!rollout.hasCanary) throw new RolloutError('no canary is running');
      rollout.endCanary(`ended by ${printable(asked.user)}`);
    });
  if (percent >= 100) throw consoleErrors.candidateUnusable('to give it to all clients, PROMOTE it');
  return await carryOut(operator, tenant, (rollout) =>
    rollout.beginCanary(percent, promotes === true, asked),
  );
}

/** PROMOTE FUNCTIONS tenant. */
export async function promote(operator: Operator, tenant: string): Promise<Buffer[]> {
  requireOwnVersions(operator, tenant);
  return await carryOut(operator, tenant, (rollout) => rollout.promote(askedBy(operator)));
}

/** @throws ClientError: an administrator must not change which functions of the operator's run */
function requireOwn({ isAdmin, steer }: Operator, tenant: string): void {
  if (!isAdmin && steer.functions.administration.runsOperatorsFunctions(tenant))
    throw consoleErrors.operatorsFunctions();
}

/** @throws ClientError: the same, and an administrator must not undo what an operator has chosen */
export function requireOwnVersions(operator: Operator, tenant: string): void {
  requireOwn(operator, tenant);
  const pins = operator.steer.functions.administration.pinsOf(tenant);
  if (!operator.isAdmin && pins.some(({ by }) => by === 'operator')) throw consoleErrors.pinnedByOperator();
}

/** The user, and the role in which the statement is given. */
export function askedBy({ isAdmin, terminal }: Operator): AskedBy {
  return { by: isAdmin ? 'operator' : 'tenant', user: terminal.user };
}

/**
 * Does something with each of a tenant's sets of functions. Usually there is one.
 * @returns notices about those for which it is not possible
 * @throws ClientError: it is possible for none
 */
async function carryOut(
  { steer }: Operator,
  tenant: string,
  work: (rollout: Rollout) => void | Promise<void>,
): Promise<Buffer[]> {
  const complaints: string[] = [];
  const rollouts = steer.functions.administration.rolloutsOf(tenant);
  if (rollouts.length === 0) throw consoleErrors.candidateUnusable('the tenant has no functions');
  for (const rollout of rollouts) {
    try {
      await work(rollout);
    } catch (error) {
      if (!(error instanceof RolloutError)) throw error;
      complaints.push(error.message);
    }
  }
  if (complaints.length === rollouts.length) throw consoleErrors.candidateUnusable(complaints[0]!);
  return complaints.map((complaint) => notice(complaint));
}
