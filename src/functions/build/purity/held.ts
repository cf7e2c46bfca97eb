/**
 * Makes a bundle hand over the variables of its top level, and of functions that run while it is loaded, if other functions
 * use them: `__pgswitchyard_hold('cache at rules.ts:3', () => cache)`. Freezing then reaches what they hold. The calls stand
 * right behind an opening brace, so that lines stay where they are.
 */
import type { LoadTime } from './load-time.ts';
import { forEachChild, isFunction, type Node } from './nodes.ts';
import type { Program, Variable } from './program.ts';
import { HOLD } from './refusals.ts';
import type { Finding } from './writes.ts';

type Scope = Program['scopes'][number];

export interface Edit {
  readonly at: number;
  readonly text: string;
  /** the order of those at one place */
  readonly rank: number;
}

export class Held {
  readonly #program: Program;
  readonly #loadTime: LoadTime;
  readonly #placeOf: (node: Node) => string | null;
  readonly #edits: Edit[] = [];
  /** a place where a variable can't be handed over */
  problem: Finding | null = null;

  /**
   * @param placeOf `rules.ts:3`; null: unknown
   * @param others edits of the bundle that are made at the same time
   */
  constructor(
    program: Program,
    loadTime: LoadTime,
    placeOf: (node: Node) => string | null,
    others: readonly Edit[],
  ) {
    this.#edits.push(...others);
    this.#program = program;
    this.#loadTime = loadTime;
    this.#placeOf = placeOf;
    for (const scope of program.scopes)
      if (loadTime.running.has(scope.variableScope.block as Node)) this.#handOver(scope);
    this.#handOverThis();
  }

  /** The bundle with all calls. */
  get code(): string {
    const { code } = this.#program;
    const edits = this.#edits.toSorted((a, b) => a.at - b.at || a.rank - b.rank);
    const parts: string[] = [];
    let from = 0;
    for (const { at, text } of edits) {
      parts.push(code.slice(from, at), text);
      from = at;
    }
    parts.push(code.slice(from));
    return parts.join('');
  }

  #handOver(scope: Scope): void {
    const shared = scope.variables.filter((variable) => isShared(variable, scope));
    const block = scope.block as Node;
    if (shared.length === 0 || scope.type === 'class' || scope.type === 'function-expression-name') return;
    const doubtful = shared.find((each) => isDoubtful(each) || usedInHead(each, scope));
    if (doubtful !== undefined) return this.#refuse(block, doubtful.name);
    const text = shared.map((each) => this.#entry(each)).join();
    if (scope.type === 'global') return;
    if (!this.#insert(block, text)) this.#refuse(block, shared[0]!.name);
  }

  #entry(variable: Variable): string {
    const name = variable.identifiers[0] as Node | undefined;
    return `${JSON.stringify(this.#label(variable.name, name))},()=>${variable.name}`;
  }

  #label(name: string, node: Node | undefined): string {
    const place = node === undefined ? null : this.#placeOf(node);
    return place === null ? name : `${name} at ${place}`;
  }

  #refuse(node: Node, name: string): void {
    this.problem ??= { node, what: `${name} can't be followed` };
  }

  /** @returns false: there is no place for it */
  #insert(block: Node, entries: string): boolean {
    const call = `${HOLD}(${entries})`;
    switch (block.type) {
      case 'BlockStatement':
        return this.#edit(block.start + 1, `${call};`);
      case 'StaticBlock':
        return this.#edit(this.#program.code.indexOf('{', block.start) + 1, `${call};`);
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement':
        if (block.body.type === 'BlockStatement') return this.#insert(block.body, entries);
        this.#edit(block.body.end, '}');
        return this.#edit(block.body.start, `{${call};`);
      case 'CatchClause':
        return this.#insert(block.body, entries);
      default:
        if (!isFunction(block)) return false;
        if (block.body.type === 'BlockStatement') return this.#insert(block.body, entries);
        this.#edit(block.body.end, ')');
        return this.#edit(block.body.start, `(${call},`);
    }
  }

  #edit(at: number, text: string, rank = 0): true {
    this.#edits.push({ at, text, rank });
    return true;
  }

  /** An arrow function has `this` of the code around it. */
  #handOverThis(): void {
    const done = new Set<Node>();
    const rest: Node[] = [this.#program.tree];
    for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
      if (node.type === 'ThisExpression' || node.type === 'Super') {
        const owner = this.#ownerOfThis(node);
        if (owner !== null && !done.has(owner) && this.#loadTime.running.has(owner)) {
          done.add(owner);
          const entries = `${JSON.stringify(this.#label('this', owner))},()=>this`;
          if (isFunction(owner) && owner.type !== 'ArrowFunctionExpression') this.#insert(owner, entries);
          else if (owner.type === 'StaticBlock') this.#insert(owner, entries);
          else {
            this.#edit(owner.end, ')', 2);
            this.#edit(owner.start, `(${HOLD}(${entries}),`);
          }
        }
      }
      forEachChild(node, (child) => rest.push(child));
    }
  }

  /** The code whose `this` an arrow function around this node keeps: a unit or a field's value; null: no arrow function. */
  #ownerOfThis(node: Node): Node | null {
    let throughArrow = false;
    for (
      let at: Node = node, up = this.#program.parentOf(at);
      up !== null;
      at = up, up = this.#program.parentOf(at)
    ) {
      if (up.type === 'PropertyDefinition' && up.value === at) return throughArrow || isArrow(at) ? at : null;
      if (isArrow(up)) throughArrow = true;
      else if (isFunction(up) || up.type === 'StaticBlock') return throughArrow ? up : null;
    }
    return null;
  }
}

function isArrow(node: Node): boolean {
  return node.type === 'ArrowFunctionExpression';
}

/** Whether functions other than the one that has a variable use it. */
function isShared(variable: Variable, scope: Scope): boolean {
  // a class uses a name of its own for itself
  const isClassName = variable.defs.some(({ type }) => type === 'ClassName');
  return isClassName || variable.references.some(({ from }) => from.variableScope !== scope.variableScope);
}

/** A parameter and a variable of one name may be two, of which only one can be named in the function's body. */
function isDoubtful({ defs }: Variable): boolean {
  return defs.some(({ type }) => type === 'Parameter') && defs.some(({ type }) => type !== 'Parameter');
}

/** A function in the head of a loop has a variable of its own. */
function usedInHead(variable: Variable, scope: Scope): boolean {
  const block = scope.block as Node;
  if (scope.type !== 'for' || !('body' in block)) return false;
  const { start, end } = block.body as Node;
  return variable.references.some(
    ({ identifier, from }) =>
      from.variableScope !== scope.variableScope &&
      !((identifier as Node).start >= start && (identifier as Node).end <= end),
  );
}
