/** Options of LDAP authentication, named as in PostgreSQL ("LDAP Authentication" in its manual) and pgbouncer. */
import { readFileSync } from 'node:fs';
import { parseLdapPairs } from '../config/ldap-pairs.ts';

export interface LdapOptions {
  readonly scheme: 'ldap' | 'ldaps';
  /** In the order in which they are tried; none: DNS provides them, by the domain in baseDn. */
  readonly servers: readonly string[];
  readonly port: number;
  readonly startTls: boolean;
  /** Simple bind as prefix, user name, suffix; or a search for the user's entry first. */
  readonly bind: LdapSimpleBind | LdapSearch;
}

export interface LdapSimpleBind {
  readonly kind: 'simple';
  readonly prefix: string;
  readonly suffix: string;
}

export interface LdapSearch {
  readonly kind: 'search';
  readonly baseDn: string;
  /** The DN that binds for the search; empty: an anonymous bind. */
  readonly bindDn: string;
  readonly bindPassword: string;
  readonly scope: 'base' | 'one' | 'sub';
  /** `$username` stands for the user. */
  readonly filter: string;
}

/** The options make no sense, or not together. */
export class LdapOptionError extends Error {}

const KEYS = [
  'ldapurl',
  'ldapserver',
  'ldapport',
  'ldapscheme',
  'ldaptls',
  'ldapprefix',
  'ldapsuffix',
  'ldapbasedn',
  'ldapbinddn',
  'ldapbindpasswd',
  'ldapsearchattribute',
  'ldapsearchfilter',
] as const;
type Key = (typeof KEYS)[number];

/**
 * The value of auth_ldap_options.
 * @throws LdapOptionError
 */
export function parseLdapOptions(text: string): LdapOptions {
  const pairs = parseLdapPairs(text);
  if ('malformed' in pairs) throw new LdapOptionError(`malformed LDAP options at "${pairs.malformed}"`);
  return ldapOptions(pairs);
}

/**
 * The options of an HBA line.
 * @throws LdapOptionError
 */
export function ldapOptions(pairs: ReadonlyMap<string, string>): LdapOptions {
  const given: Partial<Record<Key, string>> = {};
  let scope: LdapSearch['scope'] = 'sub';
  for (const [name, value] of pairs) {
    const key = KEYS.find((known) => known === name);
    if (key === undefined) throw new LdapOptionError(`invalid LDAP key parameter: "${name}"`);
    if (value === '' && key !== 'ldapprefix' && key !== 'ldapsuffix')
      throw new LdapOptionError(`${key} has no value`);
    if (key === 'ldapurl') scope = takeUrl(value, given);
    else given[key] = value;
  }
  const scheme = given.ldapscheme ?? 'ldap';
  if (scheme !== 'ldap' && scheme !== 'ldaps')
    throw new LdapOptionError(`invalid ldapscheme value: "${scheme}"`);
  return {
    scheme,
    servers: (given.ldapserver ?? '').split(' ').filter((name) => name !== ''),
    port: portOf(given.ldapport, scheme),
    startTls: given.ldaptls === '1',
    bind: bindOf(given, scope),
  };
}

function portOf(text: string | undefined, scheme: string): number {
  if (text === undefined) return scheme === 'ldaps' ? 636 : 389;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535)
    throw new LdapOptionError(`invalid LDAP port number: "${text}"`);
  return port;
}

function bindOf(given: Partial<Record<Key, string>>, scope: LdapSearch['scope']): LdapOptions['bind'] {
  const { ldapprefix, ldapsuffix, ldapbasedn, ldapsearchattribute, ldapsearchfilter } = given;
  if (ldapprefix !== undefined || ldapsuffix !== undefined) {
    const search = [
      ldapbasedn,
      given.ldapbinddn,
      given.ldapbindpasswd,
      ldapsearchattribute,
      ldapsearchfilter,
    ];
    if (search.some((value) => value !== undefined)) {
      throw new LdapOptionError(
        'cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter, or ldapurl together with ldapprefix',
      );
    }
    if (given.ldapserver === undefined)
      throw new LdapOptionError('LDAP server not specified, and no ldapbasedn');
    return { kind: 'simple', prefix: ldapprefix ?? '', suffix: ldapsuffix ?? '' };
  }
  if (ldapbasedn === undefined) {
    throw new LdapOptionError(
      'authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set',
    );
  }
  if (ldapsearchattribute !== undefined && ldapsearchfilter !== undefined)
    throw new LdapOptionError('cannot use ldapsearchattribute together with ldapsearchfilter');
  return {
    kind: 'search',
    baseDn: ldapbasedn,
    bindDn: given.ldapbinddn ?? '',
    bindPassword: given.ldapbindpasswd ?? '',
    scope,
    filter: ldapsearchfilter ?? `(${ldapsearchattribute ?? 'uid'}=$username)`,
  };
}

/** `ldap[s]://host[:port]/basedn[?[attribute][?[scope][?[filter]]]]` (RFC 4516); the scope is `base` by default. */
function takeUrl(text: string, given: Partial<Record<Key, string>>): LdapSearch['scope'] {
  const match = /^([^:]+):\/\/(?:(\[[^\]]*\]|[^/:?]*)(?::(\d+))?)?(?:\/([^?]*))?(?:\?(.*))?$/.exec(text);
  if (match === null) throw new LdapOptionError(`could not parse LDAP URL "${text}"`);
  const [, scheme, host, port, baseDn] = match;
  if (scheme !== 'ldap' && scheme !== 'ldaps')
    throw new LdapOptionError(`unsupported LDAP URL scheme: ${scheme}`);
  const [attribute = '', scope = '', filter = ''] = (match[5] ?? '').split('?');
  const set = (key: Key, value: string | undefined): void => {
    if (value !== undefined && value !== '') given[key] = decode(value);
  };
  given.ldapscheme = scheme;
  set('ldapserver', host);
  set('ldapport', port);
  set('ldapbasedn', baseDn);
  set('ldapsearchattribute', attribute.split(',')[0]);
  set('ldapsearchfilter', filter);
  if (scope === '' || scope === 'base') return 'base';
  if (scope !== 'one' && scope !== 'sub') throw new LdapOptionError(`could not parse LDAP URL "${text}"`);
  return scope;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new LdapOptionError(`could not parse LDAP URL: bad escape in "${text}"`);
  }
}

export interface LdapTls {
  readonly ca: Buffer | null;
  readonly verify: boolean;
}

/**
 * Where libldap, hence pgbouncer and PostgreSQL, looks for its TLS settings: the file ldap.conf and variables named
 * LDAP… (ldap.conf(5)). Of these, TLS_CACERT and TLS_REQCERT.
 */
export function ldapTls(environment: NodeJS.ProcessEnv = process.env): LdapTls {
  const settings = new Map<string, string>();
  for (const file of [environment['LDAPCONF'] ?? '/etc/ldap/ldap.conf', environment['LDAPRC'] ?? '']) {
    for (const line of readLines(file)) {
      const match = /^(TLS_CACERT|TLS_REQCERT)\s+(\S+)/i.exec(line);
      if (match !== null) settings.set(match[1]!.toUpperCase(), match[2]!);
    }
  }
  const caFile = environment['LDAPTLS_CACERT'] ?? settings.get('TLS_CACERT');
  const check = environment['LDAPTLS_REQCERT'] ?? settings.get('TLS_REQCERT') ?? 'demand';
  let ca: Buffer | null = null;
  try {
    ca = caFile === undefined ? null : readFileSync(caFile);
  } catch (error) {
    throw new LdapOptionError(`could not read TLS_CACERT "${caFile}": ${(error as Error).message}`);
  }
  return { ca, verify: !/^(never|allow)$/i.test(check) };
}

function readLines(file: string): string[] {
  if (file === '') return [];
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    return [];
  }
}
