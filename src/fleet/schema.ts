/** The schema of the store: whether a proxy can work with it, and how `pgswitchyard fleet init` makes and migrates it. */
import { programVersion } from '../platform/program-version.ts';
import type { Query, StoreConnection } from './connection.ts';
import { grantsFor, MIGRATIONS, SCHEMA_VERSION } from './migrations.ts';

/** The tables can't be used as they are. The message says what to do. */
export class SchemaProblem extends Error {}

/** Only one process migrates at a time: any number, the same in all versions of the program. */
const LOCK = 7_449_168_321_103;
const LAST = 'SELECT version, compatible_with FROM pgswitchyard.migrations ORDER BY version DESC LIMIT 1';
const RUN_INIT = 'run "pgswitchyard fleet init" with this configuration';
/** SQLSTATEs: no such schema, no such table, no right to it */
const MISSING = ['3F000', '42P01'];
const FORBIDDEN = '42501';

interface SchemaState {
  readonly version: number;
  readonly compatibleWith: number;
}

/** @throws SchemaProblem if a proxy of this version can't work with the tables */
export async function checkSchema(connection: StoreConnection): Promise<void> {
  const state = await schemaState((text) => connection.query(text));
  if (state === null) throw new SchemaProblem(`it has no tables for a fleet: ${RUN_INIT}`);
  const { version, compatibleWith } = state;
  if (version < SCHEMA_VERSION)
    throw new SchemaProblem(
      `its tables are of version ${version}, and this program needs version ${SCHEMA_VERSION}: ${RUN_INIT}`,
    );
  if (compatibleWith > SCHEMA_VERSION) throw tooNew(version);
}

/**
 * Makes the tables, or migrates them to this program's version, in one transaction. Several may do so at the same time, and
 * again.
 * @param grantee a user who gets the rights of a proxy; null: the user of the connection has them, as the owner
 * @returns the versions before, 0: there were no tables, and after
 * @throws SchemaProblem if they are newer than the program
 */
export async function initializeSchema(
  connection: StoreConnection,
  grantee: string | null,
): Promise<{ readonly from: number; readonly to: number }> {
  return await connection.transaction(async (query) => {
    // a migration may take longer than a proxy's statement, and wait for another one that does
    await query('SET LOCAL statement_timeout = 0');
    await query('SET LOCAL lock_timeout = 0');
    await query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
    // an existing schema may belong to a user who can't make one
    const schemas = await query("SELECT 1 AS one FROM pg_namespace WHERE nspname = 'pgswitchyard'");
    if (schemas.length === 0) await query('CREATE SCHEMA pgswitchyard');
    await query(`CREATE TABLE IF NOT EXISTS pgswitchyard.migrations (
      version integer PRIMARY KEY, compatible_with integer NOT NULL,
      program text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`);
    const { version: from, compatibleWith } = (await lastMigration(query)) ?? {
      version: 0,
      compatibleWith: 0,
    };
    if (from > SCHEMA_VERSION) throw compatibleWith > SCHEMA_VERSION ? tooNew(from) : newer(from);
    for (const { version, compatibleWith: compatible, sql } of MIGRATIONS.slice(from)) {
      await query(sql);
      await query(
        'INSERT INTO pgswitchyard.migrations (version, compatible_with, program) VALUES ($1, $2, $3)',
        [version, compatible, programVersion()],
      );
    }
    if (grantee !== null) await query(grantsFor(await quoted(query, grantee)));
    return { from, to: SCHEMA_VERSION };
  });
}

/** null: there are no tables. */
async function schemaState(query: Query): Promise<SchemaState | null> {
  try {
    return await lastMigration(query);
  } catch (error) {
    const { code = '' } = error as { readonly code?: string };
    if (MISSING.includes(code)) return null;
    if (code === FORBIDDEN)
      throw new SchemaProblem(
        'its user has no rights in the schema pgswitchyard: docs/fleet.md says how to grant them',
      );
    throw error;
  }
}

async function lastMigration(query: Query): Promise<SchemaState | null> {
  const [row] = await query(LAST);
  if (row === undefined) return null;
  const version = Number(row['version']);
  const compatibleWith = Number(row['compatible_with']);
  if (!Number.isSafeInteger(version) || !Number.isSafeInteger(compatibleWith))
    throw new SchemaProblem('its table pgswitchyard.migrations is damaged');
  return { version, compatibleWith };
}

async function quoted(query: Query, name: string): Promise<string> {
  const [row] = await query('SELECT quote_ident($1) AS name', [name]);
  return row?.['name'] ?? '';
}

function tooNew(version: number): SchemaProblem {
  return new SchemaProblem(
    `its tables are of version ${version}, and this program knows version ${SCHEMA_VERSION}: update pgswitchyard`,
  );
}

function newer(version: number): SchemaProblem {
  return new SchemaProblem(
    `its tables are of version ${version}, which is newer than this program's ${SCHEMA_VERSION}: nothing was changed`,
  );
}
