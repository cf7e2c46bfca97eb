/**
 * Snapshots of versions that are tried beside the serving one: shadow and canary.
 * Plain data, with units in the names (docs/architecture.md).
 */

/** How often something happened while a candidate was shadowed. */
export interface ShadowCount {
  readonly kind: string;
  readonly count: number;
}

/** A query about which the candidate and the serving version disagreed, with `?` for each constant. */
export interface DifferenceSample {
  readonly kind: string;
  readonly atMs: number;
  readonly user: string;
  readonly database: string;
  readonly query: string;
  /** what each version decided, in words */
  readonly serving: string;
  readonly candidate: string;
  /** processor time of each call; null: unknown */
  readonly servingUs: number | null;
  readonly candidateUs: number | null;
}

export interface ShadowReportSnapshot {
  /** queries about which both versions were asked, and those that they treat alike */
  readonly compared: number;
  readonly same: number;
  /** mean processor time of a call; null: unknown */
  readonly servingUs: number | null;
  readonly candidateUs: number | null;
  readonly differences: readonly ShadowCount[];
  /** queries that the candidate was not asked about, by reason */
  readonly uncompared: readonly ShadowCount[];
  readonly samples: readonly DifferenceSample[];
}

/** What is being done with a tenant's candidate. */
export type RolloutState =
  | 'no candidate'
  | 'off'
  | 'loading'
  | 'not loaded'
  | 'same as serving'
  | 'shadow'
  | 'canary';

/** A tenant's candidate, and its comparison with the version that serves. */
export interface RolloutSnapshot {
  /** the tenant's name */
  readonly owner: string;
  readonly state: RolloutState;
  /** that the candidate is made of, absolute */
  readonly files: readonly string[];
  /** hashes; '': none */
  readonly servingVersion: string;
  readonly candidateVersion: string;
  /** the last complaint about the candidate; '': none */
  readonly lastError: string;
  readonly report: ShadowReportSnapshot;
  /** null: none is running */
  readonly canary: CanarySnapshot | null;
  /** how the last one ended; '': there was none */
  readonly lastCanary: string;
}

/** What the clients of one version of a canary have seen. */
export interface ArmSnapshot {
  /** clients with calls in the last minute */
  readonly clients: number;
  readonly calls: number;
  /** of the candidate: calls that it failed on, and that the serving version then answered */
  readonly failures: number;
  readonly rejections: number;
  /** mean time of a call, waiting included; null: there was none */
  readonly meanUs: number | null;
  /** queries that a server has answered */
  readonly answers: number;
  /** errors of servers, by the first two characters of the SQLSTATE */
  readonly errors: Readonly<Record<string, number>>;
}

export interface CanarySnapshot {
  /** of the clients */
  readonly percent: number;
  /** the candidate is to serve after `durationMs` */
  readonly isPromoted: boolean;
  /** since the comparison began */
  readonly lastsMs: number;
  readonly durationMs: number;
  readonly serving: ArmSnapshot;
  readonly candidate: ArmSnapshot;
}
