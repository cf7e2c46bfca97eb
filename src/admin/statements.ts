/** Answers a statement of the console's language: SHOW, SET, a verb, or a command for clusters. */
import { isOptionName } from '../config/options.ts';
import { MASK, shownValue } from '../config/print.ts';
import { notice, UsageError } from './answers.ts';
import type { Command } from './command.ts';
import { consoleErrors } from './errors.ts';
import { auditTable } from './fleet-tables.ts';
import { functionsCommand, requireTenant } from './functions-commands.ts';
import type { TenantTable } from './functions-grammar.ts';
import { parseStatement, type Statement } from './grammar.ts';
import { HELP } from './help.ts';
import type { Operator } from './operator.ts';
import { reload, setOption, shutdown, takeOver } from './process-commands.ts';
import { commandComplete, dataRow, EMPTY_QUERY_RESPONSE, rowDescription } from './result.ts';
import { printable } from '../telemetry/printable.ts';
import type { ClientError } from '../wire/errors.ts';
import { sendTable } from './send-table.ts';
import { notifyTopology, switchOver } from './switchover-commands.ts';
import { TABLES, TENANT_TABLES } from './tables.ts';
import {
  disable,
  enable,
  kill,
  killClient,
  pause,
  reconnect,
  resume,
  suspend,
  waitClose,
} from './traffic-commands.ts';

/** Every verb but SHOW and SET, in lower case. */
const COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>([
  ['reload', reload],
  ['pause', pause],
  ['resume', resume],
  ['suspend', suspend],
  ['disable', disable],
  ['enable', enable],
  ['reconnect', reconnect],
  ['kill', kill],
  ['kill_client', killClient],
  ['wait_close', waitClose],
  ['shutdown', shutdown],
  ['takeover', takeOver],
]);

/** Settings that drivers look at or set when they connect, whether or not they are used. */
const FAKED: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF-8'],
  ['default_transaction_isolation', 'read committed'],
  ['standard_conforming_strings', 'on'],
  ['datestyle', 'ISO'],
  ['timezone', 'GMT'],
  ['extra_float_digits', '2'],
]);

/**
 * @returns the answer without ReadyForQuery; null: there will be no answer
 * @throws ClientError for the operator; UsageError: not a statement of the console's language
 */
export async function answerTo(operator: Operator, text: string): Promise<Buffer | null> {
  const statement = parseStatement(text);
  if (!changesSomething(statement)) return await carryOut(operator, statement);
  const end = operator.audit.begin(operator.terminal.author, {
    text: withoutSecrets(statement, text),
    tenant: statement.kind === 'functions' ? statement.tenant : null,
  });
  try {
    const answer = await carryOut(operator, statement);
    end('done');
    return answer;
  } catch (error) {
    end(error instanceof UsageError ? 'invalid command' : (error as Error).message);
    throw error;
  }
}

/** Whether a statement belongs into the audit log. */
function changesSomething(statement: Statement): boolean {
  switch (statement.kind) {
    case 'set':
      return !FAKED.has(statement.key.toLowerCase());
    case 'command':
      return COMMANDS.has(statement.verb);
    case 'notify topology':
    case 'switchover':
    case 'functions':
      return true;
    default:
      return false;
  }
}

function withoutSecrets(statement: Statement, text: string): string {
  if (statement.kind !== 'set') return text;
  const { key, value } = statement;
  // a misspelt option may be one with a secret
  if (!isOptionName(key)) return `SET ${key} = ${MASK}`;
  return `SET ${key} = ${shownValue({ section: 'pgbouncer', key, value })}`;
}

/** The error for a text that is no statement. It is logged, so the value of a SET, which may be a secret, is left out. */
export function invalidCommand(text: string): ClientError {
  return consoleErrors.invalidCommand(text.replace(/^(\s*set\s+[^\s=]+)[\s=][^]*$/i, '$1 …'));
}

/** @throws ClientError for the operator; UsageError */
async function carryOut(operator: Operator, statement: Statement): Promise<Buffer | null> {
  if (operator.isTenants && !isForTenants(statement)) throw consoleErrors.permissionDenied();
  switch (statement.kind) {
    case 'empty':
      return EMPTY_QUERY_RESPONSE;
    case 'unknown':
      throw new UsageError();
    case 'bad arguments':
      throw consoleErrors.badArguments();
    case 'set':
      if (FAKED.has(statement.key.toLowerCase()))
        return Buffer.concat([notice('SET ignored'), commandComplete('SET')]);
      return await setOption(operator, statement.key, statement.value);
    case 'notify topology':
      return notifyTopology(operator, statement.database);
    case 'switchover':
      return await switchOver(operator, statement);
    case 'functions':
      return await functionsCommand(operator, statement);
    case 'show tenant':
      return await showTenant(operator, statement.table, statement.tenant);
    case 'command': {
      const { verb, argument } = statement;
      // pgbouncer takes SELECT for SHOW, because some tools can't send anything else
      if (verb === 'show' || verb === 'select') return await show(operator, argument.toLowerCase());
      const command = COMMANDS.get(verb);
      if (command === undefined) throw new UsageError();
      return await command(operator, argument);
    }
  }
}

/** Whether a tenant's administrator may try a statement. The table and the tenant are checked later. */
function isForTenants(statement: Statement): boolean {
  switch (statement.kind) {
    case 'command':
      return statement.verb === 'show' || statement.verb === 'select';
    case 'set':
      return FAKED.has(statement.key.toLowerCase());
    case 'unknown':
    case 'notify topology':
    case 'switchover':
      return false;
    default:
      return true;
  }
}

async function show(operator: Operator, name: string): Promise<Buffer | null> {
  const faked = FAKED.get(name);
  if (faked !== undefined)
    return Buffer.concat([
      rowDescription([{ name, type: 'text' }]),
      dataRow([faked]),
      commandComplete('SHOW'),
    ]);
  if (name === 'help') return Buffer.concat([notice('Console usage', HELP), commandComplete('SHOW')]);
  if (name === 'fleet_audit') return await sendAudit(operator);
  const table = TABLES.get(name);
  if (table === undefined && operator.isTenants) throw consoleErrors.permissionDenied();
  if (table === undefined) throw new UsageError();
  if (table.isForAdmins) operator.requireAdmin();
  if (operator.isTenants && !table.isForTenants) throw consoleErrors.permissionDenied();
  return await sendTable(operator, table);
}

/** SHOW FLEET_AUDIT, which asks the store of the fleet. */
async function sendAudit(operator: Operator): Promise<Buffer | null> {
  operator.requireAdmin();
  try {
    return await sendTable(operator, auditTable(await operator.steer.fleet.auditLines()));
  } catch (error) {
    throw consoleErrors.noFleetStore(printable((error as Error).message));
  }
}

/** A SHOW command that names a tenant. */
async function showTenant(operator: Operator, name: TenantTable, tenant: string): Promise<Buffer | null> {
  requireTenant(operator, tenant, operator.sees(tenant));
  const table = TENANT_TABLES.get(name);
  if (table === undefined) throw new UsageError();
  return await sendTable(operator, await table(operator.steer, tenant));
}
