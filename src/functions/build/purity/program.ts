/** A bundle as a syntax tree with scopes. A unit is a piece of code with variables of its own: a function, mostly. */
import { parse, type Program as Tree } from 'acorn';
import { analyze, type Scope, type Variable } from 'eslint-scope';
import { forEachChild, isFunction, type FunctionNode, type Node } from './nodes.ts';

export type { Variable };

export class Program {
  readonly code: string;
  readonly tree: Tree;
  /** the function that esbuild wraps a bundle in */
  readonly main: FunctionNode;
  readonly scopes: readonly Scope[];
  readonly #parents = new Map<Node, Node>();
  readonly #variables = new Map<Node, Variable>();
  readonly #unitScopes = new Map<Node, Scope>();
  readonly #scopesOf = new Map<Node, Scope[]>();

  /** @param isSkipped whether a statement of the bundle's top level is left out, as if it were not there */
  constructor(code: string, isSkipped: (statement: Node) => boolean) {
    this.code = code;
    this.tree = parse(code, { ecmaVersion: 'latest', sourceType: 'script', ranges: true });
    this.main = mainOf(this.tree);
    if (this.main.body.type === 'BlockStatement')
      this.main.body.body = this.main.body.body.filter((statement) => !isSkipped(statement));
    const manager = analyze(this.tree as never, { ecmaVersion: 2024, sourceType: 'script' });
    this.scopes = manager.scopes;
    this.#link(this.tree);
    for (const scope of this.scopes) this.#note(scope);
  }

  parentOf(node: Node): Node | null {
    return this.#parents.get(node) ?? null;
  }

  /** The variable that a name means; null: a global, or not a name of a variable. */
  variableOf(name: Node): Variable | null {
    return this.#variables.get(name) ?? null;
  }

  /** The scope of a unit's own variables; null: it is no unit. */
  scopeOf(node: Node): Scope | null {
    return this.#unitScopes.get(node) ?? null;
  }

  /** All scopes that a node makes. */
  scopesOf(node: Node): readonly Scope[] {
    return this.#scopesOf.get(node) ?? [];
  }

  /** The unit that a node's code runs in. */
  unitOf(node: Node): Node {
    let at: Node = node;
    for (let up = this.parentOf(at); up !== null; up = this.parentOf(at)) {
      at = up;
      if (this.#unitScopes.has(at)) return at;
    }
    return this.tree;
  }

  /** The variables of the bundle's top level. */
  get mainVariables(): readonly Variable[] {
    return this.scopeOf(this.main)?.variables ?? [];
  }

  /** A variable of the bundle's top level; null: none has this name. */
  mainVariable(name: string): Variable | null {
    return this.scopeOf(this.main)?.set.get(name) ?? null;
  }

  /** Whether a name means the global everywhere at the bundle's top level. */
  isFree(name: string): boolean {
    return this.mainVariable(name) === null && !this.scopes[0]!.set.has(name);
  }

  /** The source of a node, cut, for a message. */
  textOf(node: Node): string {
    const text = this.code.slice(node.start, Math.min(node.end, node.start + 60)).replaceAll(/\s+/g, ' ');
    return node.end - node.start > 60 || text.length > 40 ? `${text.slice(0, 40)}…` : text;
  }

  #link(root: Node): void {
    const rest: Node[] = [root];
    for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
      const parent = node;
      forEachChild(parent, (child) => {
        this.#parents.set(child, parent);
        rest.push(child);
      });
    }
  }

  #note(scope: Scope): void {
    const block = scope.block as Node;
    if (scope.variableScope === scope) this.#unitScopes.set(block, scope);
    const known = this.#scopesOf.get(block);
    if (known === undefined) this.#scopesOf.set(block, [scope]);
    else known.push(scope);
    for (const variable of scope.variables)
      for (const name of variable.identifiers) this.#variables.set(name as Node, variable);
    for (const { identifier, resolved } of scope.references)
      if (resolved !== null) this.#variables.set(identifier as Node, resolved);
  }
}

/** @throws Error: it is not a bundle */
function mainOf(tree: Tree): FunctionNode {
  const [first] = tree.body.filter((node) => node.type === 'VariableDeclaration');
  const init = first?.declarations[0]?.init;
  if (init?.type === 'CallExpression' && isFunction(init.callee)) return init.callee;
  throw new Error('it is not a bundle of esbuild');
}

/** The node whose code has a variable: a unit. */
export function ownerOf(variable: Variable): Node {
  return variable.scope.variableScope.block as Node;
}

export function isParameter(variable: Variable): boolean {
  return variable.defs.some(({ type }) => type === 'Parameter');
}
