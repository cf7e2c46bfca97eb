/**
 * Functions of the C library that Node has no API for, through node:ffi (Node 26). Each
 * caller documents its behaviour when node:ffi is missing.
 */

type Ffi = typeof import('node:ffi');
type Definitions = Parameters<Ffi['dlopen']>[1];

/**
 * @param definitions of the functions, as node:ffi wants them; structures and constants are Linux's
 * @returns the functions by name, called synchronously; null: no node:ffi, or not Linux
 */
export function loadLibc<T>(definitions: Definitions): T | null {
  return withFfi((ffi) => ffi.dlopen(null, definitions).functions as T);
}

/** Gives node:ffi to `work`; null: none, or `work` throws. */
export function withFfi<T>(work: (ffi: Ffi) => T): T | null {
  if (process.platform !== 'linux') return null;
  const { emitWarning } = process;
  try {
    // "experimental": an operator could do nothing about that
    process.emitWarning = () => {};
    return work(process.getBuiltinModule('node:ffi'));
  } catch {
    return null;
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** The descriptor of a socket or a listener, for which Node has no public API; -1: none, or closed. */
export function fdOf(socket: object): number {
  return (socket as { _handle?: { fd?: number } | null })._handle?.fd ?? -1;
}
