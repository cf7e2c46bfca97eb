/**
 * Makes a bundle show errors to the prelude before code, or the engine, can hide them. In place of each block whose errors may be
 * caught stands `{try{…}catch(e){__pgswitchyard_caught.count++;__pgswitchyard_caught.tell(e);throw e}}`. The count shows
 * that there was no stack left for the call. So an attempt to change something frozen is known, and an answer that depends
 * on how much stack or memory there was is not kept. Lines stay where they are.
 */
import type { Edit } from './held.ts';
import { forEachChild, isFunction, keyName, type FunctionNode, type Node } from './nodes.ts';
import type { Program } from './program.ts';
import { CAUGHT } from './refusals.ts';

/**
 * Functions that the engine calls by these names while it hides their errors: when an error ends a loop, and when it makes
 * the text of an error's stack.
 */
const HIDING = new Set(['message', 'name', 'return', 'toString']);

const ERROR = '__pgswitchyard_error';
const END = `catch(${ERROR}){${CAUGHT}.count++;${CAUGHT}.tell(${ERROR});throw ${ERROR}}}`;

/** @param doubtful functions that may change something frozen */
export function caughtEdits(program: Program, doubtful: ReadonlySet<Node>): Edit[] {
  const edits: Edit[] = [];
  const rest: Node[] = [program.tree];
  for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
    if (node.type === 'TryStatement') {
      wrapBlock(node.block, edits);
      // `finally` can hide an error of `catch`
      if (node.handler && node.finalizer) wrapBlock(node.handler.body, edits);
    } else if (isFunction(node) && (doubtful.has(node) || mayBeHidden(program, node)))
      wrapFunction(program, node, edits);
    forEachChild(node, (child) => rest.push(child));
  }
  return edits;
}

function wrapBlock({ start, end }: Node, edits: Edit[]): void {
  edits.push({ at: start, text: '{try', rank: 1 }, { at: end, text: END, rank: 1 });
}

function wrapFunction(program: Program, node: FunctionNode, edits: Edit[]): void {
  if (node.body.type === 'BlockStatement') return wrapBlock(node.body, edits);
  // the body of an arrow function may stand in parentheses
  const start = program.code.lastIndexOf('=>', node.body.start) + 2;
  edits.push({ at: start, text: '{try{return ', rank: 1 }, { at: node.end, text: `}${END}`, rank: 1 });
}

/** Whether a function is given one of those names, or one that is computed. */
function mayBeHidden(program: Program, node: FunctionNode): boolean {
  const parent = program.parentOf(node);
  if (parent === null) return false;
  switch (parent.type) {
    case 'Property':
    case 'MethodDefinition':
    case 'PropertyDefinition':
      return parent.value === node && isHiding(parent.key, parent.computed);
    case 'AssignmentExpression':
      return parent.left.type === 'MemberExpression' && isHiding(parent.left.property, parent.left.computed);
    default:
      return false;
  }
}

function isHiding(key: Node, isComputed: boolean): boolean {
  if (key.type === 'PrivateIdentifier') return false;
  const name = keyName(key, isComputed);
  return name === null || HIDING.has(name);
}
