/**
 * Checks of code that comes from an artifact. Its hash says that it is what somebody has built, not that this program has: so
 * what bundling refuses is looked for again. Everything else that bundling checks concerns files, and an artifact has none.
 */
import { parse, type Node } from 'acorn';
import { ArtifactError } from './artifact.ts';

/** A node of the syntax tree, with whatever fields its type has. */
type Fields = Node & Readonly<Record<string, unknown>>;

/** @throws ArtifactError if the code has syntax that a user function must not have, or none that makes sense */
export function checkCode(code: string): void {
  for (const node of nodesOf(treeOf(code))) {
    const what = refusedSyntax(node);
    if (what !== null) throw new ArtifactError(`${placeOf(code, node.start)}: it has ${what}`);
  }
}

function treeOf(code: string): Node {
  try {
    return parse(code, { ecmaVersion: 2024, sourceType: 'script' });
  } catch (error) {
    // deeply nested code overflows the parser's stack
    throw new ArtifactError(`its code can't be parsed: ${(error as Error).message}`);
  }
}

/** Null: nothing is wrong with it. */
function refusedSyntax(node: Fields): string | null {
  if (node['async'] === true) return 'an async function: it has to answer at once';
  if (node['await'] === true || node.type === 'AwaitExpression') return 'an await: it has to answer at once';
  if (typeof node['bigint'] === 'string') return "a BigInt literal: arithmetic with it can't be interrupted";
  if (node.type === 'ImportExpression' || node.type === 'MetaProperty')
    return node['property'] !== undefined && isNewTarget(node) ? null : 'an import at run time';
  return null;
}

function isNewTarget({ meta }: Fields): boolean {
  return (meta as { name?: unknown }).name === 'new';
}

/** All nodes of a tree, without recursion: the code may be nested as deeply as the parser can stand. */
function* nodesOf(tree: Node): Generator<Fields> {
  const stack: unknown[] = [tree];
  while (stack.length > 0) {
    const next = stack.pop();
    if (Array.isArray(next)) {
      for (const each of next) stack.push(each);
    } else if (isNode(next)) {
      yield next;
      stack.push(...Object.values(next).filter((value) => typeof value === 'object' && value !== null));
    }
  }
}

function isNode(value: unknown): value is Fields {
  return (
    typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string'
  );
}

/** `bundle.js:LINE:COLUMN` */
function placeOf(code: string, at: number): string {
  const before = code.slice(0, at);
  const line = before.split('\n').length;
  return `bundle.js:${line}:${at - before.lastIndexOf('\n')}`;
}
