/**
 * The built-ins that the prelude itself uses, captured before anything is changed. Code that runs after a rule was loaded
 * relies on these, and on prototypes, which are frozen by then.
 */

export type AnyFunction = (...args: unknown[]) => unknown;
export type Loose = Record<PropertyKey, unknown>;

export const { apply, construct, ownKeys, getOwnPropertyDescriptor, getPrototypeOf } = Reflect;
export const { defineProperty, freeze, create } = Object;
export const { parse, stringify } = JSON;
export const now = Date.now;
export const global = globalThis as unknown as Loose;

/** A method as a function whose first argument is the object. */
export const uncurried = Function.prototype.bind.bind(Function.prototype.call) as unknown as (
  method: unknown,
) => AnyFunction;

/** Methods without the length guards: the prelude knows the length of its own strings. */
export const split = Function.prototype.call.bind(String.prototype.split) as unknown as (
  text: string,
  separator: string,
) => string[];
export const join = Function.prototype.call.bind(Array.prototype.join) as unknown as (
  parts: readonly string[],
  separator: string,
) => string;
export const includes = Function.prototype.call.bind(String.prototype.includes) as unknown as (
  text: string,
  part: string,
) => boolean;

/** One function of each kind. Each kind has a prototype of its own, which no global leads to. */
export const functionKinds = [
  function () {},
  async function () {},
  function* () {},
  async function* () {},
] as unknown as readonly AnyFunction[];

/** Whether calling a function returns a promise or an async iterator. */
export function isAsync(value: object): boolean {
  const kind = getPrototypeOf(value);
  return kind === getPrototypeOf(functionKinds[1]!) || kind === getPrototypeOf(functionKinds[3]!);
}
