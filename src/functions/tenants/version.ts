/** One version of a tenant's code: a bundle that has been loaded into the host where its calls run. */
import type { Bundle } from '../build/bundle-job.ts';
import { positionsOf, type Place, type Positions } from '../build/places.ts';
import type { Remembered } from '../build/purity/purity.ts';
import type { CallFailure } from '../sandbox/call.ts';
import type { SandboxHost, VersionCode } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { VersionRecord } from '../store/version-record.ts';
import type { TenantSettings } from './settings.ts';

export interface VersionParts {
  readonly bundle: Bundle;
  /** the file that places in the source are shown relative to, absolute */
  readonly entryFile: string;
  readonly code: VersionCode;
  readonly host: SandboxHost;
  readonly settings: TenantSettings;
  readonly manifest: Manifest;
  readonly trialRoute: string | null;
  readonly record: VersionRecord;
}

export class Version {
  readonly bundle: Bundle;
  /** in the form that its hosts get */
  readonly code: VersionCode;
  readonly host: SandboxHost;
  /** the settings with which it was loaded */
  readonly settings: TenantSettings;
  /** the existing functions */
  readonly manifest: Manifest;
  /** the database that its trial call was routed to; null: none */
  readonly trialRoute: string | null;
  /** its number among the tenant's versions, and what else is kept of it */
  readonly record: VersionRecord;
  /** ms since 1970 */
  readonly loadedAtMs = Date.now();
  readonly #positions: Positions;
  /** null: not looked for yet */
  #canReject: boolean | null = null;
  /** a change of state that was seen while it ran; '': none */
  #changed = '';

  constructor(parts: VersionParts) {
    this.bundle = parts.bundle;
    this.code = parts.code;
    this.host = parts.host;
    this.settings = parts.settings;
    this.manifest = parts.manifest;
    this.trialRoute = parts.trialRoute;
    this.record = parts.record;
    this.#positions = positionsOf(parts.bundle.map, parts.entryFile);
  }

  /** Unique among all versions of the proxy: hosts identify it by this number. */
  get id(): number {
    return this.code.id;
  }

  /** Hash of the code: equal hashes mean equal code. */
  get hash(): string {
    return this.bundle.hash;
  }

  /** Whether it was loaded into this host with these settings. */
  isAt(host: SandboxHost, settings: TenantSettings): boolean {
    return this.host === host && this.settings === settings;
  }

  /** The place of a failure in the author's files; null: unknown. */
  placeOf(failure: CallFailure): Place | null {
    return this.#positions.find(failure.stack);
  }

  /** Whether its code uses `reject` beyond the line that takes it over from the isolate (build/bundle.ts). */
  get canReject(): boolean {
    this.#canReject ??= /\breject\d*\b/.test(
      this.code.code.replace(/^.*\breject\d* = globalThis\.reject;$/gm, ''),
    );
    return this.#canReject;
  }

  /** Whether its decisions may be remembered. */
  get remembered(): Remembered {
    if (this.isRemembered) return { yes: true };
    const { purity } = this.bundle;
    return { yes: false, why: this.#changed || purity.reason || (this.manifest.state ?? '') };
  }

  /** The same as a plain boolean, for each query. */
  get isRemembered(): boolean {
    const { options, state } = this.manifest;
    return this.#changed === '' && (options.pure || (this.bundle.purity.isPure && state === undefined));
  }

  /**
   * It has changed state, or given two answers to one question: its decisions are not remembered any more.
   * @param why `counter is changed at rules.ts:12`
   */
  forbidRemembering(why: string): void {
    if (this.#changed === '') this.#changed = why;
  }

  /** Its host answers the calls that it was given, then forgets it. */
  dispose(): void {
    this.host.dispose(this.id);
  }
}
