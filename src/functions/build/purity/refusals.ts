/** Constructs that hide state where freezing does not reach it. */
import type { LoadTime } from './load-time.ts';
import { forEachChild, isClass, isFunction, type ClassNode, type FunctionNode, type Node } from './nodes.ts';
import { ownerOf, type Program } from './program.ts';
import { modulesOf } from './helpers.ts';
import { initOf, type Finding } from './writes.ts';

/** The first construct that can't be followed; null: none. */
export function refusalOf(program: Program, loadTime: LoadTime, known: ReadonlySet<Node>): Finding | null {
  return (
    lateModule(program, loadTime) ??
    statefulPattern(program, loadTime) ??
    hiddenState(program, loadTime, known)
  );
}

/** A CommonJS module that a call may be the first to load: its top level would run in that call. */
function lateModule(program: Program, loadTime: LoadTime): Finding | null {
  for (const { variable, code } of modulesOf(program)) {
    const late = variable.references.find(
      (each) => !each.init && !isLoadedHere(program, loadTime, each.identifier as Node),
    );
    if (late !== undefined || !loadTime.once.has(code))
      return {
        node: (late?.identifier as Node | undefined) ?? code,
        what: 'a module is loaded by a function',
      };
  }
  return null;
}

function isLoadedHere(program: Program, loadTime: LoadTime, name: Node): boolean {
  const parent = program.parentOf(name);
  return (
    parent?.type === 'CallExpression' && parent.callee === name && loadTime.once.has(program.unitOf(name))
  );
}

/** A regular expression with `g` or `y` remembers its place in `lastIndex`. */
function statefulPattern(program: Program, loadTime: LoadTime): Finding | null {
  for (const scope of program.scopes) {
    for (const variable of scope.variables) {
      const init = initOf(variable);
      if (init !== null && isStateful(init) && loadTime.once.has(ownerOf(variable)))
        return { node: init, what: `${variable.name} is a regular expression with g or y` };
    }
  }
  return null;
}

function isStateful(node: Node): boolean {
  if (node.type === 'Literal') return 'regex' in node && !!node.regex && /[gy]/.test(node.regex.flags);
  if (node.type !== 'NewExpression' && node.type !== 'CallExpression') return false;
  if (node.callee.type !== 'Identifier' || node.callee.name !== 'RegExp') return false;
  const flags = node.arguments[1];
  return flags?.type === 'Literal' && /[gy]/.test(String(flags.value));
}

function hiddenState(program: Program, loadTime: LoadTime, known: ReadonlySet<Node>): Finding | null {
  const rest: Node[] = [program.tree];
  for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
    if (known.has(node)) continue;
    const what = hiddenIn(program, loadTime, node);
    if (what !== null) return { node, what };
    forEachChild(node, (child) => rest.push(child));
  }
  return null;
}

/** What a node hides; null: nothing. */
function hiddenIn(program: Program, loadTime: LoadTime, node: Node): string | null {
  if (node.type === 'MetaProperty') return keepsTarget(program, node) ? 'new.target hides a function' : null;
  if (node.type === 'Super') return reachesHome(program, node) ? null : 'super hides an object';
  if (node.type === 'SwitchStatement' || !(isFunction(node) || isClass(node)))
    return node.type === 'Identifier' && [HOLD, CAUGHT].includes(node.name)
      ? `${node.name} is a reserved name`
      : null;
  const made = program.unitOf(node);
  if (!loadTime.running.has(made)) return null;
  if (isFunction(node)) {
    if (node.generator && loadTime.running.has(node)) return 'a generator may be kept';
    const hides = node.type === 'FunctionExpression' && node.id && isNamedInside(program, node, node.id);
    return hides && !isBoundOnce(program, node) ? `${node.id!.name} hides a function` : null;
  }
  return privateState(loadTime, node) ?? hiddenClass(program, node);
}

/** The name of the global that the bundle calls with the variables of its functions (held.ts). */
export const HOLD = '__pgswitchyard_hold';
/** The one that is told of errors (caught.ts). */
export const CAUGHT = '__pgswitchyard_caught';

/** Private names can be put on frozen objects, and their values can be reached from inside their class only. */
function privateState(loadTime: LoadTime, node: ClassNode): string | null {
  for (const member of node.body.body) {
    if (member.type === 'StaticBlock' || member.key.type !== 'PrivateIdentifier') continue;
    const name = `#${member.key.name}`;
    if (node.superClass) return `${name} may be given to any object`;
    const isField = member.type === 'PropertyDefinition';
    if (isField && (member.static || loadTime.usedClasses.has(node))) return `${name} may be changed`;
  }
  return null;
}

/** A class that knows itself by a name which nothing else has. */
function hiddenClass(program: Program, node: ClassNode): string | null {
  if (!node.id || !isNamedInside(program, node, node.id)) return null;
  if (node.type === 'ClassDeclaration') {
    const outside = program.variableOf(node.id);
    if (outside === null || outside.references.every((each) => !each.isWrite())) return null;
  }
  return isBoundOnce(program, node) ? null : `${node.id.name} hides a class`;
}

/** Whether a function or class is used by its own name in its own code. */
function isNamedInside(program: Program, node: FunctionNode | ClassNode, id: Node): boolean {
  return program
    .scopesOf(node)
    .some(
      ({ type, variables }) =>
        (type === 'function-expression-name' || type === 'class') &&
        variables.some((each) => each.identifiers.includes(id as never) && each.references.length > 0),
    );
}

/** Whether a function or class is the only value of a variable of the bundle's top level. */
function isBoundOnce(program: Program, node: FunctionNode | ClassNode): boolean {
  const parent = program.parentOf(node);
  if (
    parent?.type !== 'VariableDeclarator' ||
    (parent.init as unknown) !== node ||
    parent.id.type !== 'Identifier'
  )
    return false;
  const variable = program.variableOf(parent.id);
  return (
    variable !== null &&
    ownerOf(variable) === program.main &&
    variable.references.every((each) => !each.isWrite() || each.init === true)
  );
}

/** Whether an arrow function keeps `new.target` of the function around it. */
function keepsTarget(program: Program, node: Node): boolean {
  let at = program.parentOf(node);
  while (at !== null && !isFunction(at)) at = program.parentOf(at);
  return at?.type === 'ArrowFunctionExpression';
}

/** Whether `super` is a call of a constructor, or belongs to a class that the bundle's top level has a name for. */
function reachesHome(program: Program, node: Node): boolean {
  const parent = program.parentOf(node);
  if (parent?.type === 'CallExpression') return true;
  for (let at: Node | null = parent; at !== null; at = program.parentOf(at)) {
    if (at.type === 'ObjectExpression') return false;
    if (!isClass(at)) continue;
    if (at.type === 'ClassDeclaration')
      return program.unitOf(at) === program.main && program.parentOf(at) === program.main.body;
    return isBoundOnce(program, at);
  }
  return false;
}
