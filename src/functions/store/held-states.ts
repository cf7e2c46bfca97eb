/** What administrators have fixed for all tenants: read at the start, and written with each change (held-folder.ts). */
import { printable } from '../build/places.ts';
import { HeldState, NOTHING_HELD, type HeldSet } from './held.ts';
import type { FoundHeld } from './held-folder.ts';
import { folderName } from './names.ts';
import type { StateFolder } from './state-folder.ts';
import type { StateWriter, StoreLog } from './state-writer.ts';
import type { Pause, VersionKey } from './version-record.ts';

/** For a tenant whose state can't be read: a pin may have kept a newer version from serving. */
const PAUSED_BY_DAMAGE: Pause = { by: 'operator', user: '(damaged state folder)', as: 'error' };

export class HeldStates {
  readonly #writer: StateWriter;
  readonly #log: StoreLog;
  readonly #states = new Map<string, HeldState>();
  /** folders of tenants whose state can't be read */
  readonly #damaged = new Set<string>();
  #isHandedOver = false;

  constructor(writer: StateWriter, log: StoreLog) {
    this.#writer = writer;
    this.#log = log;
  }

  /** Reads everything. @throws Error if the names of tenants' folders can't be read */
  async prepare({ held: folder }: StateFolder): Promise<void> {
    for (const name of await folder.names()) {
      const { owner, held, damage } = await folder.read(name).catch(unreadable);
      if (damage !== null) this.#noteDamage(name, owner, damage);
      if (owner !== null) this.of(owner).restore(held);
      if (owner !== null && damage !== null) this.of(owner).pauseAs(PAUSED_BY_DAMAGE);
    }
  }

  /** The state of a tenant, to be read. */
  of(owner: string): HeldState {
    let state = this.#states.get(owner);
    if (state !== undefined) return state;
    this.#states.set(owner, (state = new HeldState()));
    if (this.#damaged.has(folderName(owner))) state.pauseAs(PAUSED_BY_DAMAGE);
    return state;
  }

  /** The PAUSE of a tenant; null: it is not paused. */
  pauseOf(owner: string): Pause | null {
    // names that clients make up cost nothing
    const isKnown = this.#damaged.size > 0 || this.#states.has(owner);
    return isKnown ? this.of(owner).pause : null;
  }

  /** @param pause null: there is none any more */
  setPause(owner: string, pause: Pause | null): void {
    this.of(owner).pauseAs(pause);
    this.#save(owner);
  }

  /** Another process that shares the folder has taken over, or has not: it alone keeps what canaries have counted. */
  handOver(isHandedOver: boolean): void {
    this.#isHandedOver = isHandedOver;
  }

  get<Part extends keyof HeldSet>({ owner, id }: VersionKey, part: Part): HeldSet[Part] | null {
    return this.#states.get(owner)?.of(id)[part] ?? null;
  }

  set<Part extends keyof HeldSet>({ owner, id }: VersionKey, part: Part, value: HeldSet[Part]): void {
    if (value === null && this.get({ owner, id }, part) === null) return;
    if (part === 'canary' && this.#isHandedOver) return;
    this.of(owner).set(id, part, value);
    this.#save(owner);
  }

  /** Only what has changed here is changed there: other processes may have changed the rest. */
  #save(owner: string): void {
    const state = this.of(owner);
    void this.#writer.save(owner, `held ${owner}`, async (folder) => {
      const changes = state.unwritten;
      if (changes.length === 0) return;
      await folder.check();
      await folder.held.change(owner, changes);
      state.written(changes);
    });
  }

  #noteDamage(name: string, owner: string | null, damage: string): void {
    this.#damaged.add(name);
    const tenant = owner === null ? `the tenant of ${name}` : printable(owner);
    this.#log.error(
      { event: 'state_damaged' },
      `what was fixed for ${tenant} can't be read, so its functions are paused, and its queries get errors, until an operator gives RESUME FUNCTIONS (and ROLLBACK FUNCTIONS if a version was pinned): ${printable(damage)}`,
    );
  }
}

/** One tenant's folder that can't be read is no reason to forget what was fixed for others. */
function unreadable(error: Error): Omit<FoundHeld, 'generation'> {
  return { owner: null, held: NOTHING_HELD, damage: error.message };
}
