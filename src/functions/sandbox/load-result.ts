/** What loading a version gives: which functions it has, or why it can't be used. */

/** What a version holds. */
export interface Manifest {
  /** it has a routing function */
  readonly routes: boolean;
  /** it has a rewriting function */
  readonly rewrites: boolean;
}

/**
 * Why a version can't be used. `mistake`: its code is wrong. `offence`: loading it has cost others something: time up to the
 * limit, memory, a process. `passing`: nothing could be tried, and the same version may load a moment later.
 */
export type RefusalCause = 'mistake' | 'offence' | 'passing';

export interface LoadRefusal {
  readonly kind: 'refused';
  readonly cause: RefusalCause;
  readonly message: string;
  /** inside the bundle, for mapping to the source; '': there is none */
  readonly stack: string;
}

export type LoadResult = { readonly kind: 'loaded'; readonly manifest: Manifest } | LoadRefusal;

export function refused(cause: RefusalCause, message: string, stack = ''): LoadRefusal {
  return { kind: 'refused', cause, message, stack };
}

/**
 * Reads the text in which an engine says how loading went: `ok` and the functions that there are (` routes`, ` rewrites`), or
 * a message, U+0001 and a stack. It may come from a process that somebody has broken out in.
 */
export function readLoadResult(text: string): LoadResult {
  if (text.startsWith('ok'))
    return {
      kind: 'loaded',
      manifest: { routes: text.includes('routes'), rewrites: text.includes('rewrites') },
    };
  const [message = '', stack = ''] = text.split('\u0001');
  const isOffence = /^(?:Script execution timed out|Isolate was disposed)/.test(message);
  return refused(isOffence ? 'offence' : 'mistake', message, stack);
}
