/** The HBA file and the ident file: parsing only. Matching is auth's. */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { isIP } from 'node:net';
import type { Diagnostics } from './diagnostics.ts';
import { reasonOf } from './ini.ts';
import { parseLdapPairs } from './ldap-pairs.ts';

/** A database or user name of a rule; a quoted one has no special meaning (`"all"` is the database named all). */
export interface HbaName {
  readonly text: string;
  readonly quoted: boolean;
}

export type HbaAddress =
  | { readonly kind: 'all' }
  | { readonly kind: 'cidr'; readonly family: 4 | 6; readonly address: string; readonly prefix: number };

export interface HbaRule {
  readonly file: string;
  readonly line: number;
  readonly type: 'local' | 'host' | 'hostssl' | 'hostnossl';
  /** `all`, `replication`, `sameuser` are special unless quoted; `@file` is replaced by the file's names. */
  readonly databases: readonly HbaName[];
  /** `all` is special unless quoted. */
  readonly users: readonly HbaName[];
  /** null for local. */
  readonly address: HbaAddress | null;
  readonly method: HbaMethod;
  /** `map=NAME` and ldap's options. */
  readonly options: ReadonlyMap<string, string>;
}

const METHODS = ['trust', 'reject', 'md5', 'password', 'peer', 'cert', 'scram-sha-256', 'ldap'] as const;
export type HbaMethod = (typeof METHODS)[number];

/** One line of the ident file: this system name may be this PostgreSQL user. */
export interface IdentEntry {
  readonly line: number;
  readonly systemName: string;
  readonly user: string;
  /** True when `all` (unquoted) stands for every user. */
  readonly anyUser: boolean;
}
export type IdentMap = readonly IdentEntry[];

interface Token {
  readonly text: string;
  readonly quoted: boolean;
  /** A comma follows. */
  readonly more: boolean;
  /** Its end in the line, a comma included. */
  readonly end: number;
}

const TOKEN = /\s*(?:"((?:[^"]|"")*)"|([^\s",#]+(?:"[^"]*"[^\s",#]*)*))(\s*,)?/y;

/** The tokens of a line up to `badAt`, the position at which it is malformed (null: it is well formed). */
interface Tokens {
  readonly line: string;
  readonly tokens: readonly Token[];
  readonly badAt: number | null;
}

function tokenize(line: string): Tokens {
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    if (/^\s*(#.*)?$/.test(line.slice(at))) return { line, tokens, badAt: null };
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(line);
    if (match === null) return { line, tokens, badAt: at };
    const quoted = match[1] !== undefined;
    // An option's value may be quoted inside the token: ldapserver="a b".
    const text = quoted ? match[1]!.replaceAll('""', '"') : match[2]!.replaceAll('"', '');
    at = TOKEN.lastIndex;
    tokens.push({ text, quoted, more: match[3] !== undefined, end: at });
  }
}

interface Cursor {
  readonly tokens: readonly Token[];
  at: number;
}

function next(cursor: Cursor): Token | null {
  const token = cursor.tokens[cursor.at] ?? null;
  cursor.at += 1;
  return token;
}

class BadRule extends Error {}

/** Words that PostgreSQL knows and pgbouncer does not: there are no group memberships here. */
const MEMBERSHIP = ['samerole', 'samegroup'];

function takeNames(cursor: Cursor, what: 'database' | 'user', file: string, depth = 0): HbaName[] {
  const names: HbaName[] = [];
  for (;;) {
    const token = next(cursor);
    if (token === null) throw new BadRule(`missing ${what}`);
    if (!token.quoted && token.text.startsWith('@')) {
      names.push(...includedNames(resolve(dirname(file), token.text.slice(1)), what, depth));
    } else {
      const isMembership = what === 'database' ? MEMBERSHIP.includes(token.text) : token.text.startsWith('+');
      // a line that never matches would leave its clients to the next one
      if (isMembership && !token.quoted) throw new BadRule(`"${token.text}" is not supported`);
      names.push({ text: token.text, quoted: token.quoted });
    }
    if (!token.more) return names;
  }
}

/** The names of an `@file`: separated by commas, blanks or line ends. */
function includedNames(file: string, what: 'database' | 'user', depth: number): HbaName[] {
  if (depth >= 10) throw new BadRule(`include nesting level too deep (${file})`);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new BadRule(`could not read "${file}": ${reasonOf(error)}`);
  }
  const names: HbaName[] = [];
  for (const line of text.split('\n')) {
    const { tokens, badAt } = tokenize(line);
    if (badAt !== null) throw new BadRule(`syntax error in "${file}"`);
    const cursor: Cursor = { tokens: tokens.map((token) => ({ ...token, more: false })), at: 0 };
    while (cursor.at < tokens.length) names.push(...takeNames(cursor, what, file, depth + 1));
  }
  return names;
}

function takeAddress(cursor: Cursor): HbaAddress {
  const token = next(cursor);
  if (token === null) throw new BadRule('missing address');
  if (token.text === 'all' && !token.quoted) return { kind: 'all' };
  const [address, bits, ...rest] = token.text.split('/') as [string, string?, ...string[]];
  const family = isIP(address);
  if (family === 0 || rest.length > 0) {
    throw new BadRule(`invalid address "${token.text}"; an IP address with a prefix length, or all`);
  }
  const width = family === 4 ? 32 : 128;
  if (bits !== undefined) {
    const prefix = Number(bits);
    if (!/^\d+$/.test(bits) || prefix > width) throw new BadRule(`invalid prefix length in "${token.text}"`);
    return { kind: 'cidr', family: family as 4 | 6, address, prefix };
  }
  // The older form: address and mask as two fields.
  const mask = cursor.tokens[cursor.at];
  if (mask === undefined || isIP(mask.text) !== family)
    return { kind: 'cidr', family: family as 4 | 6, address, prefix: width };
  cursor.at += 1;
  return { kind: 'cidr', family: family as 4 | 6, address, prefix: prefixOfMask(mask.text, family) };
}

function prefixOfMask(mask: string, family: number): number {
  const bits = family === 4 ? bitsOfIpv4(mask) : bitsOfIpv6(mask);
  const match = /^(1*)0*$/.exec(bits);
  if (match === null) throw new BadRule(`invalid mask "${mask}"`);
  return match[1]!.length;
}

function bitsOfIpv4(address: string): string {
  return address
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('');
}

function bitsOfIpv6(address: string): string {
  const [head, tail] = address.split('::') as [string, string?];
  const groups = (text: string | undefined): string[] =>
    text === undefined || text === '' ? [] : text.split(':');
  const before = groups(head);
  const after = groups(tail);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  const all = tail === undefined ? before : [...before, ...zeros, ...after];
  return all.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0')).join('');
}

function parseRule(found: Tokens, file: string, line: number): HbaRule {
  const cursor: Cursor = { tokens: found.tokens, at: 0 };
  const type = next(cursor)!.text;
  if (type !== 'local' && type !== 'host' && type !== 'hostssl' && type !== 'hostnossl') {
    throw new BadRule(`unknown connection type "${type}"; local, host, hostssl or hostnossl`);
  }
  const databases = takeNames(cursor, 'database', file);
  const users = takeNames(cursor, 'user', file);
  const address = type === 'local' ? null : takeAddress(cursor);
  const token = next(cursor);
  const name = token?.text;
  if (name === undefined) throw new BadRule('missing authentication method');
  const method = METHODS.find((known) => known === name);
  if (method === undefined) throw new BadRule(`unsupported method "${name}"; one of ${METHODS.join(', ')}`);
  if (method === 'peer' && type !== 'local') throw new BadRule('peer is possible on local lines only');
  if (method === 'cert' && type !== 'hostssl') throw new BadRule('cert is possible on hostssl lines only');
  const options = method === 'ldap' ? ldapOptions(found.line.slice(token!.end)) : takeOptions(cursor);
  if (method !== 'ldap' && found.badAt !== null) throw new BadRule('syntax error');
  return { file, line, type, databases, users, address, method, options };
}

/** They are written as in auth_ldap_options: names may be quoted too, and commas may separate them. */
function ldapOptions(text: string): ReadonlyMap<string, string> {
  const pairs = parseLdapPairs(text, { comments: true });
  if ('malformed' in pairs) throw new BadRule(`unexpected "${pairs.malformed}"; options are name=value`);
  return pairs;
}

function takeOptions(cursor: Cursor): Map<string, string> {
  const options = new Map<string, string>();
  for (let token = next(cursor); token !== null; token = next(cursor)) {
    const equals = token.text.indexOf('=');
    if (equals < 1) throw new BadRule(`unexpected "${token.text}"; options are name=value`);
    options.set(token.text.slice(0, equals), token.text.slice(equals + 1));
  }
  return options;
}

/** Lines with tokens; a backslash at a line's end continues it. */
function* tokenLines(text: string): Generator<{ number: number; found: Tokens }> {
  let number = 0;
  let start = 0;
  let pendingText = '';
  for (const raw of text.replace(/^\uFEFF/, '').split('\n')) {
    number += 1;
    if (pendingText === '') start = number;
    const line = pendingText + raw.replace(/\r$/, '');
    if (line.endsWith('\\')) {
      pendingText = line.slice(0, -1);
      continue;
    }
    pendingText = '';
    const found = tokenize(line);
    if (found.tokens.length > 0 || found.badAt !== null) yield { number: start, found };
  }
}

/** The rules in order. Problems go to `diagnostics`, with file and line. */
export function parseHba(text: string, file: string, diagnostics: Diagnostics): readonly HbaRule[] {
  const rules: HbaRule[] = [];
  for (const { number: line, found } of tokenLines(text)) {
    try {
      if (found.tokens.length === 0) throw new BadRule('syntax error');
      rules.push(parseRule(found, file, line));
    } catch (error) {
      if (!(error instanceof BadRule)) throw error;
      diagnostics.add({ file, line }, error.message);
    }
  }
  return rules;
}

/** One `map system-name postgres-user` per line. */
export function parseIdent(
  text: string,
  file: string,
  diagnostics: Diagnostics,
): ReadonlyMap<string, IdentMap> {
  const maps = new Map<string, IdentEntry[]>();
  for (const { number: line, found } of tokenLines(text)) {
    if (found.badAt !== null) {
      diagnostics.add({ file, line }, 'syntax error');
      continue;
    }
    const { tokens } = found;
    const [map, systemName, user, ...rest] = tokens;
    if (map === undefined || systemName === undefined || user === undefined || rest.length > 0) {
      diagnostics.add({ file, line }, 'expected three fields: map, system name, user');
      continue;
    }
    if (systemName.text.startsWith('/') && !systemName.quoted) {
      diagnostics.add({ file, line }, 'regular expressions are not supported in an ident map');
      continue;
    }
    const entries = maps.get(map.text) ?? [];
    entries.push({
      line,
      systemName: systemName.text,
      user: user.text,
      anyUser: user.text === 'all' && !user.quoted,
    });
    maps.set(map.text, entries);
  }
  return maps;
}
