/**
 * Counts a function's work instead of timing it: how often each block of the proxy's code is run, as V8's coverage counts it,
 * and how many elements or bytes the built-in functions that look at each of them are given.
 */
import { Session } from 'node:inspector';
import { setFlagsFromString } from 'node:v8';

interface Coverage {
  result: { url: string; functions: { ranges: { count: number }[] }[] }[];
}

// The calls of an inlined function are not counted, and the moment of optimization is unknown.
setFlagsFromString('--no-turbo-inlining');
setFlagsFromString('--no-maglev-inlining');

const session = new Session();
session.connect();

/** Calls of the inspector that are answered at once. */
function ask(method: string, parameters: object = {}): unknown {
  let answer: unknown;
  session.post(method, parameters, (error, result) => {
    if (error !== null) throw new Error(`${method}: ${error.message}`);
    answer = result;
  });
  return answer;
}

ask('Profiler.enable');
ask('Profiler.startPreciseCoverage', { callCount: true, detailed: true });

const BUFFER = [
  'toString',
  'indexOf',
  'lastIndexOf',
  'includes',
  'copy',
  'equals',
  'compare',
  'write',
  'fill',
];
const ARRAY = [
  ...[
    'indexOf',
    'lastIndexOf',
    'includes',
    'splice',
    'shift',
    'unshift',
    'slice',
    'concat',
    'join',
    'filter',
  ],
  ...[
    'map',
    'flatMap',
    'find',
    'findIndex',
    'findLast',
    'some',
    'every',
    'forEach',
    'reduce',
    'sort',
    'reverse',
  ],
];
const STRING = [
  'indexOf',
  'includes',
  'split',
  'replace',
  'replaceAll',
  'match',
  'trim',
  'toLowerCase',
  'slice',
];

let looks = 0;

/** The examined part: up to the match, all results, or everything. */
function looked(name: string, length: number, args: readonly unknown[], result: unknown): number {
  if (typeof result === 'string') return result.length;
  if (name === 'copy' || name === 'write') return result as number;
  const from = typeof args[1] === 'number' ? args[1] : 0;
  if (typeof result === 'number') return result < 0 ? length - from : Math.abs(result - from);
  return Math.max(0, length - from);
}

/** Counts the lengths of the objects on which these methods are called. @returns undoes that */
function count(holder: object, names: readonly string[]): () => void {
  const methods = holder as Record<string, (...args: unknown[]) => unknown>;
  const before = names.map((name) => Object.getOwnPropertyDescriptor(holder, name));
  for (const name of names) {
    const original = methods[name]!;
    const counting = function (this: { length: number }, ...args: unknown[]): unknown {
      const result = Reflect.apply(original, this, args);
      looks += looked(name, this.length, args, result);
      return result;
    };
    Object.defineProperty(holder, name, { value: counting, configurable: true, writable: true });
  }
  return () => {
    names.forEach((name, i) => {
      const descriptor = before[i];
      if (descriptor === undefined) Reflect.deleteProperty(holder, name);
      else Object.defineProperty(holder, name, descriptor);
    });
  };
}

function countConcat(): () => void {
  const original = Buffer.concat;
  Buffer.concat = ((list: readonly Uint8Array[], ...rest: []) => {
    for (const each of list) looks += each.length;
    return original(list, ...rest);
  }) as typeof Buffer.concat;
  return () => {
    Buffer.concat = original;
  };
}

/** The work of one call. */
export function workOf(work: () => void): number {
  ask('Profiler.takePreciseCoverage');
  looks = 0;
  const undo = [
    count(Buffer.prototype, BUFFER),
    count(Array.prototype, ARRAY),
    count(String.prototype, STRING),
    countConcat(),
  ];
  try {
    work();
  } finally {
    for (const each of undo) each();
  }
  const counted = looks;
  const { result } = ask('Profiler.takePreciseCoverage') as Coverage;
  let blocks = 0;
  for (const { url, functions } of result)
    if (url.includes('/src/'))
      for (const { ranges } of functions) for (const range of ranges) blocks += range.count;
  return counted + blocks;
}
