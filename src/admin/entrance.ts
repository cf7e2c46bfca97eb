/** Admission to the console, and the welcome. */
import type { Config } from '../config/config.ts';
import type { Settings } from '../config/options.ts';
import { OPERATOR } from '../config/tenants.ts';
import { clientLimitReached } from '../pool/limits.ts';
import type { Client } from '../session/client.ts';
import { greet } from '../session/login/welcome.ts';
import type { Sessions } from '../session/sessions.ts';
import type { ClientError } from '../wire/errors.ts';
import { parameterStatus } from '../wire/messages.ts';
import { PGBOUNCER_VERSION } from './version.ts';

const GREETING: readonly Buffer[] = (
  [
    ['server_version', `${PGBOUNCER_VERSION}/bouncer`],
    ['client_encoding', 'UTF8'],
    ['server_encoding', 'UTF8'],
    ['DateStyle', 'ISO'],
    ['TimeZone', 'GMT'],
    ['standard_conforming_strings', 'on'],
    ['is_superuser', 'on'],
  ] as const
).map(([name, value]) => parameterStatus(name, value));

/** `admin`: every command; `watcher`: SHOW; `tenant`: the functions of the tenants that have the user in admin_users. */
export type Rights = 'admin' | 'watcher' | 'tenant';

/** Null: the client may not come in. */
export function rightsOf(client: Client, config: Config): Rights | null {
  if (client.login.isOwnProcess) return 'admin';
  // with auth_type = any no client has an identity, and all may look
  return rightsOfUser(client.user, config) ?? (config.settings.auth_type === 'any' ? 'watcher' : null);
}

/** The rights of a user whose identity is proven. Null: there are none. */
export function rightsOfUser(user: string, config: Config): Rights | null {
  const { admin_users: admins, stats_users: watchers } = config.settings;
  if (admins.includes(user)) return 'admin';
  if (watchers.includes(user)) return 'watcher';
  const configs = [config.tenantDefaults, ...config.tenants.values()];
  return configs.some(({ admin_users: own }) => own.includes(user)) ? 'tenant' : null;
}

/** Whether a user is an administrator of a tenant, by the tenant's name. */
export function isTenantAdmin(user: string, tenant: string, config: Config): boolean {
  if (tenant === OPERATOR) return false;
  return (config.tenants.get(tenant) ?? config.tenantDefaults).admin_users.includes(user);
}

/** The limits on clients apply to stats_users: an administrator is never refused. Null: there is room. */
export function limitReached(client: Client, sessions: Sessions, settings: Settings): ClientError | null {
  if (isAdmin(client, settings)) return null;
  const { onConsole, directory } = sessions;
  const database = { count: onConsole.size, limit: settings.max_db_client_connections };
  return clientLimitReached(directory.users.lookUp(client.user), database, settings);
}

function isAdmin(client: Client, { admin_users: admins }: Settings): boolean {
  return client.login.isOwnProcess || admins.includes(client.user);
}

/** Sends the messages that end a login. */
export function welcome(client: Client): void {
  greet(client, GREETING);
}
