/** esbuild's own functions at the beginning of a bundle, as far as the analysis must know what they do. */
import { isFunction, type FunctionNode, type Node } from './nodes.ts';
import type { Program, Variable } from './program.ts';

/** They run the code of a module once, at its first use. */
export const MODULE_HELPERS = ['__commonJS', '__esm'];

/** The text of each, with single spaces. Nothing else counts as one. */
const TEXTS: Readonly<Record<string, RegExp>> = {
  __defProp: /^__defProp = Object\.defineProperty$/,
  __getOwnPropNames: /^__getOwnPropNames = Object\.getOwnPropertyNames$/,
  __export:
    /^__export = \(target, all\) => \{ for \(var name in all\) __defProp\(target, name, \{ get: all\[name\], enumerable: true \}\); \}$/,
  __commonJS:
    /^__commonJS = \(cb, mod\) => function __require\d*\(\) \{ try \{ return mod \|\| \(0, cb\[__getOwnPropNames\(cb\)\[0\]\]\)\(\(mod = \{ exports: \{\} \}\)\.exports, mod\), mod\.exports; \} catch \((e\d*)\) \{ throw mod = 0, \1; \} \}$/,
  __esm:
    /^__esm = \(fn, res, err\) => function __init\(\) \{ if \(err\) throw err\[0\]; try \{ return fn && \(res = \(0, fn\[__getOwnPropNames\(fn\)\[0\]\]\)\(fn = 0\)\), res; \} catch \((e\d*)\) \{ throw err = \[\1\], \1; \} \}$/,
  /** runs the code of an async function, as a generator */
  __async:
    /^__async = \(__this, __arguments, generator\) => \{ return new Promise\(\(resolve, reject\) => \{ var fulfilled = \(value\) => \{ try \{ step\(generator\.next\(value\)\); \} catch \((e\d*)\) \{ reject\(\1\); \} \}; var rejected = \(value\) => \{ try \{ step\(generator\.throw\(value\)\); \} catch \((e\d*)\) \{ reject\(\2\); \} \}; var step = \((x\d*)\) => \3\.done \? resolve\(\3\.value\) : Promise\.resolve\(\3\.value\)\.then\(fulfilled, rejected\); step\(\(generator = generator\.apply\(__this, __arguments\)\)\.next\(\)\); \}\); \}$/,
};

/** Each relies on these. */
const BASIS = ['__defProp', '__getOwnPropNames'];

/** Whether an expression names one of these helpers. */
export function isHelper(program: Program, callee: Node, names: readonly string[]): boolean {
  if (callee.type !== 'Identifier' || !names.includes(callee.name)) return false;
  const variable = program.variableOf(callee);
  return variable !== null && declaratorOf(program, variable) !== null;
}

/** The declaration of a variable that is one of these helpers; null: it is none. */
export function declaratorOf(program: Program, variable: Variable): Node | null {
  const node = soundDeclarator(program, variable);
  if (node === null || !program.isFree('Object')) return null;
  const isSound = BASIS.every((name) => {
    const other = program.mainVariable(name);
    return other === null || soundDeclarator(program, other) !== null;
  });
  return isSound ? node : null;
}

function soundDeclarator(program: Program, variable: Variable): Node | null {
  const pattern = Object.hasOwn(TEXTS, variable.name) ? TEXTS[variable.name] : undefined;
  const node = variable.defs[0]?.node as Node | undefined;
  if (pattern === undefined || node?.type !== 'VariableDeclarator' || variable.defs.length > 1) return null;
  if (program.mainVariable(variable.name) !== variable) return null;
  if (variable.references.some((each) => each.isWrite() && each.init !== true)) return null;
  return pattern.test(program.code.slice(node.start, node.end).replaceAll(/\s+/g, ' ')) ? node : null;
}

/** The wrapped modules: `var require_x = __commonJS({ 'x.js'(exports, module) { … } })`, with the code of each. */
export function modulesOf(program: Program): { readonly variable: Variable; readonly code: FunctionNode }[] {
  const modules = [];
  for (const variable of program.mainVariables) {
    const node = variable.defs[0]?.node as Node | undefined;
    if (node?.type !== 'VariableDeclarator' || node.init?.type !== 'CallExpression') continue;
    const [list] = node.init.arguments;
    if (list?.type !== 'ObjectExpression' || !isHelper(program, node.init.callee, MODULE_HELPERS)) continue;
    const [property] = list.properties;
    if (property?.type === 'Property' && isFunction(property.value))
      modules.push({ variable, code: property.value });
  }
  return modules;
}

/** Functions of the top level whose names begin like those of helpers, and which nothing uses but others of that kind. */
export function unusedHelpers(program: Program): Node[] {
  const candidates = new Map<Variable, Node>();
  for (const variable of program.mainVariables) {
    const node = variable.defs[0]?.node as Node | undefined;
    if (
      variable.name.startsWith('__') &&
      node?.type === 'VariableDeclarator' &&
      node.init &&
      isFunction(node.init)
    )
      candidates.set(variable, node);
  }
  const isInside = (name: Node): boolean =>
    [...candidates.values()].some((each) => each.start <= name.start && name.end <= each.end);
  // at most one round for each, and there are about thirty helpers
  for (let before = -1; before !== candidates.size && candidates.size <= 100;) {
    before = candidates.size;
    for (const [variable] of candidates)
      if (variable.references.some(({ identifier }) => !isInside(identifier as Node)))
        candidates.delete(variable);
  }
  return candidates.size <= 100 ? [...candidates.values()] : [];
}
