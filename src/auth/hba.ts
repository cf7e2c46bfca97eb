/** The HBA line that applies to a client, and the names that an ident map allows. Parsing is config's. */
import { BlockList, isIP } from 'node:net';
import type { HbaAddress, HbaName, HbaRule, IdentMap } from '../config/hba.ts';
import type { ClientMethod } from './client-auth.ts';

/** The facts about a connection that rules are matched against. */
export interface HbaConnection {
  readonly user: string;
  readonly database: string;
  /** The entry of [databases] for which `database` is an alias, and whose name matches as well. */
  readonly entry?: string;
  /** The client's IP address; null: a Unix socket. */
  readonly address: string | null;
  readonly tls: boolean;
  /** True for physical replication, which belongs to no database. Logical replication is like any other connection. */
  readonly replication: boolean;
}

export interface HbaMatch {
  readonly method: ClientMethod;
  /** Name of the ident map; null: names must be equal. */
  readonly map: string | null;
  readonly options: ReadonlyMap<string, string>;
  readonly file: string;
  readonly line: number;
}

interface CompiledRule {
  readonly rule: HbaRule;
  readonly match: HbaMatch;
  /** null: any address */
  readonly addresses: Addresses | null;
}

/** BlockList would find IPv4 addresses in IPv6 networks (`::/0` has all mapped ones), so the family is asked first. */
interface Addresses {
  readonly family: number;
  readonly list: BlockList;
}

/** The rules of an HBA file, prepared for lookups. */
export class Hba {
  readonly #rules: readonly CompiledRule[];

  constructor(rules: readonly HbaRule[]) {
    this.#rules = rules.map((rule) => ({
      rule,
      addresses: compileAddress(rule.address),
      match: {
        method: rule.method === 'password' ? 'plain' : rule.method,
        map: rule.options.get('map') ?? null,
        options: rule.options,
        file: rule.file,
        line: rule.line,
      },
    }));
  }

  /** The first rule that fits; null: none ("no authentication method is found"). */
  find(connection: HbaConnection): HbaMatch | null {
    const address = connection.address === null ? null : plainAddress(connection.address);
    return this.#rules.find((compiled) => fits(compiled, connection, address))?.match ?? null;
  }
}

function compileAddress(address: HbaAddress | null): Addresses | null {
  if (address === null || address.kind === 'all') return null;
  const list = new BlockList();
  list.addSubnet(address.address, address.prefix, address.family === 4 ? 'ipv4' : 'ipv6');
  return { family: address.family, list };
}

/** An IPv4-mapped address counts as IPv4, and the name of an interface is not part of an address. */
function plainAddress(address: string): string {
  const [plain] = address.split('%') as [string];
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(plain);
  return mapped?.[1] ?? plain;
}

function fits({ rule, addresses }: CompiledRule, connection: HbaConnection, address: string | null): boolean {
  if ((rule.type === 'local') !== (address === null)) return false;
  if (rule.type === 'hostssl' && !connection.tls) return false;
  if (rule.type === 'hostnossl' && connection.tls) return false;
  if (addresses !== null && !contains(addresses, address)) return false;
  const { user, database, entry = database } = connection;
  // "the value replication ... matches if a physical replication connection is requested", and nothing else does then.
  const isDatabase = connection.replication
    ? rule.databases.some((name) => isKeyword(name, 'replication'))
    : rule.databases.some(
        (name) => isDatabaseName(name, database, user) || isDatabaseName(name, entry, user),
      );
  return isDatabase && rule.users.some((name) => isKeyword(name, 'all') || name.text === user);
}

function contains({ family, list }: Addresses, address: string | null): boolean {
  return isIP(address ?? '') === family && list.check(address!, family === 4 ? 'ipv4' : 'ipv6');
}

function isKeyword(name: HbaName, keyword: string): boolean {
  return !name.quoted && name.text === keyword;
}

function isDatabaseName(name: HbaName, database: string, user: string): boolean {
  if (isKeyword(name, 'all')) return true;
  if (isKeyword(name, 'sameuser')) return database === user;
  if (isKeyword(name, 'replication')) return false;
  return name.text === database;
}

/** For ClientIdentity.mapsTo: whether this system name may log in as `user`. A missing map allows nothing. */
export function identMapper(map: IdentMap | undefined, user: string): (systemName: string) => boolean {
  return (systemName) =>
    map?.some((entry) => entry.systemName === systemName && (entry.anyUser || entry.user === user)) ?? false;
}
