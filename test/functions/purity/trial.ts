/** Asks a rule the same questions twice: once with its decisions remembered where they may be, once always anew. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import assert from 'node:assert/strict';
import type { Bundle } from '../../../src/functions/build/bundle-job.ts';
import { bundle } from '../../../src/functions/build/bundle.ts';
import type { HostAnswer } from '../../../src/functions/sandbox/call.ts';
import { Engine } from '../../../src/functions/sandbox/engine.ts';
import { CallPacker, unpackAnswers } from '../../../src/functions/sandbox/packing.ts';
import { preludeScript } from '../../../src/functions/sandbox/programs.ts';
import type { Rule } from './rule.ts';

const engine = new Engine(preludeScript());
const packer = new CallPacker();
const folder = await mkdtemp(join(tmpdir(), 'purity-'));
let rules = 0;

/** Each question comes more than once. */
const QUESTIONS = ['a 1', 'a 1', 'b 1', 'a 2', 'a 1', 'b 2', 'b 1', 'a 2', 'a 1', 'a 1'].map((each) => {
  const [username = '', number = ''] = each.split(' ');
  return { username, query: `select ${number}`, inTransaction: false, context: {} };
});

export async function bundleOf([, text, files = {}]: Rule): Promise<Bundle> {
  const own = join(folder, String(rules++));
  await mkdir(own);
  const routing = join(own, 'rules.ts');
  await writeFile(routing, text);
  for (const [name, content] of Object.entries(files)) await writeFile(join(own, name), content);
  const result = await bundle({ routing, rewrite: null }, new Set());
  assert.equal(result.kind, 'bundle', result.kind === 'failed' ? result.message : '');
  return (result as Extract<typeof result, { kind: 'bundle' }>).bundle;
}

export interface Trial {
  /** by a memory that remembers what it may */
  readonly remembering: readonly string[];
  /** by functions that are always asked, with nothing frozen */
  readonly asking: readonly string[];
  /** why decisions are not remembered in the end; '': they are */
  readonly why: string;
}

export function trialOf({ code, purity: { isPure, reason } }: Bundle): Trial {
  const asked = load(code, false);
  assert.equal(asked, '');
  const asking = QUESTIONS.map((question) => textOf(ask(question)));
  let why = reason || load(code, isPure);
  if (reason !== '') load(code, false);
  const memory = new Map<string, string>();
  const remembering = QUESTIONS.map((question) => {
    const key = `${question.username} ${question.query}`;
    const known = why === '' ? memory.get(key) : undefined;
    if (known !== undefined) return known;
    const answer = ask(question);
    if (answer.changed !== undefined) {
      why ||= answer.changed;
      memory.clear();
    }
    if (answer.basis !== undefined) memory.set(key, textOf(answer));
    else if (isPure && why === '' && !('failure' in (answer.route ?? {}))) why = 'an answer is not kept';
    return textOf(answer);
  });
  return { remembering, asking, why };
}

/** @returns why it is not pure after all; '': it is, or was not found to be */
function load(code: string, isPure: boolean): string {
  const result = engine.load({ ...SETTINGS, code, isPure });
  assert.equal(result.kind, 'loaded', result.kind === 'refused' ? result.message : '');
  return result.kind === 'loaded' ? (result.manifest.state ?? '') : '';
}

const SETTINGS = { id: 1, databases: ['d'], memoryLimitMb: 32, maxResult: 10_000, timeoutMs: 5_000 };

function ask(question: (typeof QUESTIONS)[number]): HostAnswer {
  return unpackAnswers(engine.run(1, packer.pack([question]))).answers[0]!;
}

function textOf({ rewrite, route }: HostAnswer): string {
  return JSON.stringify([rewrite, route], (key, value: unknown) => (key === 'stack' ? '' : value));
}

/** The answers to some queries, asked one by one. */
export function answersOf({ code, purity: { isPure } }: Bundle, queries: readonly string[]): HostAnswer[] {
  load(code, isPure);
  return queries.map((query) => ask({ ...QUESTIONS[0]!, query }));
}
