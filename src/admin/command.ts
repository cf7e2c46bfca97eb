/** The form of the console's commands, and their common helpers. */
import type { Database } from '../pool/database.ts';
import { ADMIN_DATABASE } from '../session/state/names.ts';
import { consoleErrors } from './errors.ts';
import type { Operator } from './operator.ts';

/**
 * One of the console's verbs. It returns the answer without ReadyForQuery; null: there will be no answer.
 * @param argument as it was written; '': none
 * @throws ClientError for the operator, or UsageError
 */
export type Command = (operator: Operator, argument: string) => Buffer | null | Promise<Buffer | null>;

export function logCommand({ log, terminal }: Operator, verb: string, argument: string): void {
  const target = argument === '' ? '' : ` '${argument}'`;
  log.info({ event: 'console_command', user: terminal.user }, `${verb}${target} command issued`);
}

/** The database that a command names; '': null, for all of them. @throws ClientError */
export function databaseOrAll(operator: Operator, name: string, action: string): Database | null {
  return name === '' ? null : databaseFor(operator, name, action);
}

/** The database that a command names, created if only the `*` entry matches. @throws ClientError */
export function databaseFor({ steer }: Operator, name: string, action: string): Database {
  if (name === ADMIN_DATABASE) throw consoleErrors.adminDatabase(action, name);
  const database = steer.database(name);
  if (database === null) throw consoleErrors.noSuchDatabase(name);
  return database;
}
