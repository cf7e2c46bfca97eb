/** The syntax tree of a bundle, as acorn makes it, and a walk over it. */
import type { AnyNode, Identifier } from 'acorn';

export type Node = AnyNode;
export type { Identifier };

export type FunctionNode = Extract<
  Node,
  { type: 'FunctionDeclaration' | 'FunctionExpression' | 'ArrowFunctionExpression' }
>;
export type ClassNode = Extract<Node, { type: 'ClassDeclaration' | 'ClassExpression' }>;

export function isFunction(node: Node): node is FunctionNode {
  return (
    node.type === 'FunctionDeclaration' ||
    node.type === 'FunctionExpression' ||
    node.type === 'ArrowFunctionExpression'
  );
}

export function isClass(node: Node): node is ClassNode {
  return node.type === 'ClassDeclaration' || node.type === 'ClassExpression';
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}

/** Calls `visit` with each child of a node, in the order of the source. */
export function forEachChild(node: Node, visit: (child: Node) => void): void {
  for (const value of Object.values(node) as unknown[]) {
    if (Array.isArray(value)) {
      for (const each of value as unknown[]) if (isNode(each)) visit(each);
    } else if (isNode(value)) visit(value);
  }
}

/** The name of a property that is known without running the code; null: it is computed. */
export function keyName(key: Node, isComputed: boolean): string | null {
  if (!isComputed && key.type === 'Identifier') return key.name;
  return key.type === 'Literal' ? String(key.value) : null;
}

/** The leftmost expression of `a.b.c`. */
export function rootOf(node: Node): Node {
  let at = node;
  while (at.type === 'MemberExpression' || at.type === 'ChainExpression')
    at = at.type === 'MemberExpression' ? at.object : at.expression;
  return at;
}
