/** RELOAD, PAUSE and RESUME FUNCTIONS: one tenant's user functions, for operators and for the tenant's own administrators. */
import { printable } from '../telemetry/printable.ts';
import { notice } from './answers.ts';
import { consoleErrors } from './errors.ts';
import type { FunctionsVerb } from './grammar.ts';
import type { Operator } from './operator.ts';
import { commandComplete } from './result.ts';

/** @param tenant its name, which may be of a tenant that does not exist */
export async function functionsCommand(
  operator: Operator,
  verb: FunctionsVerb,
  tenant: string,
): Promise<Buffer> {
  const { steer } = operator;
  const isThere = steer.functions.hasTenant(tenant);
  // for a tenant's administrator, another tenant and a name without a tenant must look the same
  if (!operator.mayManage(tenant) || (!isThere && !operator.isAdmin))
    throw operator.isTenants ? consoleErrors.permissionDenied() : consoleErrors.adminNeeded();
  if (!isThere) throw consoleErrors.noSuchTenant(printable(tenant));
  const words = `${verb.toUpperCase()} FUNCTIONS`;
  operator.log.info(
    { event: 'console_command', tenant, user: operator.client.user },
    `${words} '${printable(tenant)}' command issued by ${printable(operator.client.user)}`,
  );
  const notices = await COMMANDS[verb](operator, tenant);
  return Buffer.concat([...notices, commandComplete(words)]);
}

type FunctionsCommand = (operator: Operator, tenant: string) => Buffer[] | Promise<Buffer[]>;

const COMMANDS: Readonly<Record<FunctionsVerb, FunctionsCommand>> = { reload, pause, resume };

/** Only an operator is served at once, whatever the tenant's functions have done. @returns a notice for what could not be loaded */
async function reload({ steer, observe, isAdmin }: Operator, tenant: string): Promise<Buffer[]> {
  await steer.functions.reloadTenant(tenant, isAdmin);
  return observe.functions
    .observe()
    .tenants.filter(
      ({ owner, state, lastError }) => owner === tenant && state !== 'serving' && lastError !== '',
    )
    .map(({ state, lastError }) => notice(`state of the functions: ${state}`, lastError));
}

function pause({ steer, isAdmin }: Operator, tenant: string): Buffer[] {
  if (!isAdmin && steer.functions.runsOperatorsFunctions(tenant)) throw consoleErrors.operatorsFunctions();
  // an operator's PAUSE stays an operator's
  if (isAdmin || steer.functions.pausedBy(tenant) === null)
    steer.functions.pauseTenant(tenant, isAdmin ? 'operator' : 'tenant');
  return [];
}

function resume({ steer, isAdmin }: Operator, tenant: string): Buffer[] {
  const pausedBy = steer.functions.pausedBy(tenant);
  if (pausedBy === null) throw consoleErrors.tenantNotPaused(printable(tenant));
  if (pausedBy === 'operator' && !isAdmin) throw consoleErrors.pausedByOperator();
  steer.functions.resumeTenant(tenant);
  return [];
}
