/**
 * RELOAD, PAUSE, RESUME and ROLLBACK FUNCTIONS: one tenant's user functions, for operators and for the tenant's own
 * administrators.
 */
import { RollbackError } from '../functions/functions.ts';
import { printable } from '../telemetry/printable.ts';
import { notice } from './answers.ts';
import { consoleErrors } from './errors.ts';
import type { FunctionsArguments, FunctionsStatement, FunctionsVerb } from './functions-grammar.ts';
import type { Operator } from './operator.ts';
import { commandComplete } from './result.ts';
import { askedBy, canary, promote, requireOwnVersions, shadow } from './rollout-commands.ts';

export async function functionsCommand(
  operator: Operator,
  statement: Extract<FunctionsStatement, { kind: 'functions' }>,
): Promise<Buffer> {
  const { verb, tenant } = statement;
  requireTenant(operator, tenant, operator.mayManage(tenant));
  const command = COMMANDS[verb];
  const words = `${verb.toUpperCase()} FUNCTIONS`;
  const { user } = operator.terminal;
  operator.log.info(
    { event: 'console_command', tenant, user },
    `${words} '${printable(tenant)}'${shown(statement.arguments)} command issued by ${printable(user)}`,
  );
  const { administration } = operator.steer.functions;
  administration.audit(tenant, user, `${words}${shown(statement.arguments)}`);
  try {
    const notices = await command(operator, tenant, statement.arguments);
    const isShared = await administration.share(tenant);
    const rest = isShared ? [] : [notice(NOT_SHARED)];
    if (operator.steer.lifecycle.isHandedOver && verb !== 'reload') rest.push(notice(HANDED_OVER));
    return Buffer.concat([...notices, ...rest, commandComplete(words)]);
  } catch (error) {
    const outcome = `${words} was not carried out: ${printable((error as Error).message)}`;
    administration.audit(tenant, user, outcome);
    throw error;
  }
}

/** The answer to a command that the rest of the fleet does not know of. */
const NOT_SHARED =
  "this holds for this proxy alone: the fleet's store can't be reached; the other proxies get it when it is back, unless somebody has decided otherwise there";

/** The answer to a command that the process which has taken over does not know of. */
const HANDED_OVER =
  'this holds for the clients of this process alone, which has been replaced: connect again, and give the command to the new process as well';

/** The arguments of a statement, for the log. */
function shown({ as, to, from, isOff, percent, promotes }: FunctionsArguments): string {
  const words = [
    as?.toUpperCase(),
    to === undefined ? undefined : `TO ${to}`,
    from === undefined ? undefined : `FROM '${printable(from)}'`,
    isOff ? 'OFF' : undefined,
    percent === undefined ? undefined : `${percent}%`,
    promotes ? 'PROMOTE' : undefined,
  ];
  return words
    .filter((word) => word !== undefined)
    .map((word) => ` ${word}`)
    .join('');
}

/**
 * @param tenant a name, which may be of a tenant that does not exist
 * @param isAllowed the operator has the right to what the statement asks for
 * @throws ClientError
 */
export function requireTenant({ steer, isTenants }: Operator, tenant: string, isAllowed: boolean): void {
  const isThere = steer.functions.administration.hasTenant(tenant);
  // for a tenant's administrator, another tenant and a name without a tenant must look the same
  if (!isAllowed || (!isThere && isTenants))
    throw isTenants ? consoleErrors.permissionDenied() : consoleErrors.adminNeeded();
  if (!isThere) throw consoleErrors.noSuchTenant(printable(tenant));
}

type FunctionsCommand = (
  operator: Operator,
  tenant: string,
  given: FunctionsArguments,
) => Buffer[] | Promise<Buffer[]>;

const COMMANDS: Readonly<Record<FunctionsVerb, FunctionsCommand>> = {
  reload,
  pause,
  resume,
  shadow,
  canary,
  promote,
  rollback,
};

/**
 * Only an operator is served at once, whatever the tenant's functions have done. @returns a notice for what could not be
 * loaded
 */
async function reload({ steer, observe, isAdmin }: Operator, tenant: string): Promise<Buffer[]> {
  await steer.functions.administration.reload(tenant, isAdmin);
  return observe.functions
    .observe()
    .tenants.filter(
      ({ owner, state, lastError }) => owner === tenant && state !== 'serving' && lastError !== '',
    )
    .map(({ state, lastError }) => notice(`state of the functions: ${state}`, lastError));
}

/** @throws ClientError for an administrator of the tenant, where a rule of the operator's would be switched off with its own */
function pause(operator: Operator, tenant: string, given: FunctionsArguments): Buffer[] {
  const { isAdmin, steer } = operator;
  const { administration } = steer.functions;
  if (!isAdmin && administration.runsOperatorsFunctions(tenant)) throw consoleErrors.operatorsFunctions();
  // an operator's PAUSE stays an operator's
  if (!isAdmin && administration.pauseOf(tenant)?.by === 'operator')
    return [notice('an operator has paused these functions, and that PAUSE stays as it is')];
  administration.pause(tenant, { ...askedBy(operator), as: given.as ?? 'policy' });
  return [];
}

/** Ends a PAUSE, and lets the files decide again which version serves. What an operator has done only an operator undoes. */
async function resume(operator: Operator, tenant: string): Promise<Buffer[]> {
  const { steer, isAdmin } = operator;
  const { administration } = steer.functions;
  const pause = administration.pauseOf(tenant);
  const pins = administration.pinsOf(tenant);
  if (pause === null && pins.length === 0) throw consoleErrors.tenantNotPaused(printable(tenant));
  const mayResume = pause !== null && (isAdmin || pause.by === 'tenant');
  const mayUnpin = pins.length > 0 && (isAdmin || pins.every(({ by }) => by === 'tenant'));
  if (!mayResume && !mayUnpin)
    throw pause === null ? consoleErrors.pinnedByOperator() : consoleErrors.pausedByOperator();
  if (mayResume) administration.resume(tenant, operator.terminal.user);
  if (!mayUnpin) return [];
  await administration.unpin(tenant, askedBy(operator));
  return await reload(operator, tenant);
}

/** ROLLBACK FUNCTIONS tenant [TO n]. @returns a notice with the version that serves now */
async function rollback(operator: Operator, tenant: string, { to }: FunctionsArguments): Promise<Buffer[]> {
  requireOwnVersions(operator, tenant);
  const { administration } = operator.steer.functions;
  try {
    const number = await administration.rollBack(tenant, to ?? null, askedBy(operator));
    return [notice(`version ${number} serves until RESUME FUNCTIONS`)];
  } catch (error) {
    if (error instanceof RollbackError) throw consoleErrors.cannotGoBack(printable(error.message));
    throw error;
  }
}
