/** Which objects are provably made by the code that has them, in the same run of it: changing those leaves nothing behind. */
import { forEachChild, isFunction, type Node } from './nodes.ts';
import { isParameter, ownerOf, type Program, type Variable } from './program.ts';

/** Constructors of the language whose objects are new each time. */
const CONSTRUCTORS = new Set(['Array', 'Error', 'Map', 'Object', 'RangeError', 'RegExp', 'Set', 'TypeError']);
/** Methods of Object that make an object. */
const MAKERS = new Set(['create', 'entries', 'fromEntries', 'getOwnPropertyNames', 'keys', 'values']);

/** Whether an expression makes a new object with each evaluation, or no object. */
export function isFresh(program: Program, node: Node): boolean {
  switch (node.type) {
    case 'ArrayExpression':
    case 'ObjectExpression':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
    case 'ClassExpression':
    case 'TemplateLiteral':
    case 'Literal':
      return true;
    case 'ConditionalExpression':
      return isFresh(program, node.consequent) && isFresh(program, node.alternate);
    case 'NewExpression':
      return node.callee.type === 'Identifier' && makesNew(program, node.callee);
    case 'CallExpression': {
      const { callee } = node;
      if (callee.type !== 'MemberExpression' || callee.object.type !== 'Identifier' || callee.computed)
        return false;
      if (program.variableOf(callee.object) !== null || callee.property.type !== 'Identifier') return false;
      const { name } = callee.property;
      if (callee.object.name === 'Object') return MAKERS.has(name);
      return callee.object.name === 'JSON' && name === 'parse' && node.arguments.length === 1;
    }
    default:
      return false;
  }
}

/** Whether a variable of this unit, or of one around it, only ever holds objects that were made where it is declared. */
export function holdsFresh(program: Program, variable: Variable): boolean {
  if (isParameter(variable) || variable.defs.some(({ type }) => type !== 'Variable')) return false;
  const writes = variable.references.filter((each) => each.isWrite());
  return (
    writes.length > 0 &&
    writes.every(({ identifier }) => {
      const parent = program.parentOf(identifier as Node);
      if (parent?.type === 'VariableDeclarator')
        return parent.id === (identifier as unknown) && !!parent.init && isFresh(program, parent.init);
      return (
        parent?.type === 'AssignmentExpression' &&
        parent.operator === '=' &&
        parent.left === (identifier as unknown) &&
        isFresh(program, parent.right)
      );
    })
  );
}

/** Whether `new name()` gives an object that nothing else has. A constructor that returns something may give any. */
function makesNew(program: Program, name: Extract<Node, { type: 'Identifier' }>): boolean {
  const variable = program.variableOf(name);
  if (variable === null) return CONSTRUCTORS.has(name.name);
  const [definition, more] = variable.defs;
  const node = definition?.node as Node | undefined;
  if (more !== undefined || node?.type !== 'ClassDeclaration' || node.superClass) return false;
  if (variable.references.some((each) => each.isWrite())) return false;
  const made = node.body.body.find((each) => each.type === 'MethodDefinition' && each.kind === 'constructor');
  return made?.type !== 'MethodDefinition' || !returns(made.value.body ?? made);
}

function returns(body: Node): boolean {
  let found = false;
  const rest: Node[] = [body];
  for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
    if (node.type === 'ReturnStatement' && node.argument) found = true;
    if (!isFunction(node)) forEachChild(node, (child) => rest.push(child));
  }
  return found;
}

/** The variable that a name stands for: `const other = name` gives an object a second name. */
export function sourceOf(program: Program, variable: Variable): Variable {
  let at = variable;
  for (let steps = 0; steps < 8; steps++) {
    const node = at.defs[0]?.node as Node | undefined;
    const isOnlyName =
      at.defs.length === 1 &&
      node?.type === 'VariableDeclarator' &&
      node.id.type === 'Identifier' &&
      at.references.every((each) => !each.isWrite() || each.init === true);
    if (!isOnlyName || !node.init) return at;
    let from: Node = node.init;
    while (from.type === 'MemberExpression') from = from.object;
    const next = from.type === 'Identifier' ? program.variableOf(from) : null;
    if (next === null || ownerOf(next) === ownerOf(at)) return at;
    at = next;
  }
  return at;
}
