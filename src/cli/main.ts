/** The command line: pgbouncer's options, and the demonstration. */
import { parseArgs } from 'node:util';
import { versionLines } from './version.ts';

const OPTIONS = {
  daemon: { type: 'boolean', short: 'd', doc: 'run in background (as a daemon)' },
  quiet: { type: 'boolean', short: 'q', doc: 'run quietly' },
  reboot: { type: 'boolean', short: 'R', doc: 'do an online reboot' },
  user: { type: 'string', short: 'u', doc: 'assume identity of USERNAME', value: 'USERNAME' },
  verbose: { type: 'boolean', short: 'v', multiple: true, doc: 'increase verbosity' },
  version: { type: 'boolean', short: 'V', doc: 'show version, then exit' },
  help: { type: 'boolean', short: 'h', doc: 'show this help, then exit' },
} as const;

function help(): string {
  const rows = Object.entries(OPTIONS).map(([name, option]) => {
    const value = 'value' in option ? `=${option.value}` : '';
    return `  -${option.short}, --${`${name}${value}`.padEnd(22)}${option.doc}`;
  });
  return [
    'pgswitchyard is a connection pooler for PostgreSQL, in the place of pgbouncer.',
    '',
    'Usage:',
    '  pgswitchyard [OPTION]... CONFIG_FILE',
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
  let parsed;
  try {
    parsed = parseArgs({ args: args.map(unabbreviated), options: OPTIONS, allowPositionals: true });
  } catch (error) {
    return usageError(getoptWords((error as Error).message));
  }
  const { values, positionals } = parsed;
  if (values.help) return void process.stdout.write(help());
  if (values.version) return void process.stdout.write(`${versionLines().join('\n')}\n`);
  const [file, ...more] = positionals;
  if (file === undefined) return usageError('no configuration file specified');
  if (more.length > 0) return usageError(`too many arguments: ${more.join(' ')}`);
  const { run } = await import('./run.ts');
  await run({
    file,
    daemon: values.daemon ?? false,
    quiet: values.quiet ?? false,
    reboot: values.reboot ?? false,
    verbose: values.verbose?.length ?? 0,
    user: values.user ?? null,
  });
}

/** Completes an abbreviated long option, as getopt_long(3) does, if it is unambiguous. */
function unabbreviated(argument: string): string {
  const [, name, rest] = /^--([a-z]+)(=.*)?$/s.exec(argument) ?? [];
  if (name === undefined) return argument;
  const meant = Object.keys(OPTIONS).filter((option) => option.startsWith(name));
  return meant.length === 1 ? `--${meant[0]}${rest ?? ''}` : argument;
}

/** Node's error about a command line, in the words of getopt_long(3). */
function getoptWords(message: string): string {
  const [, unknown] = /^Unknown option '(-[^']*)'/.exec(message) ?? [];
  if (unknown?.startsWith('--')) return `unrecognized option '${unknown}'`;
  if (unknown !== undefined) return `invalid option -- '${unknown.slice(1)}'`;
  const [, short, long] = /^Option '-(.), (--[a-z]+)/.exec(message) ?? [];
  if (message.includes('argument missing')) return `option requires an argument -- '${short}'`;
  if (message.includes('does not take an argument')) return `option '${long}' doesn't allow an argument`;
  return message.split('. ')[0]!;
}

function usageError(message: string): void {
  process.stderr.write(`pgswitchyard: ${message}\nTry "pgswitchyard --help" for more information.\n`);
  process.exitCode = 1;
}
