/**
 * A renderer of the part of Helm's template language that deploy/helm uses: `if` and `else`, `range` over a map, pipelines of a
 * few functions, and `-` that trims. Anything else is an error, so that the chart stays within what is tested.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';

type Scope = Readonly<Record<string, unknown>>;

type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly pipeline: string }
  | { readonly kind: 'if'; readonly pipeline: string; readonly yes: Node[]; readonly no: Node[] }
  | {
      readonly kind: 'range';
      readonly names: readonly [string, string];
      readonly of: string;
      readonly body: Node[];
    };

/** As Go's templates see it: empty texts, lists and maps are false. */
function isTrue(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
}

function indented(columns: number, text: string): string {
  return text.replace(/^/gm, ' '.repeat(columns));
}

/** The last argument is the one that a pipeline passes. */
const FUNCTIONS: Readonly<Record<string, (...args: never[]) => unknown>> = {
  default: (other: unknown, value: unknown) => (isTrue(value) ? value : other),
  eq: (a: unknown, b: unknown) => a === b,
  nindent: (columns: number, text: string) => `\n${indented(columns, text)}`,
  not: (value: unknown) => !isTrue(value),
  printf: (format: string, value: unknown) => format.replace('%s', String(value)),
  quote: (value: unknown) => JSON.stringify(String(value)),
  required: (message: string, value: unknown) => {
    if (!isTrue(value)) throw new Error(message);
    return value;
  },
  sha256sum: (text: string) => createHash('sha256').update(text).digest('hex'),
  toYaml: (value: unknown) => stringify(value, { lineWidth: 0 }).trimEnd(),
};

/** Splits text into literal text and actions; `{{-` and `-}}` trim the white space beside them. */
function parse(template: string): Node[] {
  const pieces = template.split(/(\s*\{\{- .*? -?\}\}|\{\{ .*? -?\}\})/);
  const top: Node[] = [];
  const open: { node: Extract<Node, { kind: 'if' | 'range' }>; into: Node[] }[] = [];
  let into = top;
  for (const piece of pieces) {
    const [, action] = /^\s*\{\{-? (.*?) ?\}\}$/.exec(piece) ?? [];
    if (action === undefined) {
      into.push({ kind: 'text', text: piece });
      continue;
    }
    const [, ifWanted] = /^if (.*)$/.exec(action) ?? [];
    const [, key, value, of] = /^range (\$\w+), (\$\w+) := (.*)$/.exec(action) ?? [];
    if (ifWanted !== undefined) {
      const node = { kind: 'if' as const, pipeline: ifWanted, yes: [], no: [] };
      into.push(node);
      open.push({ node, into });
      into = node.yes;
    } else if (of !== undefined) {
      const node = { kind: 'range' as const, names: [key!, value!] as const, of, body: [] };
      into.push(node);
      open.push({ node, into });
      into = node.body;
    } else if (action === 'else') {
      const { node } = open.at(-1)!;
      if (node.kind === 'if') into = node.no;
    } else if (action === 'end') {
      into = open.pop()!.into;
    } else into.push({ kind: 'print', pipeline: action });
  }
  if (open.length > 0) throw new Error('an `end` is missing');
  return top;
}

const TOKEN = /"[^"]*"|\$?[\w.]+|[()|]/g;

/** Evaluates a pipeline: words, with the value of the one before as the last argument. */
class Pipeline {
  readonly #tokens: string[];
  readonly #scope: Scope;
  readonly #chart: string;

  constructor(pipeline: string, scope: Scope, chart: string) {
    this.#tokens = pipeline.match(TOKEN) ?? [];
    this.#scope = scope;
    this.#chart = chart;
  }

  evaluate(): unknown {
    let value = this.#command([]);
    while (this.#tokens[0] === '|') {
      this.#tokens.shift();
      value = this.#command([value]);
    }
    return value;
  }

  #command(piped: readonly unknown[]): unknown {
    const word = this.#tokens[0]!;
    if (word === '.Files.Get') {
      this.#tokens.shift();
      return readFileSync(join(this.#chart, String(this.#operand())), 'utf8').trimEnd();
    }
    if (!/^[a-z]\w*$/.test(word)) return this.#operand();
    const called = FUNCTIONS[word];
    if (called === undefined) throw new Error(`the function ${word} is not known`);
    this.#tokens.shift();
    const args: unknown[] = [];
    while (this.#tokens.length > 0 && !['|', ')'].includes(this.#tokens[0]!)) args.push(this.#operand());
    return called(...([...args, ...piped] as never[]));
  }

  #operand(): unknown {
    const word = this.#tokens.shift()!;
    if (word === '(') {
      const value = this.evaluate();
      this.#tokens.shift();
      return value;
    }
    if (word.startsWith('"')) return word.slice(1, -1);
    if (/^\d+$/.test(word)) return Number(word);
    if (word.startsWith('$')) return this.#scope[word];
    let value: unknown = this.#scope;
    for (const name of word.slice(1).split('.')) {
      if (typeof value !== 'object' || value === null || !(name in value))
        throw new Error(`${word} has no value`);
      value = (value as Scope)[name];
    }
    return value;
  }
}

/**
 * @param chart the chart's folder
 * @param scope `Values` and `Release`
 * @throws about what it does not know, and about values that are missing
 */
export function render(template: string, chart: string, scope: Scope): string {
  const evaluate = (pipeline: string, inner: Scope): unknown =>
    new Pipeline(pipeline, inner, chart).evaluate();
  const print = (nodes: readonly Node[], inner: Scope): string =>
    nodes
      .map((node) => {
        switch (node.kind) {
          case 'text':
            return node.text;
          case 'print':
            return String(evaluate(node.pipeline, inner));
          case 'if':
            return print(isTrue(evaluate(node.pipeline, inner)) ? node.yes : node.no, inner);
          case 'range':
            return Object.entries(evaluate(node.of, inner) as object)
              .toSorted(([a], [b]) => (a < b ? -1 : 1))
              .map(([key, value]) =>
                print(node.body, { ...inner, [node.names[0]]: key, [node.names[1]]: value }),
              )
              .join('');
        }
      })
      .join('');
  return print(parse(template), scope);
}
