/** Statements about one tenant's functions: `VERB FUNCTIONS tenant …`, and the SHOW commands that name a tenant. */
import { BLANK, END, TEXT, unquote, WORD } from './words.ts';

/** What can be done to one tenant's functions. */
export type FunctionsVerb = 'reload' | 'pause' | 'resume' | 'rollback' | 'promote' | 'shadow' | 'canary';

/** Tables about one tenant, by their name after SHOW. */
export type TenantTable = 'function versions' | 'function log' | 'shadow' | 'canary';

/** The arguments of a verb, after the tenant's name. Each is absent if the statement does not have it. */
export interface FunctionsArguments {
  /** PAUSE … PASS, PAUSE … ERROR: what becomes of queries, whatever the policies say */
  readonly as?: 'pass' | 'error';
  /** ROLLBACK … TO n: the number of a version */
  readonly to?: number;
  /** SHADOW … FROM 'folder' */
  readonly from?: string;
  /** SHADOW … OFF, CANARY … OFF */
  readonly isOff?: true;
  /** CANARY … n%: the share of clients, with up to two decimals */
  readonly percent?: number;
  /** CANARY … n% PROMOTE: the version is to serve when it has proved itself */
  readonly promotes?: true;
}

export type FunctionsStatement =
  | {
      readonly kind: 'functions';
      readonly verb: FunctionsVerb;
      readonly tenant: string;
      readonly arguments: FunctionsArguments;
    }
  | { readonly kind: 'show tenant'; readonly table: TenantTable; readonly tenant: string };

interface Form {
  /** what may follow the tenant's name; it has at most two groups */
  readonly source: string;
  of(first: string | undefined, second: string | undefined): FunctionsArguments;
}

const NO_ARGUMENTS: Form = { source: '', of: () => ({}) };

const FORMS: Readonly<Record<FunctionsVerb, Form>> = {
  reload: NO_ARGUMENTS,
  resume: NO_ARGUMENTS,
  promote: NO_ARGUMENTS,
  pause: {
    source: `(?:${BLANK}+(pass|error))?`,
    of: (as) => (as === undefined ? {} : { as: as.toLowerCase() as 'pass' | 'error' }),
  },
  rollback: {
    source: `(?:${BLANK}+to${BLANK}+([0-9]{1,9}))?`,
    of: (to) => (to === undefined ? {} : { to: Number(to) }),
  },
  shadow: {
    source: `(?:${BLANK}+from${BLANK}+${TEXT}|${BLANK}+(off))?`,
    of: (from, off) => ({
      ...(from !== undefined && { from: unquote(from) }),
      ...(off !== undefined && { isOff: true }),
    }),
  },
  canary: {
    source: `${BLANK}+(off|(?:100|[0-9]{1,2}(?:[.][0-9]{1,2})?)${BLANK}*%)(?:${BLANK}+(promote))?`,
    of: (share = '', promote) => ({
      ...(/^off$/i.test(share) ? { isOff: true } : { percent: Number.parseFloat(share) }),
      ...(promote !== undefined && { promotes: true }),
    }),
  },
};

const VERBS = Object.entries(FORMS).map(([verb, { source, of }]) => ({
  verb: verb as FunctionsVerb,
  expression: new RegExp(`^${BLANK}*${verb}${BLANK}+functions${BLANK}+${WORD}${source}${END}`, 'i'),
  of,
}));

const TABLES = [
  ['function versions', `function${BLANK}+versions`],
  ['function log', `function${BLANK}+log`],
  ['shadow', 'shadow'],
  ['canary', 'canary'],
] as const;

const SHOWN = TABLES.map(([table, words]) => ({
  table,
  expression: new RegExp(`^${BLANK}*(?:show|select)${BLANK}+${words}${BLANK}+${WORD}${END}`, 'i'),
}));

/** All expressions, for the test of their cost. */
export const FUNCTIONS_EXPRESSIONS: readonly RegExp[] = [...VERBS, ...SHOWN].map(
  ({ expression }) => expression,
);

/** Null: the text is another statement, or none. */
export function parseFunctionsStatement(text: string): FunctionsStatement | null {
  for (const { verb, expression, of } of VERBS) {
    const found = expression.exec(text);
    if (found !== null)
      return {
        kind: 'functions',
        verb,
        tenant: unquote(found[1]!),
        arguments: of(found[2], found[3]),
      };
  }
  for (const { table, expression } of SHOWN) {
    const found = expression.exec(text);
    if (found !== null) return { kind: 'show tenant', table, tenant: unquote(found[1]!) };
  }
  return null;
}
