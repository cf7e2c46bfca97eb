/**
 * The addresses of servers' names, remembered for dns_max_ttl (dns_nxdomain_ttl if there are none). They come from the
 * system's own resolver, so /etc/hosts, search domains and nsswitch.conf apply.
 */
import { execFile } from 'node:child_process';
import { lookup } from 'node:dns/promises';

/** All addresses of a name. @throws NodeJS.ErrnoException */
export type Lookup = (host: string) => Promise<readonly string[]>;

/** The name has no address, or it could not be looked up. */
export class ResolveError extends Error {}

/** A row of SHOW DNS_HOSTS. */
export interface KnownHost {
  readonly host: string;
  readonly ttlSeconds: number;
  readonly addresses: readonly string[];
}

export interface ResolverOptions {
  /** In ms; read each time, because a reload changes them. */
  readonly ttls: () => { readonly dns_max_ttl: number; readonly dns_nxdomain_ttl: number };
  /** Called when addresses of a name have vanished. */
  readonly onChange: (host: string, addresses: readonly string[]) => void;
  readonly lookup?: Lookup;
}

interface Entry {
  addresses: readonly string[];
  problem: string | null;
  /** ms of performance.now() */
  expiresAt: number;
  /** when the last lookup began; ms of performance.now() */
  askedAt: number;
  /** index of the next address to use */
  next: number;
  pending: Promise<void> | null;
  /** the addresses are kept, whatever a lookup says meanwhile */
  isPinned: boolean;
}

/** If a new answer takes longer than this, the old addresses are used. */
const PATIENCE_MS = 1000;
/** The least time between two lookups of a name whose servers are in doubt. */
const DOUBT_MS = 1000;
/** Errors that mean that the name does not exist; others mean that the lookup itself has failed. */
const NO_SUCH_NAME = new Set(['ENOTFOUND', 'ENODATA', 'EAI_NONAME', 'EAI_NODATA']);

export class Resolver {
  readonly #options: ResolverOptions;
  readonly #lookup: Lookup;
  readonly #entries = new Map<string, Entry>();

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#lookup = options.lookup ?? systemLookup();
  }

  /** The number of lookups that are under way. */
  get pending(): number {
    let count = 0;
    for (const entry of this.#entries.values()) if (entry.pending !== null) count++;
    return count;
  }

  /**
   * The name's addresses. Each call begins with the next one, so that they are used in turn.
   * @throws ResolveError
   */
  async resolve(host: string): Promise<readonly string[]> {
    const entry = this.#entry(host);
    if (performance.now() >= entry.expiresAt && !(entry.isPinned && entry.addresses.length > 0)) {
      const pending = this.#refresh(host, entry);
      await (entry.addresses.length === 0 ? pending : patience(pending));
    }
    const { addresses } = entry;
    if (addresses.length === 0) throw new ResolveError(entry.problem ?? 'no address');
    const first = entry.next++ % addresses.length;
    return [...addresses.slice(first), ...addresses.slice(0, first)];
  }

  /** The server at this name has changed, so the name is looked up again before dns_max_ttl is over. */
  doubt(host: string): void {
    const entry = this.#entries.get(host);
    if (entry === undefined || entry.isPinned || performance.now() - entry.askedAt < DOUBT_MS) return;
    void this.#refresh(host, entry);
  }

  /** False: the name has other addresses now. */
  leadsTo(host: string, address: string): boolean {
    const addresses = this.#entries.get(host)?.addresses ?? [];
    return addresses.length === 0 || addresses.includes(address);
  }

  /** Keeps a name's present addresses while the name moves from one server to another. */
  pin(host: string): void {
    this.#entry(host).isPinned = true;
  }

  /** Ends `pin`: the name is looked up again at its next use. */
  unpin(host: string): void {
    const entry = this.#entries.get(host);
    if (entry === undefined || !entry.isPinned) return;
    entry.isPinned = false;
    entry.expiresAt = 0;
  }

  #entry(host: string): Entry {
    let entry = this.#entries.get(host);
    if (entry === undefined) {
      entry = {
        addresses: [],
        problem: null,
        expiresAt: 0,
        askedAt: 0,
        next: 0,
        pending: null,
        isPinned: false,
      };
      this.#entries.set(host, entry);
    }
    return entry;
  }

  /** Looks up names in use whose time is over, and forgets the others. */
  maintain(inUse: ReadonlySet<string>, now: number): void {
    for (const [host, entry] of this.#entries) {
      if (now < entry.expiresAt || entry.pending !== null || entry.isPinned) continue;
      if (inUse.has(host)) void this.#refresh(host, entry);
      else this.#entries.delete(host);
    }
  }

  hosts(now: number): KnownHost[] {
    return [...this.#entries].map(([host, entry]) => ({
      host,
      ttlSeconds: Math.max(0, Math.floor((entry.expiresAt - now) / 1000)),
      addresses: entry.addresses,
    }));
  }

  #refresh(host: string, entry: Entry): Promise<void> {
    if (entry.pending !== null) return entry.pending;
    entry.askedAt = performance.now();
    const { dns_max_ttl: ttl, dns_nxdomain_ttl: failedTtl } = this.#options.ttls();
    entry.pending = this.#lookup(host).then(
      (addresses) => {
        entry.pending = null;
        entry.problem = null;
        entry.expiresAt = performance.now() + ttl;
        this.#take(host, entry, [...new Set(addresses)]);
      },
      (error: NodeJS.ErrnoException) => {
        entry.pending = null;
        entry.problem = error.message;
        entry.expiresAt = performance.now() + failedTtl;
        // a failed lookup tells nothing about the addresses: the old ones are the best guess
        if (NO_SUCH_NAME.has(error.code ?? '')) this.#take(host, entry, []);
      },
    );
    return entry.pending;
  }

  #take(host: string, entry: Entry, addresses: readonly string[]): void {
    const before = entry.addresses;
    if (entry.isPinned && before.length > 0) return;
    entry.addresses = addresses;
    // a vanished name tells nothing about its servers
    if (addresses.length > 0 && before.some((address) => !addresses.includes(address)))
      this.#options.onChange(host, addresses);
  }
}

async function patience(answer: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, PATIENCE_MS);
  });
  await Promise.race([answer, over]);
  clearTimeout(timer);
}

/** libuv lets half of its four threads do lookups: that many slow ones would make all others wait. */
const LIBUV_LOOKUPS = 2;

/**
 * getaddrinfo(3) on a thread. While all threads are taken, a separate process (getent, part of the C library) does the lookup,
 * so that names whose DNS servers don't answer never delay others.
 */
function systemLookup(): Lookup {
  let running = 0;
  return async (host) => {
    if (running >= LIBUV_LOOKUPS) return await getent(host);
    running++;
    try {
      const found = await lookup(host, { all: true, order: 'verbatim' });
      return found.map(({ address }) => address);
    } finally {
      running--;
    }
  };
}

function getent(host: string): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    execFile('getent', ['ahosts', host], { timeout: 60_000 }, (error, output) => {
      const addresses = output.split('\n').flatMap((line) => /^\S+/.exec(line)?.[0] ?? []);
      if (addresses.length > 0) return resolve([...new Set(addresses)]);
      // 2: "One or more supplied key could not be found in the database"
      const code = (error as { code?: unknown } | null)?.code === 2 ? 'ENOTFOUND' : 'EAI_AGAIN';
      reject(Object.assign(new Error(`getent ${code} ${host}`), { code }));
    });
  });
}
