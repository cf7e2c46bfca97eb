/**
 * Passwords checked by an LDAP directory: by a bind as the user. The package ldapts implements the protocol; it is loaded when
 * the first client needs it.
 */
import { resolveSrv } from 'node:dns/promises';
import { connect as connectTcp, isIP, isIPv6, type Socket } from 'node:net';
import { connect as connectTls, getCACertificates, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { Client } from 'ldapts';
import { ldapTls, type LdapOptions, type LdapSearch, type LdapTls } from './ldap-options.ts';

/** The directory could not be asked. The message is for the log. */
export class LdapError extends Error {}

/** The time that a directory may take to accept a connection; pgbouncer's value. */
const CONNECT_TIMEOUT_MS = 3_000;
/** The time that it may take to answer one request. */
const REQUEST_TIMEOUT_MS = 10_000;

/** For tests, and for callers with less patience. */
export interface LdapLimits {
  readonly connectTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
}

/**
 * Whether this is the user's password.
 * @throws LdapError if no directory server can tell
 */
export async function authenticateLdap(
  user: string,
  password: string,
  options: LdapOptions,
  limits: LdapLimits = {},
): Promise<boolean> {
  // A bind with a name and no password is an anonymous one, and succeeds (RFC 4513, section 5.1.2).
  if (password === '') return false;
  const servers = options.servers.length > 0 ? options.servers : await findServers(options);
  let unreachable: LdapError | null = null;
  for (const server of servers) {
    try {
      return await askServer(server, user, password, options, limits);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      unreachable = error;
    }
  }
  throw unreachable ?? new LdapError('LDAP server not specified');
}

/** The next server may be reachable. */
class Unreachable extends LdapError {}

/** The servers of the domain that `dc=example,dc=net` names, by their SRV records (RFC 2782). */
async function findServers(options: LdapOptions): Promise<string[]> {
  const baseDn = options.bind.kind === 'search' ? options.bind.baseDn : '';
  const parts = [...baseDn.matchAll(/(?:^|,)\s*dc=([^,]+)/gi)].map((match) => match[1]!.trim());
  if (parts.length === 0) throw new LdapError('could not extract domain name from ldapbasedn');
  const domain = parts.join('.');
  try {
    const records = await resolveSrv(`_ldap._tcp.${domain}`);
    records.sort((a, b) => a.priority - b.priority || b.weight - a.weight);
    return records.map(({ name, port }) => `${name}:${port}`);
  } catch {
    throw new LdapError(`LDAP authentication could not find DNS SRV records for "${domain}"`);
  }
}

async function askServer(
  server: string,
  user: string,
  password: string,
  options: LdapOptions,
  limits: LdapLimits,
): Promise<boolean> {
  const directory = new Directory(server, options, limits);
  try {
    let dn: string | null;
    if (options.bind.kind === 'simple') {
      dn = options.bind.prefix + user + options.bind.suffix;
    } else {
      dn = await directory.find(options.bind, user);
      // The user's own bind has a connection of its own, as with PostgreSQL.
      directory.close();
    }
    return dn !== null && (await directory.bind(dn, password));
  } finally {
    directory.close();
  }
}

/** Connections to one server of a directory, one after another. */
class Directory {
  readonly #url: string;
  readonly #options: LdapOptions;
  readonly #connectTimeoutMs: number;
  readonly #requestTimeoutMs: number;
  #sockets: (Socket | TLSSocket)[] = [];
  #client: Client | null = null;

  constructor(server: string, options: LdapOptions, limits: LdapLimits) {
    const host = isIPv6(server) ? `[${server}]` : server;
    const hasPort = /^(\[.*\]|[^:]+):\d+$/.test(host);
    this.#url = `${options.scheme}://${host}${hasPort ? '' : `:${options.port}`}`;
    this.#options = options;
    this.#connectTimeoutMs = limits.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.#requestTimeoutMs = limits.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#sockets = [];
    this.#client = null;
  }

  /** False: wrong name or password. */
  async bind(dn: string, password: string): Promise<boolean> {
    const { InvalidCredentialsError, InvalidDNSyntaxError, NoSuchObjectError, SASL_MECHANISMS } =
      await import('ldapts');
    // ldapts would take such a name for a SASL mechanism, and EXTERNAL proves the proxy's identity, not the user's
    if (SASL_MECHANISMS.some((name) => name === dn)) return false;
    try {
      const client = await this.#connect();
      await this.#within(client.bind(dn, password));
      return true;
    } catch (error) {
      if (error instanceof InvalidCredentialsError) return false;
      if (error instanceof NoSuchObjectError || error instanceof InvalidDNSyntaxError) return false;
      throw this.#failure(`LDAP login failed for user "${dn}"`, error);
    }
  }

  /** The DN of the user's entry; null: there is not exactly one. */
  async find(search: LdapSearch, user: string): Promise<string | null> {
    // a reasonable name needs no escaping in a filter
    if (/[*()\\/]/.test(user)) throw new LdapError('invalid character in user name for LDAP authentication');
    const client = await this.#connect();
    try {
      await this.#within(client.bind(search.bindDn, search.bindPassword));
    } catch (error) {
      throw this.#failure(`could not perform initial LDAP bind for ldapbinddn "${search.bindDn}"`, error);
    }
    const filter = search.filter.replaceAll('$username', () => user);
    try {
      const { searchEntries } = await this.#within(
        // '1.1': no attributes (RFC 4511, section 4.5.1.8)
        client.search(search.baseDn, { scope: search.scope, filter, attributes: ['1.1'], sizeLimit: 2 }),
      );
      if (searchEntries.length === 1) return searchEntries[0]!.dn;
      throw new LdapError(
        `LDAP user "${user}" ${searchEntries.length === 0 ? 'does not exist' : 'is not unique'}`,
      );
    } catch (error) {
      if (error instanceof LdapError) throw error;
      throw this.#failure(`could not search LDAP for filter "${filter}"`, error);
    }
  }

  async #connect(): Promise<Client> {
    if (this.#client !== null) return this.#client;
    const { Client } = await import('ldapts');
    const tls = this.#options.startTls || this.#options.scheme === 'ldaps' ? tlsOptions(this.#url) : {};
    const client = new Client({
      url: this.#url,
      connectTimeout: this.#connectTimeoutMs,
      timeout: this.#requestTimeoutMs,
      // Any options here mean ldaps to ldapts, whatever the URL says.
      ...(this.#options.scheme === 'ldaps' ? { tlsOptions: tls } : {}),
      strictDN: false,
      createConnection: this.#once(connectTcp) as typeof connectTcp,
      createSecureConnection: this.#once(connectTls) as typeof connectTls,
    });
    this.#client = client;
    if (!this.#options.startTls) return client;
    try {
      await this.#within(client.startTLS({ ...tls }));
    } catch (error) {
      throw this.#failure('could not start LDAP TLS session', error);
    }
    return client;
  }

  /**
   * ldapts opens another connection when the first is gone; after StartTLS that one would be in clear text, and the
   * password with it. So there is one of each kind, or none.
   */
  #once<A extends unknown[], S extends Socket>(connect: (...args: A) => S): (...args: A) => S {
    let used = false;
    return (...args) => {
      if (used) throw new Unreachable(`LDAP server ${this.#url} closed the connection`);
      used = true;
      const socket = connect(...args);
      this.#sockets.push(socket);
      return socket;
    };
  }

  /** Limits every wait of ldapts. */
  async #within<T>(request: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const limit = this.#connectTimeoutMs + this.#requestTimeoutMs;
    const timer = setTimeout(() => reject(new Unreachable(`LDAP server ${this.#url} did not answer`)), limit);
    try {
      return await Promise.race([request, promise]);
    } finally {
      clearTimeout(timer);
      request.catch(() => {});
    }
  }

  #failure(problem: string, error: unknown): LdapError {
    if (error instanceof LdapError) return error;
    const { message, code } = error as Error & { code?: string | number };
    const text = `${problem} on server ${this.#url}: ${message || code}`;
    // A number is the directory's own result; any other error happened before it.
    return typeof code === 'number' ? new LdapError(text) : new Unreachable(text);
  }
}

function tlsOptions(url: string): ConnectionOptions {
  const { ca, verify }: LdapTls = ldapTls();
  const host = new URL(url).hostname.replace(/^\[|\]$/g, '');
  return {
    ca: ca ?? getCACertificates('system'),
    rejectUnauthorized: verify,
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
}
