/** Names of other environments, which code in an isolate may look for: errors say why they are not there. */
import { matches } from './patterns.ts';
import { includes, uncurried } from './primordials.ts';

const endsWith = uncurried(String.prototype.endsWith) as (text: string, end: string) => boolean;
const slice = uncurried(String.prototype.slice) as (text: string, from: number, to: number) => string;

const UNDEFINED = ' is not defined';

/** What each group of names would give. */
const REASONS: readonly (readonly [names: string, reason: string])[] = [
  [
    ' setTimeout setInterval setImmediate clearTimeout clearInterval queueMicrotask ',
    'has no timers: it has to answer at once',
  ],
  [' fetch XMLHttpRequest WebSocket EventSource Request Response Headers ', 'has no network'],
  [' crypto ', 'has no cryptography and no secure random numbers'],
  [' process module exports __dirname __filename ', "has none of Node's names"],
  [
    ' Buffer TextEncoder TextDecoder URL URLSearchParams structuredClone performance atob btoa AbortController Event EventTarget Blob ',
    "has JavaScript's own objects only",
  ],
  [' document navigator location localStorage ', 'runs in no browser'],
  [' Intl ', 'has no Intl, whose memory can not be limited'],
  [' WebAssembly SharedArrayBuffer Atomics ', 'has no WebAssembly and no shared memory'],
  [' WeakRef FinalizationRegistry ', 'can not see when the engine frees memory'],
  [' eval ', 'can not make code from strings'],
];

/** The message of an error, with the reason if it is about a name that other environments have. */
export function explained(message: string): string {
  if (!endsWith(message, UNDEFINED)) return message;
  const name = slice(message, 0, -UNDEFINED.length);
  for (let i = 0; i < REASONS.length; i++)
    if (includes(REASONS[i]![0], ` ${name} `)) return `${message}: a user function ${REASONS[i]![1]}`;
  return message;
}

/** The engine's words for an attempt to change something frozen. */
export const FROZEN_ERROR =
  /read only|read-only|not extensible|^Cannot (?:add|assign|define|delete|redefine|set) /;

/** The message of an error of a bundle that is loaded: until then only built-in objects are frozen. */
export function explainedAtLoad(message: string): string {
  return matches(FROZEN_ERROR, message)
    ? `${message}: a user function can't change built-in objects`
    : message;
}
