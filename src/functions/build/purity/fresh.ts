/**
 * Which objects are provably made by the code that has them, in the same run of it: changing those leaves nothing behind, and
 * fails for no property, as it would if their prototypes were frozen.
 */
import { keyName, type Node } from './nodes.ts';
import { isParameter, ownerOf, type Program, type Variable } from './program.ts';

/** Constructors of the language whose objects are new each time. */
const CONSTRUCTORS = new Set(['Array', 'Error', 'Map', 'Object', 'RangeError', 'RegExp', 'Set', 'TypeError']);
/** Methods of Object that make an object. */
const MAKERS = new Set(['entries', 'fromEntries', 'getOwnPropertyNames', 'keys', 'values']);

/** Whether an expression makes a new object with each evaluation, or no object. */
export function isFresh(program: Program, node: Node): boolean {
  switch (node.type) {
    case 'ArrayExpression':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
    case 'TemplateLiteral':
    case 'Literal':
      return true;
    case 'ClassExpression':
      return !node.superClass;
    case 'ObjectExpression':
      return node.properties.every(
        (each) => each.type !== 'Property' || keyName(each.key, each.computed) !== '__proto__',
      );
    case 'ConditionalExpression':
      return isFresh(program, node.consequent) && isFresh(program, node.alternate);
    case 'NewExpression':
      return (
        node.callee.type === 'Identifier' &&
        CONSTRUCTORS.has(node.callee.name) &&
        program.variableOf(node.callee) === null
      );
    case 'CallExpression': {
      const { callee } = node;
      if (callee.type !== 'MemberExpression' || callee.object.type !== 'Identifier' || callee.computed)
        return false;
      if (program.variableOf(callee.object) !== null || callee.property.type !== 'Identifier') return false;
      const { name } = callee.property;
      if (callee.object.name === 'Object')
        return MAKERS.has(name) || (name === 'create' && isNull(node.arguments[0]));
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

function isNull(node: Node | undefined): boolean {
  return node?.type === 'Literal' && node.raw === 'null';
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
