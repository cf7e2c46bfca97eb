/** The command line: pgbouncer's options, and the subcommands. */
import { parseArgs } from 'node:util';
import { versionLines } from './version.ts';

const OPTIONS = {
  daemon: { type: 'boolean', short: 'd', doc: 'run in background (as a daemon)' },
  quiet: { type: 'boolean', short: 'q', doc: 'run quietly' },
  reboot: { type: 'boolean', short: 'R', doc: 'do an online reboot' },
  user: { type: 'string', short: 'u', doc: 'assume identity of USERNAME', value: 'USERNAME' },
  verbose: { type: 'boolean', short: 'v', multiple: true, doc: 'increase verbosity' },
  'from-env': { type: 'boolean', doc: 'take options from environment variables, too' },
  container: { type: 'boolean', doc: "the same, with the original's lower-case names" },
  version: { type: 'boolean', short: 'V', doc: 'show version, then exit' },
  help: { type: 'boolean', short: 'h', doc: 'show this help, then exit' },
} as const;

function help(): string {
  const rows = Object.entries(OPTIONS).map(([name, option]) => {
    const value = 'value' in option ? `=${option.value}` : '';
    const short = 'short' in option ? `-${option.short},` : '   ';
    return `  ${short} --${`${name}${value}`.padEnd(22)}${option.doc}`;
  });
  return [
    'pgswitchyard is a connection pooler for PostgreSQL, in the place of pgbouncer.',
    '',
    'Usage:',
    '  pgswitchyard [OPTION]... CONFIG_FILE',
    '  pgswitchyard [OPTION]... --from-env [CONFIG_FILE]',
    '  pgswitchyard config [--from-env] [CONFIG_FILE]         print the configuration, without secrets',
    '  pgswitchyard config check [--from-env] [CONFIG_FILE]   check it, and all files that it names',
    '  pgswitchyard rules build FOLDER|FILE... [-o FILE]      bundle user functions into an artifact',
    '  pgswitchyard fleet init [--from-env] [CONFIG_FILE]     make or migrate the tables that a fleet shares',
    '  pgswitchyard demo            two embedded servers, a proxy, and a rule to edit',
    '',
    'Options:',
    ...rows,
    '',
    'Every option of CONFIG_FILE is explained in docs/config.md.',
    '',
  ].join('\n');
}

/** Runs the command and sets the exit code. A daemon's process continues afterwards. */
export async function main(args: readonly string[]): Promise<void> {
  if (args[0] === 'demo') {
    const { demo } = await import('../demo/demo.ts');
    return demo(args.slice(1));
  }
  if (args[0] === 'rules' && args.length > 1) {
    const { rulesCommand } = await import('./rules-command.ts');
    process.exitCode = await rulesCommand(args.slice(1));
    return;
  }
  if (args[0] === 'fleet' && args.length > 1) {
    const { fleetCommand } = await import('./fleet-command.ts');
    process.exitCode = await fleetCommand(args.slice(1));
    return;
  }
  const isConfig = args[0] === 'config' && args.length > 1;
  const isCheck = isConfig && args[1] === 'check';
  let parsed;
  try {
    parsed = parseArgs({
      args: args.slice(isCheck ? 2 : isConfig ? 1 : 0).map(unabbreviated),
      options: OPTIONS,
      allowPositionals: true,
    });
  } catch (error) {
    return usageError(getoptWords((error as Error).message));
  }
  const { values, positionals } = parsed;
  if (values.help) return void process.stdout.write(help());
  if (values.version) return void process.stdout.write(`${versionLines().join('\n')}\n`);
  const [file = null, ...more] = positionals;
  const hasPlainNames = values.container ?? false;
  const usesEnvironment = (values['from-env'] ?? false) || hasPlainNames;
  if (file === null && !usesEnvironment) return usageError('no configuration file specified');
  if (more.length > 0) return usageError(`too many arguments: ${more.join(' ')}`);
  const environment = usesEnvironment ? { variables: { ...process.env }, hasPlainNames } : null;
  const source = { file, environment };
  if (isConfig) {
    const { checkCommand, printCommand } = await import('./config-command.ts');
    process.exitCode = isCheck ? await checkCommand(source) : printCommand(source);
    return;
  }
  const { run } = await import('./run.ts');
  await run({
    source,
    daemon: values.daemon ?? false,
    quiet: values.quiet ?? false,
    reboot: values.reboot ?? false,
    verbose: values.verbose?.length ?? 0,
    user: values.user ?? null,
  });
}

/** Completes an abbreviated long option, as getopt_long(3) does, if it is unambiguous. */
function unabbreviated(argument: string): string {
  const [, name, rest] = /^--([a-z-]+)(=.*)?$/s.exec(argument) ?? [];
  if (name === undefined) return argument;
  const meant = Object.keys(OPTIONS).filter((option) => option.startsWith(name));
  return meant.length === 1 ? `--${meant[0]}${rest ?? ''}` : argument;
}

/** Node's error about a command line, in the words of getopt_long(3). */
function getoptWords(message: string): string {
  const [, unknown] = /^Unknown option '(-[^']*)'/.exec(message) ?? [];
  if (unknown?.startsWith('--')) return `unrecognized option '${unknown}'`;
  if (unknown !== undefined) return `invalid option -- '${unknown.slice(1)}'`;
  const [, short, long] = /^Option '-(.), (--[a-z-]+)/.exec(message) ?? [];
  if (message.includes('argument missing')) return `option requires an argument -- '${short}'`;
  if (message.includes('does not take an argument')) return `option '${long}' doesn't allow an argument`;
  return message.split('. ')[0]!;
}

function usageError(message: string): void {
  process.stderr.write(`pgswitchyard: ${message}\nTry "pgswitchyard --help" for more information.\n`);
  process.exitCode = 1;
}
