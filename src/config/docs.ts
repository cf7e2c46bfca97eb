/** The options table as a page of the manual and as JSON schema. */
import { DATABASE_KEYS, PEER_KEYS, USER_KEYS } from './connection-string.ts';
import type { Origin } from './option.ts';
import { OPTION_NAMES, optionOf } from './options.ts';
import type { OptionName } from './options.ts';
import { TENANT_KEYS } from './tenants.ts';

const GROUPS: readonly (readonly [Origin, string])[] = [
  ['pgswitchyard', "pgswitchyard's own"],
  ['fast-switchover', 'From the fast-switchover fork'],
  ['pgbouncer', "pgbouncer's"],
];

const INTRODUCTION = `# Configuration

<!-- Made by scripts/generate.ts from src/config/options.ts. Do not edit. -->

The file has pgbouncer's syntax: sections \`[pgbouncer]\` (required), \`[databases]\`, \`[users]\`, \`[peers]\` and \`[tenants]\`,
\`name = value\` to the end of the line, comments (\`;\` or \`#\`) only at the start of a line, and \`%include FILE\`
(relative to the working directory). A name with special characters goes in single quotes. Values of \`[pgbouncer]\` are
taken as they stand. Times are seconds, with a fraction if need be, unless the table says otherwise; switches are 0 or 1.

Relative paths start at the working directory, those of \`routing_rules_file\`, \`rewrite_query_file\` and
\`user_functions_dir\` at the folder of the configuration file. All mistakes are reported together, with file and line;
when a reload finds one, the old configuration stays in force.

A reload sets what the file does not name back to its default. As in pgbouncer, options of pgbouncer's that have no
default keep their value when their line is gone, and a second \`[pgbouncer]\` section starts from the defaults again
(with a warning that names what is lost).

"Reload" says whether RELOAD and SET apply a change; "none" in the column "Effect": accepted, nothing here for it to
act on.
`;

const TENANT_NOTE = `[tenants.md](tenants.md) explains them. The name \`*\` sets defaults. \`timeout\` is in milliseconds, \`memory_limit\`
in MB, \`log_limit\` in printed lines a second; \`functions_dir\` starts at the folder of the configuration file.`;

export function configMarkdown(): string {
  const parts = [INTRODUCTION];
  for (const [origin, title] of GROUPS) {
    const names = OPTION_NAMES.filter((name) => optionOf(name).origin === origin);
    parts.push(`## [pgbouncer]: ${title}\n\n${table(names)}\n`);
  }
  parts.push(
    section('databases', 'name = connection string', 'The name `*` stands for all others.', DATABASE_KEYS),
    section('users', 'name = settings', "A user's setting wins over the database's.", USER_KEYS),
    section('peers', 'number = connection string', 'The number is the peer_id of that process.', PEER_KEYS),
    section('tenants', 'name = settings', TENANT_NOTE, TENANT_KEYS),
  );
  return parts.join('\n');
}

function table(names: readonly OptionName[]): string {
  const rows = names.map((name) => {
    const option = optionOf(name);
    const value =
      option.default === null ? 'not set' : option.default === '' ? 'empty' : `\`${option.default}\``;
    const effect = { applied: 'yes', accepted: 'none' }[option.effect];
    const scope = option.scope.length === 0 ? '' : ` Also per ${option.scope.join(' and ')}.`;
    const cells = [
      `\`${name}\``,
      option.kind.label,
      value,
      option.reload ? 'yes' : 'no',
      effect,
      option.doc + scope,
    ];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return [
    '| Option | Type | Default | Reload | Effect | |',
    '| --- | --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

function section(name: string, form: string, note: string, keys: Readonly<Record<string, unknown>>): string {
  const list = Object.keys(keys)
    .map((key) => `\`${key}\``)
    .join(', ');
  return `## [${name}]: \`${form}\`\n\n${note} Values are \`key=value\` pairs; a value with blanks goes in single quotes,
in which \`''\` or \`\\'\` is one quote.${name === 'tenants' ? '' : ' Times are whole seconds.'}\n\nKeys: ${list}.\n`;
}

/** JSON Schema for the options of [pgbouncer]. */
export function configSchema(): string {
  const properties = Object.fromEntries(
    OPTION_NAMES.map((name) => {
      const option = optionOf(name);
      const value = option.default === null ? {} : { default: schemaDefault(name) };
      return [name, { description: option.doc, ...option.kind.schema, ...value }];
    }),
  );
  const schema = {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'pgswitchyard: options of [pgbouncer]',
    type: 'object',
    additionalProperties: false,
    properties,
  };
  return `${JSON.stringify(schema, null, 2)}\n`;
}

function schemaDefault(name: OptionName): unknown {
  const option = optionOf(name);
  const shown = option.kind.show(option.initial as NonNullable<unknown>);
  const { initial } = option;
  if (typeof initial === 'boolean') return initial ? 1 : 0;
  const type = option.kind.schema['type'];
  return type === 'integer' || type === 'number' ? Number(shown) : shown;
}
