/** Finds code that may change state which outlives a call. */
import { isHelper } from './helpers.ts';
import { holdsFresh, isFresh, sourceOf } from './fresh.ts';
import type { LoadTime } from './load-time.ts';
import { forEachChild, isFunction, keyName, rootOf, type ClassNode, type Node } from './nodes.ts';
import { ownerOf, type Program, type Variable } from './program.ts';

/** A piece of code, and what is wrong with it: `counter is changed`. */
export interface Finding {
  readonly node: Node;
  readonly what: string;
}

/** Methods of arrays, maps and sets that change them. */
const CHANGING = new Set([
  'add',
  'clear',
  'copyWithin',
  'delete',
  'fill',
  'pop',
  'push',
  'reverse',
  'set',
  'shift',
  'sort',
  'splice',
  'unshift',
]);

export class Writes {
  readonly #program: Program;
  readonly #loadTime: LoadTime;
  /** code that is known to be harmless */
  readonly #known: ReadonlySet<Node>;
  #prototypes: boolean | null = null;
  /** state that outlives a call is changed */
  definite: Finding | null = null;
  /** an object is changed that may outlive a call: if it does, it is frozen, and the change throws */
  unproven: Finding | null = null;
  /** functions that do so */
  readonly doubtful = new Set<Node>();
  /** such an error may go unseen */
  swallows = false;

  constructor(program: Program, loadTime: LoadTime, known: ReadonlySet<Node>) {
    this.#program = program;
    this.#loadTime = loadTime;
    this.#known = known;
    this.#checkVariables();
    this.#checkNodes();
  }

  #checkVariables(): void {
    for (const { references, variableScope } of this.#program.scopes) {
      const unit = variableScope.block as Node;
      if (this.#loadTime.once.has(unit)) continue;
      for (const reference of references) {
        if (!reference.isWrite()) continue;
        const { resolved } = reference;
        const name = reference.identifier as Node;
        if (resolved !== null && !this.#outlives(resolved, unit)) continue;
        if (!this.#isKnown(name))
          this.#found({ node: name, what: `${this.#program.textOf(name)} is changed` });
      }
    }
  }

  /** Whether a variable that this unit writes to may exist before and after a call. */
  #outlives(variable: Variable, unit: Node): boolean {
    const owner = ownerOf(variable);
    return owner !== unit && this.#loadTime.running.has(owner);
  }

  #isKnown(node: Node): boolean {
    for (let at: Node | null = node; at !== null; at = this.#program.parentOf(at))
      if (this.#known.has(at)) return true;
    return false;
  }

  #found(finding: Finding): void {
    if (this.definite === null || finding.node.start < this.definite.node.start) this.definite = finding;
  }

  #checkNodes(): void {
    const rest: [node: Node, unit: Node][] = [[this.#program.tree, this.#program.tree]];
    for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
      const [node, unit] = next;
      if (this.#known.has(node)) continue;
      const own = this.#program.scopeOf(node) === null ? unit : node;
      if (node.type === 'ClassDeclaration' || node.type === 'ClassExpression') this.#checkFields(node);
      if (!this.#loadTime.once.has(own)) {
        this.#check(node, own);
        if (node.type === 'TryStatement') this.swallows = true;
      }
      if (this.#mayHideErrors(node)) this.swallows = true;
      forEachChild(node, (child) => rest.push([child, own]));
    }
  }

  /** Promises and the console catch errors, and so does a loop that an error ends, when it closes its iterator. */
  #mayHideErrors(node: Node): boolean {
    if (node.type === 'Property' || node.type === 'MethodDefinition') {
      const name = keyName(node.key, node.computed);
      return name === 'return' || (name === null && isFunction(node.value) && !isSymbol(node.key));
    }
    if (node.type === 'MemberExpression') return keyName(node.property, node.computed) === 'return';
    // an error of an async function is its promise's
    if (isHelper(this.#program, node, ['__async'])) return true;
    if (node.type !== 'Identifier' || this.#program.variableOf(node) !== null) return false;
    const parent = this.#program.parentOf(node);
    const isName = parent?.type === 'MemberExpression' && parent.property === node && !parent.computed;
    if (isName) return node.name === 'Promise' || node.name === 'console';
    if (node.name !== 'globalThis') return node.name === 'Promise' || node.name === 'console';
    return parent?.type !== 'MemberExpression' || parent.computed;
  }

  #check(node: Node, unit: Node): void {
    switch (node.type) {
      case 'AssignmentExpression':
      case 'ForInStatement':
      case 'ForOfStatement':
        return this.#checkTarget(node.left, unit);
      case 'UpdateExpression':
        return this.#checkTarget(node.argument, unit);
      case 'UnaryExpression':
        if (node.operator === 'delete') this.#checkTarget(node.argument, unit);
        return;
      case 'CallExpression':
        return this.#checkCall(node);
      default:
    }
  }

  /** The constructor of a class above may return any object, and fields are put on that. */
  #checkFields({ superClass, body }: ClassNode): void {
    if (!superClass || (superClass.type === 'Identifier' && this.#program.variableOf(superClass) === null))
      return;
    const field = body.body.find((each) => each.type === 'PropertyDefinition' && !each.static);
    if (field !== undefined)
      this.unproven ??= { node: field, what: `${this.#program.textOf(field)} may be put on any object` };
  }

  #checkTarget(target: Node, unit: Node): void {
    switch (target.type) {
      case 'MemberExpression':
        return this.#checkChange(target.object, target, unit);
      case 'ChainExpression':
        return this.#checkTarget(target.expression, unit);
      case 'ArrayPattern':
        for (const each of target.elements) if (each !== null) this.#checkTarget(each, unit);
        return;
      case 'ObjectPattern':
        for (const each of target.properties)
          this.#checkTarget(each.type === 'Property' ? each.value : each, unit);
        return;
      case 'AssignmentPattern':
        return this.#checkTarget(target.left, unit);
      case 'RestElement':
        return this.#checkTarget(target.argument, unit);
      default:
    }
  }

  /** @param object the object that is changed by `node` */
  #checkChange(object: Node, node: Node, unit: Node): void {
    const finding = { node, what: `${this.#program.textOf(node)} is changed` };
    const root = rootOf(object);
    if (root.type === 'ThisExpression' && object === root && this.#isNew(unit, node)) return;
    if (root.type === 'Identifier') {
      const variable = this.#program.variableOf(root);
      if (variable === null) return this.#found(finding);
      if (object === root && !this.#outlives(variable, unit) && holdsFresh(this.#program, variable)) return;
      if (this.#isKept(sourceOf(this.#program, variable))) return this.#found(finding);
    }
    this.doubtful.add(unit);
    this.unproven ??= { node, what: `${this.#program.textOf(node)} may be changed` };
  }

  /**
   * Whether `this` of a unit is an object that its class has just made, and a change of this part of it can't fail: a frozen
   * prototype forbids objects a property of the name of its own.
   */
  #isNew(unit: Node, part: Node): boolean {
    const parent = isFunction(unit) ? this.#program.parentOf(unit) : null;
    if (parent?.type !== 'MethodDefinition' || parent.kind !== 'constructor') return false;
    const body = this.#program.parentOf(parent);
    const made = body === null ? null : this.#program.parentOf(body);
    if ((made?.type !== 'ClassDeclaration' && made?.type !== 'ClassExpression') || made.superClass)
      return false;
    const name = part.type === 'MemberExpression' ? keyName(part.property, part.computed) : null;
    return name !== null && !this.#changesPrototypes && !isInherited(made, name);
  }

  /** Whether the bundle has code by which a prototype may get properties that its class does not show. */
  get #changesPrototypes(): boolean {
    return (this.#prototypes ??= /\bprototype\b|\b__proto__\b|PrototypeOf\b/.test(this.#program.code));
  }

  /** Whether a variable has existed since the bundle was loaded. */
  #isKept(variable: Variable): boolean {
    return this.#loadTime.once.has(ownerOf(variable));
  }

  #checkCall({ callee }: Extract<Node, { type: 'CallExpression' }>): void {
    if (callee.type !== 'MemberExpression') return;
    const name = keyName(callee.property, callee.computed);
    if (name === null || !CHANGING.has(name) || callee.object.type !== 'Identifier') return;
    const variable = this.#program.variableOf(callee.object);
    if (variable === null) return;
    const source = sourceOf(this.#program, variable);
    if (!this.#isKept(source) || this.#loadTime.holdsFunctions(source)) return;
    const init = initOf(source);
    if (init?.type !== 'ArrayExpression' && (init?.type !== 'NewExpression' || !isFresh(this.#program, init)))
      return;
    this.#found({ node: callee, what: `${this.#program.textOf(callee.object)} is changed` });
  }
}

/** `Symbol.iterator` and the like, or a private name. */
function isSymbol(key: Node): boolean {
  if (key.type === 'PrivateIdentifier') return true;
  return key.type === 'MemberExpression' && key.object.type === 'Identifier' && key.object.name === 'Symbol';
}

/** Whether a class gives its objects a part of this name by its prototype, or may do so. */
function isInherited({ body }: ClassNode, name: string): boolean {
  return body.body.some((each) => {
    if (each.type !== 'MethodDefinition' || each.static || each.kind === 'constructor') return false;
    const own = keyName(each.key, each.computed);
    return own === name || (own === null && each.key.type !== 'PrivateIdentifier');
  });
}

/** The expression that a variable is declared with; null: there is none, or several. */
export function initOf(variable: Variable): Node | null {
  const node = variable.defs.length === 1 ? (variable.defs[0]!.node as Node) : null;
  return node?.type === 'VariableDeclarator' && node.id.type === 'Identifier' ? (node.init ?? null) : null;
}
