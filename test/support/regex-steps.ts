/**
 * Counts a backtracking engine's steps for a regular expression, which V8's engine does not report. One step for each node of
 * the expression that is tried at a position.
 */
import { AST, RegExpParser } from '@eslint-community/regexpp';

type Next = (at: number) => boolean;

/** Steps after which counting stops. */
export const ENOUGH = 100_000;

class Enough extends Error {}

export class Steps {
  readonly pattern: AST.Pattern;
  readonly #flags: string;
  #text = '';
  #steps = 0;

  constructor(source: string, flags: string) {
    this.pattern = new RegExpParser().parsePattern(source, 0, source.length, flags.includes('u'));
    this.#flags = flags;
  }

  /** Steps for a text: of its first match, or with the flag g of all. */
  count(text: string): number {
    this.#text = text;
    this.#steps = 0;
    try {
      for (let start = 0; start <= text.length; start++) {
        let end = -1;
        const isFound = this.#any(this.pattern.alternatives, start, (at) => {
          end = at;
          return true;
        });
        if (this.#flags.includes('y') || (isFound && !this.#flags.includes('g'))) break;
        if (isFound && end > start) start = end - 1;
      }
    } catch (error) {
      if (!(error instanceof Enough)) throw error;
    }
    return this.#steps;
  }

  #any(alternatives: readonly AST.Alternative[], at: number, next: Next): boolean {
    for (const { elements } of alternatives) if (this.#sequence(elements, 0, at, next)) return true;
    return false;
  }

  #sequence(elements: readonly AST.Element[], index: number, at: number, next: Next): boolean {
    const element = elements[index];
    if (element === undefined) return next(at);
    return this.#match(element, at, (end) => this.#sequence(elements, index + 1, end, next));
  }

  #match(node: AST.Element, at: number, next: Next): boolean {
    if (++this.#steps > ENOUGH) throw new Enough();
    switch (node.type) {
      case 'Group':
      case 'CapturingGroup':
        return this.#any(node.alternatives, at, next);
      case 'Quantifier':
        return this.#repeat(node, 0, at, next);
      case 'Assertion':
        return this.#holds(node, at) && next(at);
      case 'Character':
      case 'CharacterSet':
      case 'CharacterClass':
        return at < this.#text.length && this.#fits(node, this.#text.charCodeAt(at)) && next(at + 1);
      default:
        throw new Error(`${node.type} is not counted`);
    }
  }

  #repeat(node: AST.Quantifier, done: number, at: number, next: Next): boolean {
    const more = (): boolean =>
      done < node.max &&
      this.#match(
        node.element,
        at,
        (end) => (end > at || done < node.min) && this.#repeat(node, done + 1, end, next),
      );
    const enough = (): boolean => done >= node.min && next(at);
    return node.greedy ? more() || enough() : enough() || more();
  }

  #holds(node: AST.Assertion, at: number): boolean {
    const text = this.#text;
    const isWord = (i: number): boolean => /\w/.test(text.charAt(i));
    const isMultiline = this.#flags.includes('m');
    switch (node.kind) {
      case 'start':
        return at === 0 || (isMultiline && text[at - 1] === '\n');
      case 'end':
        return at === text.length || (isMultiline && text[at] === '\n');
      case 'word':
        return (isWord(at - 1) !== isWord(at)) !== node.negate;
      case 'lookahead':
        return this.#any(node.alternatives, at, () => true) !== node.negate;
      default:
        throw new Error(`${node.kind} is not counted`);
    }
  }

  #fits(node: AST.Character | AST.CharacterSet | AST.CharacterClass, code: number): boolean {
    return fits(node, code, this.#flags);
  }
}

/** Whether a character is one of those that a node stands for. */
export function fits(node: AST.Node, code: number, flags: string): boolean {
  const char = String.fromCharCode(code);
  switch (node.type) {
    case 'Character': {
      const own = String.fromCharCode(node.value);
      return own === char || (flags.includes('i') && own.toLowerCase() === char.toLowerCase());
    }
    case 'CharacterClassRange':
      return [char, char.toLowerCase(), char.toUpperCase()]
        .slice(0, flags.includes('i') ? 3 : 1)
        .some((each) => each.charCodeAt(0) >= node.min.value && each.charCodeAt(0) <= node.max.value);
    case 'CharacterSet':
      if (node.kind === 'any') return flags.includes('s') || !/[\n\r\u2028\u2029]/.test(char);
      if (node.kind === 'space') return /\s/.test(char) !== node.negate;
      if (node.kind === 'digit') return /\d/.test(char) !== node.negate;
      if (node.kind === 'word') return /\w/.test(char) !== node.negate;
      throw new Error(`${node.kind} is not counted`);
    case 'CharacterClass':
      return node.elements.some((each) => fits(each, code, flags)) !== node.negate;
    default:
      throw new Error(`${node.type} is not counted`);
  }
}
