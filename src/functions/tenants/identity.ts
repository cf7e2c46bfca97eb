/** The owner of a database's functions, and the identity under which counters, breaker and versions are kept. */
import { dirname } from 'node:path';
import { OPERATOR } from '../../config/tenants.ts';
import type { SourceFiles } from '../build/bundle-job.ts';
import { areOperators } from '../build/sources.ts';
import type { FunctionsConfig } from './settings.ts';

export interface Identity {
  /** the tenant's name */
  readonly owner: string;
  /**
   * Unique among all sets of files. A tenant's usual files have its name as their identity, so that it is the same wherever they
   * are; files that a database's options name are an identity of their own, and so are files in a database's or tenant's folder
   * that are the operator's.
   */
  readonly id: string;
}

/** The end of a candidate's id and name; no tenant's name has a zero character. */
const CANDIDATE = '\0candidate';

/** Stands for a tenant's candidate among the ids, or the names, of tenants. */
export function candidateId(tenant: string): string {
  return `${tenant}${CANDIDATE}`;
}

/** The tenant that pays for functions. @param owner the name of a tenant, or what stands for its candidate */
export function payerOf(owner: string): string {
  return owner.endsWith(CANDIDATE) ? owner.slice(0, -CANDIDATE.length) : owner;
}

/** @param files that apply to the database */
export function identityOf(config: FunctionsConfig, database: string, files: SourceFiles): Identity {
  const options = config.databaseOf(database);
  const owner = ownerOf(config, database, files);
  const hasOwnOptions = Boolean(options?.routing_rules_file || options?.rewrite_query_file);
  // a tenant's folder may be the operator's too: other databases of the operator's can have other files
  const isApart = hasOwnOptions || (owner === OPERATOR && isInFolder(config, database, files));
  const id = isApart ? [owner, files.routing, files.rewrite] : [owner];
  return { owner, id: JSON.stringify(id) };
}

/**
 * Files that are all the operator's belong to the operator, whichever database they judge. Others belong to the tenant that has
 * the database, or else to the database itself; databases whose options name the same files share them, under one name.
 */
function ownerOf(config: FunctionsConfig, database: string, files: SourceFiles): string {
  if (areOperators(config.settings, files)) return OPERATOR;
  const tenant = config.tenantOf(database);
  if (tenant !== undefined) return tenant.name;
  return isInFolder(config, database, files) ? database : config.firstWithFilesOf(database);
}

/** Whether a file comes from the folder of the database, or of its tenant. */
function isInFolder(config: FunctionsConfig, database: string, { routing, rewrite }: SourceFiles): boolean {
  const folder = config.folderOf(database);
  return [routing, rewrite].some((file) => file !== null && dirname(file) === folder);
}
