/** Admission to the console, and the welcome. */
import type { Settings } from '../config/options.ts';
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

/** True: every command; false: SHOW only; null: the client may not come in. */
export function rightsOf(client: Client, settings: Settings): boolean | null {
  const { stats_users: watchers, auth_type: method } = settings;
  if (isAdmin(client, settings)) return true;
  // with auth_type = any no client has an identity, and all may look
  return watchers.includes(client.user) || method === 'any' ? false : null;
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
