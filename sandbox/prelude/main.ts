/**
 * The first code in every isolate, run before a rule's. src/functions/sandbox/programs.ts bundles it into one script. It
 * removes everything that could bypass the isolate's limits, freezes the rest, and calls the rule's functions. docs/sandbox.md
 * has the reasons.
 */
import type { Prelude } from '../crossing.ts';
import { Basis } from './basis.ts';
import { Calls, reserveBundleNames } from './calls.ts';
import { watchChanges } from './changes.ts';
import { Console } from './console.ts';
import { freezeAll, keepOverridable } from './freezing.ts';
import { guardBuiltIns } from './guards.ts';
import { Lasting } from './lasting.ts';
import type { PreludeLimits } from './limits.ts';
import { watchOutside } from './outside.ts';
import { Patterns } from './patterns.ts';
import { parse } from './primordials.ts';
import { listenToPromises } from './promises.ts';
import { Rejections } from './reject.ts';
import {
  removeDangerousGlobals,
  removeFunctionConstructors,
  replaceArrayBuffer,
  replaceSymbolRegistry,
} from './removal.ts';

/** @param limits JSON of PreludeLimits */
export function install(limits: string): Prelude {
  const given = parse(limits) as PreludeLimits;
  const basis = new Basis();
  removeDangerousGlobals();
  replaceSymbolRegistry(basis);
  replaceArrayBuffer();
  listenToPromises(basis);
  watchOutside(basis);
  removeFunctionConstructors();
  const lasting = new Lasting(given.isPure, new Patterns());
  const onError = (error: unknown): void => lasting.noteError(error);
  guardBuiltIns(given, onError);
  watchChanges(lasting);

  const rejections = new Rejections(given);
  rejections.provide();
  const console = new Console(given, basis);
  console.provide();

  keepOverridable(onError);
  reserveBundleNames();
  lasting.provide(() => basis.noteOutside());
  const intrinsics = freezeAll(lasting.caught);

  const calls = new Calls(given, basis, rejections, console, { lasting, intrinsics });
  return {
    activate: (context) => calls.activate(context),
    evaluate: (packed) => calls.evaluate(packed),
    progress: () => calls.progress(),
  };
}
