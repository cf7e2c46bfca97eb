/** The log lines about tenants that come, go, or are not used. */
import { printable } from '../build/places.ts';
import { IDLE } from '../limits.ts';
import type { FunctionLog } from './journal.ts';

/** A tenant, as far as log lines name it. */
interface Named {
  /** the folder of its files */
  readonly name: string;
}

/** @param graceMs how long the functions in the file stay active at least */
export function logGone(log: FunctionLog, file: string, graceMs: number): void {
  log.warn(
    { event: 'rules_gone' },
    `user functions: ${printable(file)} is gone since the last start: what it held stays active for ${graceMs / 1000} s, unless the file comes back or RELOAD confirms its removal`,
  );
}

export function logConfirmed(log: FunctionLog, file: string): void {
  log.info({ event: 'rules_removal' }, `removal of ${printable(file)} confirmed by RELOAD`);
}

export function logUnloaded(log: FunctionLog, tenants: readonly Named[], idleMs: number): void {
  const names = tenants.slice(0, IDLE.maxNamed).map(({ name }) => printable(name));
  const more = tenants.length > names.length ? ` and ${tenants.length - names.length} more` : '';
  log.info(
    { event: 'rules_unloaded', tenants: tenants.length },
    `user functions unloaded after ${idleMs / 1000} s without calls: ${names.join(', ')}${more}`,
  );
}

export function logRemoved(log: FunctionLog, { name }: Named): void {
  log.info({ event: 'rules_removed', tenant: name }, `user functions of ${name} removed`);
}

/** A tenant that has an entry of [tenants] may have lost its functions by mistake. */
export function logWithoutFunctions(log: FunctionLog, owner: string): void {
  log.warn(
    { event: 'tenant_without_functions', tenant: printable(owner) },
    `the tenant ${printable(owner)} has no functions any more: its databases are judged by the operator's, if there are any`,
  );
}

/** What is known of the fleet's values can't be kept for the next start. */
export function logNotKept(log: FunctionLog, { message }: Error): void {
  log.warn(
    { event: 'fleet_not_kept' },
    `what the fleet has decided about user functions can't be kept: ${printable(message)}; a start without the fleet's store will not know it`,
  );
}
