/** Checks a user's password for the web console: against auth_file, or by LDAP or PAM if auth_type says so. */
import { isPassword } from '../../auth/client-auth.ts';
import { Hba } from '../../auth/hba.ts';
import { authenticateLdap } from '../../auth/ldap.ts';
import { ldapOptions, parseLdapOptions } from '../../auth/ldap-options.ts';
import { authenticatePam } from '../../auth/pam.ts';
import type { Config } from '../../config/config.ts';

/** The database whose HBA lines apply. */
const CONSOLE = 'pgbouncer';
const MAX_PASSWORD = 65_530;

export interface Login {
  readonly user: string;
  readonly password: string;
  readonly address: string;
  readonly isTls: boolean;
}

/**
 * A password is always needed, even where `trust` or a certificate lets clients in without one.
 * @throws Error if an LDAP server or PAM can't be asked
 */
export async function isIdentified(config: Config, login: Login): Promise<boolean> {
  const { user, password, address } = login;
  if (user === '' || password === '' || password.length > MAX_PASSWORD || /\0/.test(user + password))
    return false;
  const { method, options } = methodFor(config, login);
  if (method === 'reject') return false;
  if (method === 'pam') return await authenticatePam(user, password, { remoteHost: address });
  if (method === 'ldap') {
    const text = config.settings.auth_ldap_options ?? '';
    return await authenticateLdap(
      user,
      password,
      options.size > 0 ? ldapOptions(options) : parseLdapOptions(text),
    );
  }
  return await isPassword(user, Buffer.from(password), config.userlist.get(user) ?? null);
}

function methodFor(
  config: Config,
  { user, address, isTls }: Login,
): { readonly method: string; readonly options: ReadonlyMap<string, string> } {
  const { auth_type: type } = config.settings;
  if (type !== 'hba') return { method: type, options: new Map() };
  const found = new Hba(config.hba ?? []).find({
    user,
    database: CONSOLE,
    address,
    tls: isTls,
    replication: false,
  });
  return found ?? { method: 'reject', options: new Map() };
}
