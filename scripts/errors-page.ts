/** docs/errors.md, from the tables of errors. */
import { consoleErrors } from '../src/admin/errors.ts';
import { ANY_CODE, clientErrors, type ErrorRow } from '../src/wire/errors.ts';

/** The conditions of the codes ("PostgreSQL Error Codes" in its manual). */
const CONDITIONS: Readonly<Record<string, string>> = {
  '08007': 'transaction_resolution_unknown',
  '08P01': 'protocol_violation',
  '0A000': 'feature_not_supported',
  '25001': 'active_sql_transaction',
  '26000': 'invalid_sql_statement_name',
  '28P01': 'invalid_password',
  '38000': 'external_routine_exception',
  '42501': 'insufficient_privilege',
  '42P05': 'duplicate_prepared_statement',
  '53000': 'insufficient_resources',
  '57014': 'query_canceled',
  '57P01': 'admin_shutdown',
  '57P03': 'cannot_connect_now',
  '57S01': "pgswitchyard's own: a limit of clients in a switchover",
  '57S02': "pgswitchyard's own: a limit of time in a switchover",
  F0000: 'config_file_error',
  XX000: 'internal_error',
};

const INTRODUCTION = `# Errors

<!-- Made by scripts/generate.ts from src/wire/errors.ts and src/admin/errors.ts. Do not edit. -->

These are the errors that the proxy itself sends. All others are the server's, passed on as they came. pgbouncer uses
SQLSTATE 08P01 for all of its errors, and so does the proxy for those that pgbouncer has, too.

An \`ERROR\` leaves the connection usable. \`FATAL\` ends it.

A program can retry after these codes without looking at the message:

| SQLSTATE | Retry |
| --- | --- |
| 57P01, as \`ERROR\`, with the hint to retry | the transaction, at once |
| 57P03, 57S01, 57S02, 53000 | the transaction, after a pause |
| 08007, and 57P01 with the hint to check | only after a check whether it has taken effect |
| 26000, 0A000 | after preparing the statement again |
`;

interface Entry {
  readonly code: string;
  readonly cells: readonly string[];
}

export function errorsMarkdown(): string {
  return [
    INTRODUCTION,
    `## Errors for clients\n`,
    sections(Object.values(clientErrors)),
    `## Errors of the admin console\n`,
    sections(Object.values(consoleErrors)),
  ].join('\n');
}

/** A section for each SQLSTATE, in order. */
function sections(rows: readonly unknown[]): string {
  const entries = rows.map((each) => entryOf(each as ErrorRow<readonly unknown[]>));
  const codes = [...new Set(entries.map(({ code }) => code))].sort((a, b) =>
    a === ANY_CODE ? 1 : b === ANY_CODE ? -1 : a.localeCompare(b, 'en'),
  );
  return codes
    .map((code) => `${heading(code)}\n\n${table(entries.filter((each) => each.code === code))}\n`)
    .join('\n');
}

function heading(code: string): string {
  return code === ANY_CODE ? '### Any SQLSTATE, in the words of others' : `### ${code}: ${CONDITIONS[code]!}`;
}

function entryOf(row: ErrorRow<readonly unknown[]>): Entry {
  const { severity, code, message } = row(...row.example);
  return { code, cells: [message, severity, row.when, row.help] };
}

function table(entries: readonly Entry[]): string {
  return [
    '| Message | Severity | When | What to do |',
    '| --- | --- | --- | --- |',
    ...entries.map(({ cells }) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`),
  ].join('\n');
}
