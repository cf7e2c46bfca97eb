/** The result of loading a version: its functions, or the reason why it can't be used. */
import type { Manifest, VersionOptions } from '../../../sandbox/crossing.ts';

export type { Manifest, VersionOptions };

/**
 * Why a version can't be used. `mistake`: its code is wrong. `offence`: loading it was costly to others, in time up to the
 * limit, memory, or a process. `passing`: it could not be tried, and the same version may load a moment later.
 */
export type RefusalCause = 'mistake' | 'offence' | 'passing';

export interface LoadRefusal {
  readonly kind: 'refused';
  readonly cause: RefusalCause;
  readonly message: string;
  /** inside the bundle, for mapping to the source; '': none */
  readonly stack: string;
}

export type LoadResult = { readonly kind: 'loaded'; readonly manifest: Manifest } | LoadRefusal;

export function refused(cause: RefusalCause, message: string, stack = ''): LoadRefusal {
  return { kind: 'refused', cause, message, stack };
}
