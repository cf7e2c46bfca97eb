/** What operators and tenants' administrators do to the functions of one tenant, by its name, and what they see of it. */
import type { SourceFiles } from '../build/bundle-job.ts';
import type { Pause } from '../store/version-record.ts';
import type { VersionStore } from '../store/version-store.ts';
import type { Catalog } from './catalog.ts';
import type { LogLine, LogLines } from './log-lines.ts';
import type { Targets } from './targets.ts';
import type { Tenant } from './tenant.ts';
import { versionsOf, type VersionRow } from './version-rows.ts';

export interface AdministrationOptions {
  readonly catalog: Pick<Catalog, 'ownedBy'>;
  readonly store: VersionStore;
  readonly targets: Pick<Targets, 'operatorsIn'>;
  readonly lines: LogLines;
}

export class Administration {
  readonly #options: AdministrationOptions;

  constructor(options: AdministrationOptions) {
    this.#options = options;
  }

  /** A user has given a command about the tenant, which its log shows. */
  audit(name: string, user: string, text: string): void {
    this.#options.lines.audit(name, user, text);
  }

  /** The last log lines about a tenant, oldest first. */
  log(name: string): readonly LogLine[] {
    return this.#options.lines.of(name);
  }

  /** The versions that a tenant has had, newest first. */
  async versions(name: string): Promise<VersionRow[]> {
    const { store, catalog } = this.#options;
    await store.open(name);
    return versionsOf(name, catalog.ownedBy(name), store);
  }

  /** The PAUSE of a tenant; null: it is not paused. */
  pauseOf(name: string): Pause | null {
    return this.#options.store.pauseOf(name);
  }

  /** PAUSE FUNCTIONS: no call reaches the tenant's functions until `resume`. */
  pause(name: string, pause: Pause): void {
    this.#options.store.setPause(name, pause);
    this.#applyPauses(name);
  }

  resume(name: string): void {
    this.#options.store.setPause(name, null);
    this.#applyPauses(name);
  }

  /** Whether a tenant's databases are also judged by functions of the operator's, which run together with its own. */
  runsOperatorsFunctions(name: string): boolean {
    return this.#options.catalog.ownedBy(name).some(({ files }) => this.#includesOperators(files));
  }

  /** A PAUSE by the tenant itself does not apply while a function of the operator's runs with its own. */
  applyPause(tenant: Tenant): void {
    const pause = this.pauseOf(tenant.owner);
    const applies = pause !== null && (pause.by === 'operator' || !this.#includesOperators(tenant.files));
    tenant.setPaused(applies ? pause.as : null);
  }

  #applyPauses(name: string): void {
    for (const tenant of this.#options.catalog.ownedBy(name)) this.applyPause(tenant);
  }

  #includesOperators(files: SourceFiles): boolean {
    return this.#options.targets.operatorsIn(files) !== '';
  }
}
