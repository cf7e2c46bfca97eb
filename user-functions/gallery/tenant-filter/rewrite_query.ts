import { reject, type RewriteQuery } from 'pgswitchyard';
import { astMapper, parse, toSql, type Expr, type From, type Statement } from 'pgsql-ast-parser';
import tenants from './tenants.json' with { type: 'json' };

/**
 * Customers share tables that have a column `tenant_id`, and each sees only its own rows: every such table in a query is
 * replaced by a subquery with the filter. Set `rewrite_query_on_failure = error` with it.
 *
 * The rule allows statements that it understands and rejects all others. PostgreSQL gets the text that is made from the parsed query,
 * never the client's own, so a query that the parser and PostgreSQL read differently gains nothing. Row-level security in
 * the database is the stronger wall where it can be had.
 */
const TENANTS: ReadonlyMap<string, number> = new Map(Object.entries(tenants));
const TABLES = new Set(['customers', 'orders']);
const FUNCTIONS = new Set(
  'avg coalesce count date_trunc exists length lower max min now round sum upper'.split(' '),
);
const TRANSACTIONS = /^\s*(?:begin|commit|rollback|start transaction)\s*;?\s*$/i;

/** The parser's time grows faster than the length of its text. */
const LONGEST = 4_000;

export const rewrite_query: RewriteQuery = (username, query) => {
  const tenant = TENANTS.get(username);
  if (tenant === undefined) reject(`user ${username} belongs to no tenant`);
  if (query.length > LONGEST) reject(`queries of more than ${LONGEST} characters are not allowed here`);
  if (TRANSACTIONS.test(query)) return null;
  return filter(query, tenant);
};

function filter(query: string, tenant: number): string {
  const statements = parsed(query);
  const [statement] = statements;
  if (statement === undefined || statements.length > 1) reject('exactly one statement is allowed here');
  if (statement.type !== 'select' && statement.type !== 'union' && statement.type !== 'union all')
    reject(`${statement.type} is not allowed here`, { hint: 'Only SELECT is.' });
  return toSql.statement(mapper(tenant).statement(statement)!);
}

function parsed(query: string): Statement[] {
  try {
    return parse(query);
  } catch {
    reject('the query could not be understood, and is not allowed here', { code: '42601' });
  }
}

function mapper(tenant: number): ReturnType<typeof astMapper> {
  return astMapper((map) => ({
    fromTable: ({ name, join: joined }): From => {
      if ((name.schema ?? 'public') !== 'public' || !TABLES.has(name.name))
        reject(`table ${name.name} is not allowed here`);
      const [own] = parse(`SELECT * FROM public.${name.name} WHERE tenant_id = ${tenant}`);
      if (own?.type !== 'select') throw new Error('unreachable: the text above is a SELECT');
      const join = joined && { join: map.super().join(joined)! };
      return { type: 'statement', statement: own, alias: name.alias ?? name.name, ...join };
    },
    fromCall: () => reject('functions in FROM are not allowed here'),
    call: (call): Expr => {
      if (call.function.schema !== undefined || !FUNCTIONS.has(call.function.name))
        reject(`function ${call.function.name} is not allowed here`);
      return map.super().call(call)!;
    },
    cast: (cast): Expr => {
      // regclass and its relatives look into the catalogs
      if ('name' in cast.to && cast.to.name?.startsWith('reg'))
        reject(`casts to ${cast.to.name} are not allowed here`);
      return map.super().cast(cast)!;
    },
  }));
}
