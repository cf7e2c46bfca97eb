/** SHOW SHADOW and SHOW CANARY: how the candidate of a tenant's functions compares with the version that serves. */
import type { ArmSnapshot, RolloutSnapshot } from '../telemetry/snapshots/rollout.ts';
import { table, type Table } from './table.ts';
import { clockTime, shortPath } from './units.ts';

/** A line of SHOW SHADOW. null: it does not apply to the line. */
interface ShadowRow {
  readonly what: string;
  readonly count: number | null;
  readonly atMs?: number;
  readonly user?: string;
  readonly database?: string;
  readonly query?: string;
  readonly serving?: string;
  readonly candidate?: string;
  readonly servingUs?: number | null;
  readonly candidateUs?: number | null;
  readonly note?: string;
}

/** The versions, the counts, and the samples of differences. */
export const shadowTable = (tenant: string): Table =>
  table<ShadowRow>(
    [
      { name: 'what', type: 'text', of: ({ what }) => what },
      { name: 'count', type: 'int8', of: ({ count }) => count },
      { name: 'at', type: 'text', of: ({ atMs }) => (atMs === undefined ? null : clockTime(atMs)) },
      { name: 'user', type: 'text', of: ({ user = null }) => user },
      { name: 'database', type: 'text', of: ({ database = null }) => database },
      { name: 'query', type: 'text', of: ({ query = null }) => query },
      { name: 'serving', type: 'text', of: ({ serving = null }) => serving },
      { name: 'candidate', type: 'text', of: ({ candidate = null }) => candidate },
      { name: 'serving_us', type: 'int8', of: ({ servingUs }) => rounded(servingUs) },
      { name: 'candidate_us', type: 'int8', of: ({ candidateUs }) => rounded(candidateUs) },
      { name: 'note', type: 'text', of: ({ note = null }) => note },
    ],
    ({ functions, config }) =>
      functions.observeRollouts(tenant).flatMap((rollout) => shadowRows(rollout, config.file)),
    { isForTenants: true },
  );

function shadowRows(
  { state, files, servingVersion, candidateVersion, lastError, report }: RolloutSnapshot,
  iniFile: string,
): ShadowRow[] {
  const { compared, same, servingUs, candidateUs, differences, uncompared, samples } = report;
  const made = files.map((file) => shortPath(file, iniFile)).join(', ');
  return [
    {
      what: state,
      count: null,
      serving: servingVersion,
      candidate: candidateVersion,
      note: [made, lastError].filter((part) => part !== '').join(': '),
    },
    { what: 'compared', count: compared, servingUs, candidateUs },
    { what: 'same', count: same },
    ...differences.map(({ kind, count }) => ({ what: kind, count })),
    ...uncompared.map(({ kind, count }) => ({ what: kind, count })),
    ...samples.map(({ kind, ...sample }) => ({ what: `sample: ${kind}`, count: null, ...sample })),
  ];
}

/** One of the two versions of a canary. */
interface ArmRow {
  readonly version: string;
  readonly hash: string;
  readonly rollout: RolloutSnapshot;
  readonly arm: ArmSnapshot | null;
}

/** A row for each version. Without a canary, the second one says how the last one ended. */
export const canaryTable = (tenant: string): Table =>
  table<ArmRow>(
    [
      { name: 'version', type: 'text', of: ({ version }) => version },
      { name: 'hash', type: 'text', of: ({ hash }) => hash },
      { name: 'state', type: 'text', of: ({ rollout }) => canaryState(rollout) },
      { name: 'share', type: 'text', of: ({ version, rollout }) => shareOf(version, rollout) },
      { name: 'seconds', type: 'int8', of: ({ rollout }) => inSeconds(rollout.canary?.lastsMs) },
      { name: 'duration', type: 'int8', of: ({ rollout }) => inSeconds(rollout.canary?.durationMs) },
      { name: 'clients', type: 'int8', of: ({ arm }) => arm?.clients ?? null },
      { name: 'calls', type: 'int8', of: ({ arm }) => arm?.calls ?? null },
      { name: 'failures', type: 'int8', of: ({ arm }) => arm?.failures ?? null },
      { name: 'rejected', type: 'int8', of: ({ arm }) => arm?.rejections ?? null },
      { name: 'mean_us', type: 'int8', of: ({ arm }) => rounded(arm?.meanUs) },
      { name: 'answers', type: 'int8', of: ({ arm }) => arm?.answers ?? null },
      { name: 'errors', type: 'text', of: ({ arm }) => (arm === null ? null : byClass(arm.errors)) },
    ],
    ({ functions }) => functions.observeRollouts(tenant).flatMap(armRows),
    { isForTenants: true },
  );

function armRows(rollout: RolloutSnapshot): ArmRow[] {
  const { servingVersion, candidateVersion, canary } = rollout;
  return [
    { version: 'serving', hash: servingVersion, rollout, arm: canary?.serving ?? null },
    { version: 'candidate', hash: candidateVersion, rollout, arm: canary?.candidate ?? null },
  ];
}

function canaryState({ canary, lastCanary }: RolloutSnapshot): string {
  if (canary !== null) return canary.isPromoted ? 'running, promotes' : 'running';
  return lastCanary === '' ? 'none' : lastCanary;
}

function shareOf(version: string, { canary }: RolloutSnapshot): string | null {
  if (canary === null) return null;
  const percent = version === 'candidate' ? canary.percent : 100 - canary.percent;
  return `${Number(percent.toFixed(2))}%`;
}

/** `23=1,42=3` */
function byClass(errors: Readonly<Record<string, number>>): string {
  return Object.entries(errors)
    .map(([errorClass, count]) => `${errorClass}=${count}`)
    .toSorted()
    .join(',');
}

function rounded(value: number | null | undefined): number | null {
  return value == null ? null : Math.round(value);
}

function inSeconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.floor(ms / 1000);
}
