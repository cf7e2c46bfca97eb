/** The analysis of a bundle: can its functions change state that outlives a call? */
import { relative, resolve } from 'node:path';
import { parse } from 'acorn';
import { PURITY } from '../../limits.ts';
import { printable } from '../places.ts';
import { findPlace, type MapIndex, type Place } from '../source-map.ts';
import { caughtEdits } from './caught.ts';
import { declaratorOf, unusedHelpers } from './helpers.ts';
import { Held } from './held.ts';
import { LoadTime } from './load-time.ts';
import { isFunction, type Node } from './nodes.ts';
import { Program } from './program.ts';
import type { Purity } from './purity.ts';
import { refusalOf } from './refusals.ts';
import { Writes, type Finding } from './writes.ts';

export interface Analysed {
  readonly purity: Purity;
  /** the bundle; a pure one hands over what must be frozen (held.ts), and errors (caught.ts) */
  readonly code: string;
}

/**
 * @param folder that places are shown relative to
 * @param isReviewed whether a module, by its absolute path, is known to keep no state (reviewed.ts)
 */
export function analyse(
  code: string,
  map: MapIndex,
  folder: string,
  isReviewed: (path: string) => boolean,
): Analysed {
  const impure = (reason: string): Analysed => ({
    code,
    purity: { isPure: false, reason: printable(reason) },
  });
  if (code.length > PURITY.maxCode)
    return impure(`the bundle is larger than ${PURITY.maxCode / 1024 / 1024} MB, too large to be analysed`);
  try {
    let hasReviewed = false;
    const places = new Places(code, map, folder);
    const program = new Program(code, (statement) => {
      const path = moduleOf(statement, places);
      if (path === null || !isReviewed(path)) return false;
      hasReviewed = true;
      return true;
    });
    const loadTime = new LoadTime(program);
    const known = new Set(unusedHelpers(program));
    for (const variable of program.mainVariables) {
      const helper = declaratorOf(program, variable);
      if (helper !== null) known.add(helper);
    }
    const describe = ({ node, what }: Finding): string =>
      `${what} at ${places.of(node) ?? 'an unknown place'}`;
    const writes = new Writes(program, loadTime, known);
    const { definite, unproven, swallows } = writes;
    if (definite !== null) return impure(describe(definite));
    const refusal = refusalOf(program, loadTime, known);
    if (refusal !== null) return impure(describe(refusal));
    if (unproven !== null && (swallows || hasReviewed)) return impure(describe(unproven));
    const caught = caughtEdits(program, writes.doubtful);
    const held = new Held(program, loadTime, (node) => places.of(node), caught);
    if (held.problem !== null) return impure(describe(held.problem));
    if (caught.length > 0) parse(held.code, { ecmaVersion: 'latest', sourceType: 'script' });
    return { code: held.code, purity: { isPure: true, reason: '' } };
  } catch (error) {
    // too deeply nested, or syntax that the parser does not know
    return impure(`it can't be analysed: ${(error as Error).message.slice(0, PURITY.maxMessage)}`);
  }
}

/** The file of a CommonJS module that a statement of the top level wraps, absolute; null: none. */
function moduleOf(statement: Node, places: Places): string | null {
  const init = statement.type === 'VariableDeclaration' ? statement.declarations[0]?.init : null;
  if (init?.type !== 'CallExpression' || init.arguments[0]?.type !== 'ObjectExpression') return null;
  const [property] = init.arguments[0].properties;
  if (property?.type !== 'Property' || !isFunction(property.value)) return null;
  // the wrapper itself is nobody's: what it is called says nothing about the file that its code comes from
  const [first] = property.value.body.type === 'BlockStatement' ? property.value.body.body : [];
  return first === undefined ? null : places.fileOf(first);
}

/** The author's places of nodes. */
class Places {
  readonly #map: MapIndex;
  readonly #folder: string;
  /** where each line of the bundle begins */
  readonly #lines: number[] = [0];

  constructor(code: string, map: MapIndex, folder: string) {
    this.#map = map;
    this.#folder = folder;
    for (let at = code.indexOf('\n'); at >= 0; at = code.indexOf('\n', at + 1)) this.#lines.push(at + 1);
  }

  /** `rules.ts:12`, or `package/index.js:3`; null: unknown */
  of(node: Node): string | null {
    const place = this.#find(node);
    if (place === null) return null;
    const path = relative(this.#folder, resolve(this.#folder, place.source));
    return `${path.replace(/^.*\bnode_modules\//, '')}:${place.line + 1}`;
  }

  /** The file that a node comes from, absolute; null: unknown. */
  fileOf(node: Node): string | null {
    const place = this.#find(node);
    return place === null ? null : resolve(this.#folder, place.source);
  }

  #find({ start }: Node): Place | null {
    let low = 0;
    for (let high = this.#lines.length; high - low > 1;) {
      const middle = (low + high) >> 1;
      if (this.#lines[middle]! <= start) low = middle;
      else high = middle;
    }
    return findPlace(this.#map, low, start - this.#lines[low]!);
  }
}
