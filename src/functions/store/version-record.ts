/** What is known about one version of a tenant's functions, whether or not it serves. */
import type { HashedFile } from '../build/bundle-job.ts';
import type { Manifest } from '../sandbox/load-result.ts';

/** A set of functions, in the form of tenants/identity.ts: a tenant may have several, if options of databases name files. */
export interface VersionKey {
  /** the tenant's name: all its sets share one series of numbers */
  readonly owner: string;
  /** of the set, unique in the proxy */
  readonly id: string;
}

/** The conditions under which a version has been bundled and has passed its trial. */
export interface CheckedWith {
  /** version of pgswitchyard */
  readonly program: string;
  /** version of Node, without `v` */
  readonly node: string;
  readonly timeoutMs: number;
  readonly memoryLimitMb: number;
  /** characters */
  readonly maxResult: number;
  readonly isolation: 'inline' | 'process';
}

/** What the trial of a version has found: a version that has passed it need not be tried again under the same conditions. */
export interface TrialFindings {
  readonly manifest: Manifest;
  /** the database that its trial call was routed to; null: none */
  readonly route: string | null;
}

/** What is known of a version when it has been loaded, besides its bundle. */
export interface VersionFacts {
  readonly checkedWith: CheckedWith;
  readonly findings: TrialFindings;
  /** the functions whose files are the operator's, as `routing,rewrite`; '': none */
  readonly operators: string;
  /** it was deployed as an artifact, without its source */
  readonly isArtifact: boolean;
}

export interface VersionRecord extends VersionFacts {
  readonly key: VersionKey;
  /** from 1 for each tenant, and never used for other code */
  readonly number: number;
  /** of the code, as in Bundle: equal hashes mean equal code */
  readonly hash: string;
  /** when it was loaded first, in ms since 1970 */
  readonly timeMs: number;
  /** the author's own files, as many as are shown */
  readonly files: readonly HashedFile[];
  /** the number of all files, those of packages included */
  readonly fileCount: number;
}

/** A version that an administrator has fixed: it serves, whatever the files hold. */
export interface Pin {
  readonly number: number;
  /** of its code, which another process may have given another number; none: not known */
  readonly hash?: string;
  /** an operator's pin stays an operator's. `fleet`: nobody has pinned it; the other proxies of the fleet serve it */
  readonly by: 'operator' | 'tenant' | 'fleet';
  /** the name of the user; '': the fleet */
  readonly user: string;
  /** it ends when the files hold the same code: the version was promoted from other files */
  readonly untilFiles: boolean;
}

/** A PAUSE of all functions of a tenant. */
export interface Pause {
  readonly by: 'operator' | 'tenant';
  readonly user: string;
  /** what becomes of queries meanwhile: what the policies say, or this */
  readonly as: 'policy' | 'pass' | 'error';
}
