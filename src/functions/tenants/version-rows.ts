/** The rows of SHOW FUNCTION VERSIONS. */
import type { VersionRecord } from '../store/version-record.ts';
import type { VersionStore } from '../store/version-store.ts';
import type { Tenant } from './tenant.ts';

export interface VersionRow {
  readonly record: VersionRecord;
  /**
   * `pinned`: an administrator wants it to serve, and it does not, at least not yet; `kept`: its bundle is there, for ROLLBACK;
   * `dropped`: it is not
   */
  readonly state: 'serving' | 'candidate' | 'pinned' | 'kept' | 'dropped';
  /** the user who has pinned it; FLEET: nobody, but the files here hold another one; '': it is not pinned */
  readonly pinnedBy: string;
  /** the user who has gone back from it by ROLLBACK, which skips it since; '': nobody has */
  readonly leftBy: string;
}

/** No user's name has parentheses. */
const FLEET = '(fleet)';

/** Newest first. @param tenants the sets of functions of this tenant */
export function versionsOf(owner: string, tenants: readonly Tenant[], store: VersionStore): VersionRow[] {
  const numbers = (pick: (tenant: Tenant) => VersionRecord | undefined): Set<number | undefined> =>
    new Set(tenants.map((tenant) => pick(tenant)?.number));
  const serving = numbers(({ version }) => version?.record);
  const candidates = numbers(({ rollout }) => rollout.version?.record);
  return store
    .history(owner)
    .map((record): VersionRow => {
      const { number, key } = record;
      const pin = store.pinOf(key);
      const isPinned = pin?.number === number;
      const rest = isPinned ? 'pinned' : store.isDropped(record) ? 'dropped' : 'kept';
      const state = serving.has(number) ? 'serving' : candidates.has(number) ? 'candidate' : rest;
      const pinnedBy = isPinned ? (pin.by === 'fleet' ? FLEET : pin.user) : '';
      return { record, state, pinnedBy, leftBy: store.leftBy(record) };
    })
    .toReversed();
}
