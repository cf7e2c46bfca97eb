/**
 * Which functions of a bundle may run while it is loaded: variables of those may live on in functions that outlive the load,
 * while variables of all others belong to one call. Seen conservatively: a function may run if something that runs names it
 * or makes it.
 */
import { isHelper, MODULE_HELPERS } from './helpers.ts';
import {
  forEachChild,
  isClass,
  isFunction,
  keyName,
  type ClassNode,
  type FunctionNode,
  type Node,
} from './nodes.ts';
import { isParameter, type Program, type Variable } from './program.ts';

/** What a variable may hold that runs when the variable is used. */
interface Holding {
  readonly functions: (FunctionNode | ClassNode)[];
  readonly aliases: Variable[];
  isUsed: boolean;
}

export class LoadTime {
  readonly #program: Program;
  /** units that may run while the bundle is loaded */
  readonly running = new Set<Node>();
  /** units that run while it is loaded, and never again */
  readonly once = new Set<Node>();
  /** classes of which there may be instances, or which are handed on, when the bundle has been loaded */
  readonly usedClasses = new Set<Node>();
  /** variables that hold functions made for them, which a call may only run by their names */
  readonly #holdings = new Map<Variable, Holding>();
  /** the names of a class inside of it stand for the variable that it is bound to */
  readonly #outside = new Map<Node, Variable>();
  readonly #rest: Node[] = [];

  constructor(program: Program) {
    this.#program = program;
    this.#run(program.tree, true);
    for (let unit = this.#rest.pop(); unit !== undefined; unit = this.#rest.pop()) this.#enter(unit);
  }

  /** Whether a variable holds functions or classes that are named after it. */
  holdsFunctions(variable: Variable): boolean {
    return this.#holdings.has(variable);
  }

  #run(unit: Node, isOnce: boolean): void {
    if (this.running.has(unit)) return;
    this.running.add(unit);
    if (isOnce) this.once.add(unit);
    this.#rest.push(unit);
  }

  #enter(unit: Node): void {
    // a generator, too: its code is seen as if it ran at once
    if (isFunction(unit)) {
      for (const param of unit.params) this.#visit(param, unit);
      this.#visit(unit.body, unit);
    } else if (unit.type === 'Program' || unit.type === 'StaticBlock')
      forEachChild(unit, (child) => this.#visit(child, unit));
    else this.#visit(unit, unit);
  }

  /** @param unit the unit that this code runs in */
  #visit(node: Node, unit: Node): void {
    switch (node.type) {
      case 'FunctionDeclaration':
        return this.#hold(node.id && this.#program.variableOf(node.id), node);
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
        return this.#run(node, this.once.has(unit) && this.#isCalledHere(node));
      case 'ClassDeclaration':
      case 'ClassExpression':
        return this.#define(node, node.type === 'ClassDeclaration' ? node.id : null, unit);
      case 'VariableDeclarator':
        if (node.id.type !== 'Identifier') break;
        if (node.init) this.#bind(node.id, node.init, unit);
        return;
      case 'AssignmentExpression':
        return this.#assign(node, unit);
      case 'Identifier':
        return this.#use(this.#program.variableOf(node));
      case 'MemberExpression':
        this.#visit(node.object, unit);
        if (node.computed) this.#visit(node.property, unit);
        return;
      case 'Property':
        if (node.computed) this.#visit(node.key, unit);
        return this.#visit(node.value, unit);
      case 'BinaryExpression':
        if (isComparisonWithNothing(node)) return;
        break;
      case 'UnaryExpression':
        if (node.operator === 'typeof' && node.argument.type === 'Identifier') return;
        break;
      case 'ReturnStatement':
        // the list of the bundle's functions leaves it
        if (unit === this.#program.main) return;
        break;
      case 'CallExpression':
        if (this.#isListOfExports(node)) return;
        break;
      case 'LabeledStatement':
        return this.#visit(node.body, unit);
      case 'BreakStatement':
      case 'ContinueStatement':
        return;
      default:
    }
    forEachChild(node, (child) => this.#visit(child, unit));
  }

  #assign(node: Extract<Node, { type: 'AssignmentExpression' }>, unit: Node): void {
    const { left, right } = node;
    // in `a = b = value`, what is assigned has another name
    const isStatement = this.#program.parentOf(node)?.type === 'ExpressionStatement';
    if (left.type === 'Identifier' && isStatement) return this.#bind(left, right, unit);
    const root = left.type === 'MemberExpression' && isStatement ? this.#ownerOfPart(left) : null;
    if (left.type !== 'MemberExpression' || root === null || node.operator !== '=') {
      this.#visit(left, unit);
      return this.#visit(right, unit);
    }
    for (let at: Node = left; at.type === 'MemberExpression'; at = at.object)
      if (at.computed) this.#visit(at.property, unit);
    this.#bind(root, right, unit);
  }

  /**
   * The name of the object that `name.part` or `Class.prototype.part` belongs to; null: it may have other names, by which
   * its parts could be used.
   */
  #ownerOfPart({ object }: Extract<Node, { type: 'MemberExpression' }>): Node | null {
    const isPrototype =
      object.type === 'MemberExpression' && keyName(object.property, object.computed) === 'prototype';
    const name = isPrototype ? object.object : object;
    const variable = name.type === 'Identifier' ? this.#program.variableOf(name) : null;
    if (variable === null || variable.defs.length !== 1) return null;
    const node = variable.defs[0]!.node as Node;
    if (node.type === 'FunctionDeclaration' || isClass(node)) return name;
    if (isPrototype || variable.references.some((each) => each.isWrite() && each.init !== true)) return null;
    const init = node.type === 'VariableDeclarator' && node.id.type === 'Identifier' ? node.init : null;
    return init && (init.type === 'ObjectExpression' || isFunction(init) || isClass(init)) ? name : null;
  }

  /** A value is made for a variable: functions in it run when the variable is used. */
  #bind(name: Node, value: Node, unit: Node): void {
    const variable = this.#program.variableOf(name);
    switch (value.type) {
      case 'FunctionExpression':
      case 'ArrowFunctionExpression':
        return this.#hold(variable, value);
      case 'ClassExpression':
        return this.#define(value, name, unit);
      case 'Identifier':
        return this.#alias(variable, this.#program.variableOf(value));
      case 'ObjectExpression':
        for (const property of value.properties) this.#bindProperty(name, property, unit);
        return;
      case 'ArrayExpression':
        for (const each of value.elements) if (each !== null) this.#bind(name, each, unit);
        return;
      case 'LogicalExpression':
        this.#bind(name, value.left, unit);
        return this.#bind(name, value.right, unit);
      case 'ConditionalExpression':
        this.#visit(value.test, unit);
        this.#bind(name, value.consequent, unit);
        return this.#bind(name, value.alternate, unit);
      default:
        this.#visit(value, unit);
    }
  }

  #bindProperty(name: Node, property: Node, unit: Node): void {
    if (property.type !== 'Property') return this.#visit(property, unit);
    if (property.computed) this.#visit(property.key, unit);
    if (property.kind === 'init') this.#bind(name, property.value, unit);
    else this.#visit(property.value, unit);
  }

  /** Static parts of a class run now, its other functions when it is used. */
  #define(node: ClassNode, name: Node | null, unit: Node): void {
    const variable = name === null ? null : this.#program.variableOf(name);
    if (variable !== null) this.#outside.set(node, variable);
    if (node.superClass) this.#visit(node.superClass, unit);
    if (node.body.body.some(isStaticUseOfThis)) this.#begin(node);
    for (const member of node.body.body) {
      if (member.type === 'StaticBlock') {
        this.#run(member, this.once.has(unit));
        continue;
      }
      if (member.computed) this.#visit(member.key, unit);
      const isField = member.type === 'PropertyDefinition';
      if (isField ? member.static : member.kind === 'get' || member.kind === 'set') {
        if (member.value && isField && isFunction(member.value)) this.#hold(variable, member.value);
        else if (member.value) this.#run(member.value, isField && this.once.has(unit));
      }
    }
    this.#hold(variable, node);
  }

  #hold(variable: Variable | null, node: FunctionNode | ClassNode): void {
    if (variable === null || isParameter(variable)) return this.#begin(node);
    const holding = this.#holding(variable);
    holding.functions.push(node);
    if (holding.isUsed) this.#begin(node);
  }

  #alias(variable: Variable | null, other: Variable | null): void {
    if (other === null) return;
    if (variable === null || isParameter(variable)) return this.#use(other);
    const holding = this.#holding(variable);
    holding.aliases.push(other);
    if (holding.isUsed) this.#use(other);
  }

  #use(variable: Variable | null): void {
    const rest = variable === null ? [] : [variable];
    for (let each = rest.pop(); each !== undefined; each = rest.pop()) {
      const holding = this.#holding(each);
      if (holding.isUsed) continue;
      holding.isUsed = true;
      for (const node of holding.functions) this.#begin(node);
      for (const other of holding.aliases) rest.push(other);
      const inside = each.defs.find(({ type }) => type === 'ClassName')?.node as Node | undefined;
      const outside = inside === undefined ? undefined : this.#outside.get(inside);
      if (outside !== undefined) rest.push(outside);
      else if (inside !== undefined && isClass(inside)) this.#begin(inside);
    }
  }

  #begin(node: FunctionNode | ClassNode): void {
    if (isFunction(node)) return this.#run(node, false);
    if (this.usedClasses.has(node)) return;
    this.usedClasses.add(node);
    for (const member of node.body.body)
      if (member.type !== 'StaticBlock' && member.value) this.#run(member.value, false);
  }

  #holding(variable: Variable): Holding {
    let holding = this.#holdings.get(variable);
    if (holding === undefined)
      this.#holdings.set(variable, (holding = { functions: [], aliases: [], isUsed: false }));
    return holding;
  }

  /** A function without a name that is called where it stands runs once for each run of its surroundings. */
  #isCalledHere(node: FunctionNode): boolean {
    if (node.generator || (node.type === 'FunctionExpression' && node.id)) return false;
    const parent = this.#program.parentOf(node);
    if (parent?.type === 'CallExpression' && parent.callee === node) return true;
    return this.#isModule(node);
  }

  /** A CommonJS module: `var require_x = __commonJS({ 'x.js'(exports, module) { … } })`. esbuild's helper runs it once. */
  #isModule(node: FunctionNode): boolean {
    const property = this.#program.parentOf(node);
    const list = property?.type === 'Property' ? this.#program.parentOf(property) : null;
    const call = list === null ? null : this.#program.parentOf(list);
    return (
      call?.type === 'CallExpression' &&
      call.arguments[0] === list &&
      isHelper(this.#program, call.callee, MODULE_HELPERS)
    );
  }

  /** `__export(x, { name: () => name })`: a list of the things that a module exports. */
  #isListOfExports(call: Extract<Node, { type: 'CallExpression' }>): boolean {
    const [target, list] = call.arguments;
    if (target?.type !== 'Identifier' || list?.type !== 'ObjectExpression') return false;
    if (!isHelper(this.#program, call.callee, ['__export'])) return false;
    for (const property of list.properties) {
      if (property.type !== 'Property' || property.value.type !== 'ArrowFunctionExpression') return false;
      const { body } = property.value;
      if (body.type === 'Identifier')
        this.#alias(this.#program.variableOf(target), this.#program.variableOf(body));
      else this.#run(property.value, false);
    }
    return true;
  }
}

/** Whether a static part of a class may reach the class by `this`, and so run any of its functions. */
function isStaticUseOfThis(member: ClassNode['body']['body'][number]): boolean {
  if (member.type === 'StaticBlock') return member.body.some(mentionsThis);
  if (member.type !== 'PropertyDefinition' || !member.static) return false;
  return !!member.value && !isFunction(member.value) && mentionsThis(member.value);
}

function mentionsThis(code: Node): boolean {
  const rest: Node[] = [code];
  for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
    if (node.type === 'ThisExpression' || node.type === 'Super') return true;
    forEachChild(node, (child) => rest.push(child));
  }
  return false;
}

function isComparisonWithNothing(node: Extract<Node, { type: 'BinaryExpression' }>): boolean {
  if (!/^[!=]==?$/.test(node.operator)) return false;
  const { left, right } = node;
  return (isPlain(left) && isNothing(right)) || (isPlain(right) && isNothing(left));
}

function isPlain(node: Node): boolean {
  return node.type === 'Identifier';
}

function isNothing(node: Node): boolean {
  if (node.type === 'UnaryExpression') return node.operator === 'void' && node.argument.type === 'Literal';
  return node.type === 'Literal' && keyName(node, true) === 'null';
}
