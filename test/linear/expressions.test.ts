/**
 * Every regular expression of the proxy takes time that is linear in the length of its input. The steps of a backtracking
 * engine are counted for lengths n and 2n, on texts made from the expression itself with one part repeated.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AST } from '@eslint-community/regexpp';
import { EXPRESSIONS } from '../../src/admin/grammar.ts';
import { ENOUGH, fits, Steps } from '../support/regex-steps.ts';

const SOURCE = join(import.meta.dirname, '..', '..', 'src');

/** Files without foreign input: they read only the operator's own files and command line, or run outside the proxy. */
const OWN =
  /^(?:cli|config)\/|^functions\/build\/(?:bundle|complaint|purity\/[\w-]+|source-check|source-file|sources|watch)\.ts|^platform\/reaper\.ts/;

interface Found {
  readonly where: string;
  readonly source: string;
  readonly flags: string;
}

const LITERAL =
  /(?<=(?:^|[=(,:!&|?[{;>]|return)\s*)\/(?![*/])((?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+)\/([dgimsuvy]*)(?=[.,;)\s\]])/gm;

function expressions(): Found[] {
  const found: Found[] = [];
  for (const file of globSync('**/*.ts', { cwd: SOURCE }).sort()) {
    if (OWN.test(file)) continue;
    const text = readFileSync(join(SOURCE, file), 'utf8');
    for (const match of text.matchAll(LITERAL)) {
      const line = text.slice(0, match.index).split('\n');
      if (/^\s*(?:\/\/|\/?\*)/.test(text.split('\n')[line.length - 1]!)) continue;
      found.push({ where: `src/${file}:${line.length}`, source: match[1]!, flags: match[2]! });
    }
  }
  for (const { source, flags } of EXPRESSIONS) found.push({ where: 'src/admin/grammar.ts', source, flags });
  return found;
}

/** The same numbers in each run. */
function dice(seed: number): (sides: number) => number {
  let state = seed;
  return (sides) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return Math.floor((state / 2_147_483_648) * sides);
  };
}

const CHARACTERS = Array.from(' \n;/*-$\'"`,:=.(0aAzZx_\\\u0001é', (char) => char.charCodeAt(0));

/** A text that the expression usually matches: each repetition occurs as often as it must, or once or twice more. */
function sample(node: AST.Node, flags: string, roll: (sides: number) => number): string {
  switch (node.type) {
    case 'Pattern':
    case 'Group':
    case 'CapturingGroup':
      return sample(node.alternatives[roll(node.alternatives.length)]!, flags, roll);
    case 'Alternative':
      return node.elements.map((each) => sample(each, flags, roll)).join('');
    case 'Quantifier': {
      const times = Math.min(node.max, node.min + roll(3));
      return Array.from({ length: times }, () => sample(node.element, flags, roll)).join('');
    }
    case 'Assertion':
      return '';
    case 'Character':
      return String.fromCharCode(node.value);
    default: {
      const all = CHARACTERS.filter((code) => fits(node, code, flags));
      return all.length === 0 ? '' : String.fromCharCode(all[roll(all.length)]!);
    }
  }
}

/** A repeated part of a sample, and its continuation: the rest, or something that spoils the match. */
function* attacks(steps: Steps, flags: string): Generator<(n: number) => string> {
  const roll = dice(1);
  for (let i = 0; i < 5; i++) {
    const base = sample(steps.pattern, flags, roll).slice(0, 24);
    for (let at = 0; at <= base.length; at++) {
      for (const part of new Set([
        base.slice(at, at + 1),
        base.slice(at, at + 2),
        base.slice(at, at + 3),
        `${base.slice(at, at + 2)}x`,
        ' ',
      ])) {
        if (part === '') continue;
        for (const rest of [base.slice(at), '\u0001', `${base.slice(at)}\u0001`])
          yield (n) => base.slice(0, at) + part.repeat(n) + rest;
      }
    }
  }
}

/** The attack for which twice the length takes more than twice the steps; null: none. */
function worst(source: string, flags: string): string | null {
  const steps = new Steps(source, flags);
  for (const attack of attacks(steps, flags)) {
    const [one, two] = [steps.count(attack(60)), steps.count(attack(120))];
    if (two > ENOUGH) return JSON.stringify(attack(3));
    if (two < 2.6 * one || two < 1500) continue;
    // a match may begin at a fixed cost: once more, further out
    const four = steps.count(attack(240));
    if (four > ENOUGH || four > 2.6 * two) return JSON.stringify(attack(3));
  }
  return null;
}

test('the counter detects known quadratic and worse expressions', () => {
  for (const bad of [
    String.raw`\s*$`,
    String.raw`^\s*(?:rollback|abort)\s*;?\s*$`,
    String.raw`\/\*[^*]*\*+(?:[^*/][^*]*\*+)*\/`,
    '(a+)+b',
  ])
    assert.notEqual(worst(bad, 'g'), null, bad);
  for (const good of [String.raw`^\s*rollback\b`, "'[^']*'", '[abc]+'])
    assert.equal(worst(good, 'g'), null, good);
});

test('every regular expression that is given foreign text is linear', () => {
  const all = expressions();
  assert.ok(all.length > 60, `only ${all.length} expressions were found`);
  const bad = all.flatMap(({ where, source, flags }) => {
    const attack = worst(source, flags);
    return attack === null ? [] : [`${where} /${source}/${flags} with ${attack}`];
  });
  assert.deepEqual(bad, []);
});
