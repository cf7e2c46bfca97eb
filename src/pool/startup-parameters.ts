/** The StartupMessage of a pool's servers. */
import type { DatabaseConfig } from '../config/config.ts';

/** @param user the role of the server's login */
export function startupParameters(
  { config, name }: { readonly config: DatabaseConfig; readonly name: string },
  user: string,
): [string, string][] {
  const parameters: [string, string][] = [
    ['user', user],
    ['database', config.dbname ?? name],
  ];
  if (config.client_encoding) parameters.push(['client_encoding', config.client_encoding]);
  if (config.datestyle) parameters.push(['datestyle', config.datestyle]);
  if (config.timezone) parameters.push(['timezone', config.timezone]);
  if (config.application_name) parameters.push(['application_name', config.application_name]);
  return parameters;
}
