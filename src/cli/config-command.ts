/** `pgswitchyard config`: prints a configuration, or checks it with everything that it names. */
import { clientTls, serverTls } from '../auth/tls.ts';
import type { Config } from '../config/config.ts';
import { loadConfig, type ConfigSource } from '../config/load.ts';
import { printConfig } from '../config/print.ts';
import { storeTarget } from '../fleet/target.ts';
import { Functions, type FunctionLog } from '../functions/functions.ts';
import { printable } from '../telemetry/printable.ts';

/** Prints the configuration that results from a file and the environment. @returns the exit code */
export function printCommand(source: ConfigSource): number {
  try {
    const config = loadConfig(source);
    process.stdout.write(printConfig(config));
    warn(config.warnings);
    return 0;
  } catch (error) {
    return complain([(error as Error).message]);
  }
}

/**
 * Checks a configuration, its files for logins and TLS, and loads all its user functions. It opens no connection and listens
 * nowhere.
 * @returns the exit code: 0, or 1 with each problem on a line of stderr
 */
export async function checkCommand(source: ConfigSource): Promise<number> {
  try {
    const config = loadConfig(source);
    warn(config.warnings);
    const problems = [...config.authProblems, ...setupProblems(config), ...(await ruleProblems(config))];
    if (problems.length > 0) return complain(problems);
    process.stdout.write('the configuration is valid\n');
    return 0;
  } catch (error) {
    return complain([(error as Error).message]);
  }
}

/** TLS of both sides, and the store of the fleet, are set up without a connection. */
function setupProblems(config: Config): string[] {
  const { settings } = config;
  return [() => clientTls(settings), () => serverTls(settings, ''), () => storeTarget(config)].flatMap(
    (load) => {
      try {
        load();
        return [];
      } catch (error) {
        return [(error as Error).message];
      }
    },
  );
}

/** Loads the functions of all databases, as a start does. */
async function ruleProblems(config: Config): Promise<string[]> {
  const { settings, databases, fallback } = config;
  const functions = new Functions({
    // what is kept for the proxy is neither used nor changed
    settings: { ...settings, user_functions_state_dir: '', user_function_preload: '1' },
    databases: databases.values(),
    fallback,
    tenants: config,
    log: SILENT,
    entryOf: (name) => (databases.has(name) ? name : fallback === null ? null : '*'),
  });
  try {
    await functions.prepare();
    await functions.start();
    return functions
      .observe()
      .tenants.filter(({ state }) => state !== 'serving')
      .map(({ name, state, lastError }) => `user functions in ${printable(name)}: ${lastError || state}`);
  } finally {
    await functions.stop();
  }
}

const ignore = (): void => {};
/** Problems are taken from the state of the functions. */
const SILENT: FunctionLog = { info: ignore, warn: ignore, error: ignore };

function warn(warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
}

function complain(problems: readonly string[]): number {
  process.stderr.write(`${problems.join('\n')}\n`);
  return 1;
}
