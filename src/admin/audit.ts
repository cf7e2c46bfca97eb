/** What operators do is written to the audit log of the fleet. */
import type { Operator } from './operator.ts';

/** @param tenant the tenant that the command is about; null: none */
export function audit({ steer, terminal }: Operator, action: string, tenant: string | null = null): void {
  steer.fleet.audit({ user: terminal.user, source: terminal.source, tenant, action });
}
