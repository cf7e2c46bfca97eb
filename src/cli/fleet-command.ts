/** `pgswitchyard fleet init`: makes the tables that the proxies of a fleet share, or migrates them. */
import { parseArgs } from 'node:util';
import { loadConfig, type ConfigSource } from '../config/load.ts';
import { StoreConnection } from '../fleet/connection.ts';
import { initializeSchema } from '../fleet/schema.ts';
import { storeTarget, type StoreTarget } from '../fleet/target.ts';
import { loggable, printable } from '../telemetry/printable.ts';

const USAGE = `Usage:
  pgswitchyard fleet init [--user=NAME] [--from-env] [CONFIG_FILE]

Makes the tables of a fleet in the database that fleet_store names, in a schema pgswitchyard, or migrates them to this version
of the program. It may run again, and several times at once.

  -u, --user=NAME   log in as this user, with the password in PGPASSWORD, and give the proxies' user the rights that it needs;
                    without it, the proxies' own user makes the tables, and owns them
      --from-env    take options from environment variables, too
      --container   the same, with the original's lower-case names

The exit code is 0, or 1 if nothing was changed.
`;

/** A migration may take long on a large store. In ms. */
const PATIENCE_MS = 600_000;

/** A command line that makes no sense, or a configuration without a store. */
class CommandError extends Error {}

/** @param args what follows `fleet` @returns the exit code */
export async function fleetCommand(args: readonly string[]): Promise<number> {
  try {
    const [verb, ...rest] = args;
    if (verb === '--help' || verb === '-h') {
      process.stdout.write(USAGE);
      return 0;
    }
    if (verb !== 'init') throw new CommandError(`unknown command: fleet ${printable(verb ?? '')}\n${USAGE}`);
    await init(rest);
    return 0;
  } catch (error) {
    process.stderr.write(`pgswitchyard: ${loggable((error as Error).message, 8_192).trimEnd()}\n`);
    return 1;
  }
}

async function init(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      user: { type: 'string', short: 'u' },
      'from-env': { type: 'boolean' },
      container: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
    allowPositionals: true,
  });
  if (values.help) return void process.stdout.write(USAGE);
  const hasPlainNames = values.container ?? false;
  const usesEnvironment = (values['from-env'] ?? false) || hasPlainNames;
  const [file = null, ...more] = positionals;
  if (more.length > 0 || (file === null && !usesEnvironment))
    throw new CommandError(`name one configuration file\n${USAGE}`);
  const source: ConfigSource = {
    file,
    environment: usesEnvironment ? { variables: { ...process.env }, hasPlainNames } : null,
  };
  await initialize(source, values.user ?? null);
}

/** @param owner the user who makes the tables; null: the proxies' own */
async function initialize(source: ConfigSource, owner: string | null): Promise<void> {
  const config = loadConfig(source);
  const target = storeTarget(config);
  if (target === null) throw new CommandError('fleet_store is not set in this configuration');
  const connection = await StoreConnection.open({
    target: owner === null ? target : asOwner(target, owner),
    settings: config.settings,
    name: 'fleet init',
    answerMs: PATIENCE_MS,
  });
  try {
    const { from, to } = await initializeSchema(connection, owner === null ? null : target.user);
    const done =
      from === to
        ? 'are of version'
        : from === 0
          ? 'were made: version'
          : `were migrated from version ${from} to`;
    process.stdout.write(
      `the tables of the fleet in database "${printable(target.database)}" ${done} ${to}\n`,
    );
    if (owner !== null) process.stdout.write(`user "${printable(target.user)}" has the rights of a proxy\n`);
  } finally {
    connection.close();
  }
}

function asOwner(target: StoreTarget, user: string): StoreTarget {
  return { ...target, user, password: process.env['PGPASSWORD'] ?? null };
}
