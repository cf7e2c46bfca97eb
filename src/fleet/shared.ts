/**
 * What the proxies of a fleet share about tenants: for each kind, tenant and key the last value, in the order of the changes. A
 * change is announced by a notification, which only says that there is something newer: readers then read everything that is
 * newer than what they know. A lost notification is made up for at the next heartbeat, or with the next connection.
 */
import type { Query, Row, StoreConnection } from './connection.ts';
import { SHARED } from './limits.ts';
import { readNews } from './proxies.ts';
import type { RefusedRows } from './refused-rows.ts';
import { DamagedRow, integerOf, isRecord, jsonOf, numberOf, textOf } from './untrusted.ts';

export type SharedBody = Readonly<Record<string, unknown>>;

/** A value of the fleet about a tenant. */
export interface SharedValue {
  /** what it is about, as `pin` or `version` */
  readonly kind: string;
  readonly tenant: string;
  /** tells values of one kind and tenant apart; '': there is one */
  readonly key: string;
  /** JSON; null: it was removed */
  readonly body: SharedBody | null;
}

/** A value as the store has it. */
export interface SharedRow extends SharedValue {
  /** the number of the change, from 1: of two changes in the fleet the later one has the greater */
  readonly seq: number;
  /** the proxy that made the change, and the user who asked for it; '': nobody did */
  readonly proxy: string;
  readonly user: string;
  /** by the store's clock, in ms since 1970 */
  readonly changedAtMs: number;
}

export interface Change extends SharedValue {
  readonly user: string;
  /** the change is made only if the value's seq is this one; 0: only if there is none. Missing: in any case */
  readonly after?: number;
}

/** conflict: somebody else has changed the value; null: there is none */
export type ChangeResult =
  | { readonly kind: 'done'; readonly seq: number }
  | { readonly kind: 'conflict'; readonly present: SharedRow | null };

/** Takes the fleet's values of some kinds. It must not throw, unless a value makes no sense: then its row is refused. */
export interface Follower {
  /** A value has changed: in the order of the changes, and after a new store all of them again. */
  changed(row: SharedRow): void;
  /** Everything that was in the store a moment ago has been handed over. */
  caughtUp(): void;
  /** Another store: what was taken from the old one is no longer the fleet's. */
  reset(): void;
}

export interface SharedOptions {
  readonly proxy: string;
  /** @throws StoreAway */
  readonly connection: () => StoreConnection;
  readonly refused: RefusedRows;
}

const COLUMNS = `kind, tenant, key, seq, username, proxy, extract(epoch from changed_at) * 1000 AS changed_at_ms,
  CASE WHEN octet_length(body::text) > ${SHARED.bodyBytes} THEN '0' ELSE body::text END AS body`;

/** A row with a number that was not given out yet would hide those that are. */
const NEWER = `SELECT ${COLUMNS} FROM pgswitchyard.shared
  WHERE seq > $1 AND seq <= (SELECT last.seq FROM pgswitchyard.store last) ORDER BY seq LIMIT $2`;

/** What tells whether the rows are those that are known. */
const SUMS = `SELECT count(*) AS rows, coalesce(sum(seq), 0) AS sum, coalesce(max(seq), 0) AS last
  FROM pgswitchyard.shared WHERE seq <= (SELECT last.seq FROM pgswitchyard.store last)`;

export class Shared {
  readonly #options: SharedOptions;
  readonly #followers: { readonly kinds: ReadonlySet<string>; readonly follower: Follower }[] = [];
  #storeId = '';
  /** the last change that has been handed over */
  #seq = 0;
  /** by kind, tenant and key: the number of the row that has been read, and the bytes that followers keep of it */
  readonly #rows = new Map<string, { readonly seq: number; readonly bytes: number }>();
  #bytes = 0;
  #reading: Promise<void> | null = null;
  /** a change was announced while others were being read */
  #isStale = false;

  constructor(options: SharedOptions) {
    this.#options = options;
  }

  /** The last change that has been handed over; 0: none. */
  get seq(): number {
    return this.#seq;
  }

  /** From now on `follower` gets the values of these kinds. To be called before the fleet starts. */
  follow(kinds: readonly string[], follower: Follower): void {
    this.#followers.push({ kinds: new Set(kinds), follower });
  }

  /**
   * Makes a change, and announces it to all proxies. The proxy that makes it gets it as a follower, too.
   * @throws StoreAway, or Error if it is too large
   */
  async change({ kind, tenant, key, body, user, after }: Change): Promise<ChangeResult> {
    const text = body === null ? null : JSON.stringify(body);
    if (text !== null && Buffer.byteLength(text) > SHARED.bodyBytes / 2)
      throw new Error(`a value of the fleet has more than ${SHARED.bodyBytes / 2} bytes`);
    const { connection, proxy } = this.#options;
    const name = [kind, tenant, key];
    return await connection().transaction(async (query) => {
      // the row lock puts all changes in an order in which they also become visible
      const [counter] = await query('UPDATE pgswitchyard.store SET seq = seq + 1 RETURNING seq');
      const seq = integerOf(counter ?? {}, 'seq', 1, Number.MAX_SAFE_INTEGER);
      if (after !== undefined) {
        const present = await this.#present(query, name);
        if ((present?.seq ?? 0) !== after) {
          await query('UPDATE pgswitchyard.store SET seq = seq - 1');
          return { kind: 'conflict', present };
        }
      }
      await query(
        `INSERT INTO pgswitchyard.shared (kind, tenant, key, seq, body, proxy, username)
         VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7)
         ON CONFLICT (kind, tenant, key) DO UPDATE SET seq = excluded.seq, body = excluded.body,
           proxy = excluded.proxy, username = excluded.username, changed_at = now()`,
        [...name, seq, text, proxy, cut(user)],
      );
      await query(`SELECT pg_notify('pgswitchyard', $1)`, [`shared ${seq}`]);
      return { kind: 'done', seq };
    });
  }

  async #present(query: Query, name: readonly string[]): Promise<SharedRow | null> {
    const [row] = await query(
      `SELECT ${COLUMNS} FROM pgswitchyard.shared WHERE kind = $1 AND tenant = $2 AND key = $3`,
      name,
    );
    return row === undefined ? null : sharedRow(row);
  }

  /** The store's identity and its last change are known: reads what is new. @returns when it has been handed over */
  async catchUp(storeId: string, seq: number, connection: StoreConnection): Promise<void> {
    // a store that was restored from a backup counts as another one
    if (storeId !== this.#storeId || (seq < this.#seq && (await this.#isOlder(connection)))) {
      if (this.#storeId !== '') this.#reset();
      this.#storeId = storeId;
    } else if (seq <= this.#seq) return;
    await this.read(connection);
  }

  /**
   * Reads everything again if rows have vanished, or have other numbers: the store may have been emptied, or restored from a
   * backup and changed since then.
   */
  async verify(connection: StoreConnection): Promise<void> {
    for (let tries = 0; tries < SHARED.verifyTries; tries++) {
      const [row = {}] = await connection.query(SUMS);
      if (integerOf(row, 'last', 0, Number.MAX_SAFE_INTEGER) <= this.#seq) {
        let sum = 0n;
        for (const { seq } of this.#rows.values()) sum += BigInt(seq);
        if (row['rows'] === String(this.#rows.size) && row['sum'] === String(sum)) return;
        this.#reset();
      }
      await this.read(connection);
    }
  }

  #reset(): void {
    for (const { follower } of this.#followers) follower.reset();
    this.#rows.clear();
    this.#bytes = 0;
    this.#seq = 0;
  }

  /** Whether the store has less than what is known. What it said a moment ago may be outdated by a read that has been quicker. */
  async #isOlder(connection: StoreConnection): Promise<boolean> {
    const known = this.#seq;
    const { seq } = await readNews(connection);
    return seq < known;
  }

  /** Reads what is newer than what is known, and hands it over. @throws StoreAway and pg's errors */
  async read(connection: StoreConnection): Promise<void> {
    this.#isStale = true;
    this.#reading ??= this.#readAll(connection).finally(() => {
      this.#reading = null;
    });
    await this.#reading;
  }

  async #readAll(connection: StoreConnection): Promise<void> {
    while (this.#isStale) {
      this.#isStale = false;
      let rows: readonly Row[];
      do {
        rows = await connection.query(NEWER, [this.#seq, SHARED.page]);
        for (const row of rows) this.#take(row);
      } while (rows.length === SHARED.page);
      for (const { follower } of this.#followers) follower.caughtUp();
    }
  }

  /** A user who can write to the store can't fill the memory of the proxies. */
  #hasRoomFor(row: Row): boolean {
    const place = JSON.stringify([row['kind'], row['tenant'], row['key']]);
    const size = Buffer.byteLength(row['body'] ?? '') + place.length;
    const others = this.#bytes - (this.#rows.get(place)?.bytes ?? 0);
    const hasRoom = others + size <= SHARED.totalBytes;
    const bytes = hasRoom ? size : 0;
    this.#rows.set(place, { seq: this.#seq, bytes });
    this.#bytes = others + bytes;
    return hasRoom;
  }

  #take(row: Row): void {
    // a damaged number would make the same rows be read again and again
    this.#seq = Math.max(integerOf(row, 'seq', 1, Number.MAX_SAFE_INTEGER), this.#seq + 1);
    if (!this.#hasRoomFor(row))
      return this.#options.refused.refuse('a value', `all of them have more than ${SHARED.totalBytes} bytes`);
    try {
      const value = sharedRow(row);
      for (const { kinds, follower } of this.#followers) if (kinds.has(value.kind)) follower.changed(value);
    } catch (error) {
      const { kind = '', tenant = '' } = row;
      this.#options.refused.refuse(`${kind} of tenant "${tenant}"`, (error as Error).message);
    }
  }
}

/** @throws DamagedRow */
function sharedRow(row: Row): SharedRow {
  const body = jsonOf(row, 'body', SHARED.bodyBytes);
  if (body !== null && !isRecord(body)) throw new DamagedRow('its body is not as it should be');
  return {
    kind: textOf(row, 'kind', SHARED.kindBytes),
    tenant: textOf(row, 'tenant', SHARED.tenantBytes),
    key: textOf(row, 'key', SHARED.keyBytes),
    seq: integerOf(row, 'seq', 1, Number.MAX_SAFE_INTEGER),
    body,
    proxy: textOf(row, 'proxy', SHARED.userBytes),
    user: textOf(row, 'username', SHARED.userBytes),
    changedAtMs: numberOf(row, 'changed_at_ms', 0),
  };
}

/** A user's name as the table takes it. */
function cut(user: string): string {
  return Buffer.from(user)
    .subarray(0, SHARED.userBytes)
    .toString()
    .replaceAll('\uFFFD', '')
    .replaceAll('\0', '');
}
