/**
 * Tenants whose files have vanished: their functions stay active until the grace period is over or an operator has confirmed
 * the removal. After that, a tenant that guards queries fails them, and any other counts as removed.
 */
import { isThere, type FindFile } from '../build/sources.ts';
import type { Origins } from './judge.ts';
import { KnownFiles } from './known-files.ts';
import type { FunctionSettings, Policies } from './settings.ts';
import type { Tenant } from './tenant.ts';

export interface RemovalsOptions {
  readonly settings: () => FunctionSettings;
  /** tenants that have a function in this file */
  readonly using: (file: string) => readonly Tenant[];
  /** for functions in a file that no tenant has a function in */
  readonly policiesOf: (file: string) => Policies;
  /** A file no longer applies: other files may take its place. */
  readonly onRemoved: () => void;
  /** The files that apply have changed. */
  readonly onChanged: () => void;
}

export class Removals {
  readonly #options: RemovalsOptions;
  readonly #known: KnownFiles;

  constructor(options: RemovalsOptions) {
    this.#options = options;
    this.#known = new KnownFiles(() => options.settings().user_function_removal_grace, {
      onGone: (file) => this.#gone(file),
      onBack: (file) => this.#back(file),
      onChanged: () => options.onChanged(),
      onOverdue: (file) => this.#overdue(file),
    });
  }

  /** Finds the file that applies in a folder, even if it vanished a moment ago. */
  readonly find: FindFile = (folder, name, extensions) => this.#known.find(folder, name, extensions);

  /** The files that apply, by their paths without the extension. */
  get known(): [place: string, file: string][] {
    return this.#known.all;
  }

  /** Takes over the files that applied before a restart. @returns those that have vanished since then */
  restore(known: readonly (readonly [place: string, file: string])[]): string[] {
    this.#known.restore(known);
    return known.map(([, file]) => file).filter((file) => !isThere(file));
  }

  /** A file of the tenant has vanished. */
  concerns({ files }: Tenant): boolean {
    return this.#known.isGone(files.routing) || this.#known.isGone(files.rewrite);
  }

  /** The operator confirms that all vanished files were removed on purpose. @returns these files */
  confirm(): string[] {
    return this.#known.confirmRemovals();
  }

  stop(): void {
    this.#known.stop();
  }

  #gone(file: string): void {
    const graceMs = this.#options.settings().user_function_removal_grace;
    for (const tenant of this.#options.using(file)) tenant.noteGone(file, graceMs);
  }

  #back(file: string): void {
    for (const tenant of this.#options.using(file)) tenant.noteBack(file, !this.concerns(tenant));
  }

  /** @returns whether the file no longer applies */
  #overdue(file: string): boolean {
    const tenants = this.#options.using(file);
    const guards = tenants.filter(({ origins, policies }) => isGuard(origins, policies, file));
    for (const guard of guards) guard.failWithout(file);
    if (guards.length > 0) return false;
    // No client has used its database yet, and the file may hold both functions.
    const both = { routing: file, rewrite: file };
    if (tenants.length === 0 && isGuard(both, this.#options.policiesOf(file), file)) return false;
    // after KnownFiles has forgotten the file
    process.nextTick(this.#options.onRemoved);
    return true;
  }
}

/** Whether a function that comes from this file has a policy other than `pass`. */
function isGuard(origins: Origins, { onRoutingFailure, onRewriteFailure }: Policies, file: string): boolean {
  return (
    (origins.routing === file && onRoutingFailure !== 'pass') ||
    (origins.rewrite === file && onRewriteFailure !== 'pass')
  );
}
