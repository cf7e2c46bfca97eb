/** RELOAD, PAUSE and RESUME FUNCTIONS: one tenant's user functions, for operators and for the tenant's own administrators. */
import { printable } from '../telemetry/printable.ts';
import { notice, UsageError } from './answers.ts';
import { consoleErrors } from './errors.ts';
import type { FunctionsArguments, FunctionsStatement, FunctionsVerb } from './functions-grammar.ts';
import type { Operator } from './operator.ts';
import { commandComplete } from './result.ts';
import { canary, promote, shadow } from './rollout-commands.ts';

export async function functionsCommand(
  operator: Operator,
  statement: Extract<FunctionsStatement, { kind: 'functions' }>,
): Promise<Buffer> {
  const { verb, tenant } = statement;
  requireTenant(operator, tenant, operator.mayManage(tenant));
  const command = COMMANDS[verb];
  if (command === undefined) throw new UsageError();
  const words = `${verb.toUpperCase()} FUNCTIONS`;
  const { user } = operator.terminal;
  operator.log.info(
    { event: 'console_command', tenant, user },
    `${words} '${printable(tenant)}'${shown(statement.arguments)} command issued by ${printable(user)}`,
  );
  operator.steer.functions.administration.audit(tenant, user, `${words}${shown(statement.arguments)}`);
  const notices = await command(operator, tenant, statement.arguments);
  return Buffer.concat([...notices, commandComplete(words)]);
}

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
  const isThere = steer.functions.hasTenant(tenant);
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

/** Verbs without an entry are not available. */
const COMMANDS: Readonly<Partial<Record<FunctionsVerb, FunctionsCommand>>> = {
  reload,
  pause,
  resume,
  shadow,
  canary,
  promote,
};

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

/** @throws ClientError for an administrator of the tenant, where a rule of the operator's would be switched off with its own */
function pause(operator: Operator, tenant: string, given: FunctionsArguments): Buffer[] {
  const { isAdmin, steer } = operator;
  const { administration } = steer.functions;
  if (!isAdmin && administration.runsOperatorsFunctions(tenant)) throw consoleErrors.operatorsFunctions();
  // an operator's PAUSE stays an operator's
  if (!isAdmin && administration.pauseOf(tenant)?.by === 'operator') return [];
  administration.pause(tenant, { ...askedBy(operator), as: given.as ?? 'policy' });
  return [];
}

function resume({ steer, isAdmin }: Operator, tenant: string): Buffer[] {
  const { administration } = steer.functions;
  const pause = administration.pauseOf(tenant);
  if (pause === null) throw consoleErrors.tenantNotPaused(printable(tenant));
  if (pause.by === 'operator' && !isAdmin) throw consoleErrors.pausedByOperator();
  administration.resume(tenant);
  return [];
}

/** The user, and the role in which the statement is given. */
function askedBy({ isAdmin, terminal }: Operator): {
  readonly by: 'operator' | 'tenant';
  readonly user: string;
} {
  return { by: isAdmin ? 'operator' : 'tenant', user: terminal.user };
}
