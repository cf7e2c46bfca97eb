/** The audit log of the fleet: lines wait in memory until the store takes them, and are written exactly once. */
import { randomUUID } from 'node:crypto';
import type { StoreConnection } from './connection.ts';
import { AUDIT, PROXIES, SHARED } from './limits.ts';
import type { RefusedRows } from './refused-rows.ts';
import { numberOf, textOf } from './untrusted.ts';

/** What somebody did to a proxy. */
export interface AuditLine {
  readonly user: string;
  /** the way that the command came, as `console` or `web console from 10.0.0.1` */
  readonly source: string;
  /** the tenant that it is about; null: none */
  readonly tenant: string | null;
  readonly action: string;
}

export interface AuditRow extends AuditLine {
  /** by the proxy's clock, in ms since 1970 */
  readonly atMs: number;
  readonly proxy: string;
}

interface Waiting extends AuditLine {
  /** a line whose writing was not confirmed is written again, and then ignored by the store */
  readonly id: string;
  readonly atMs: number;
}

/** SQLSTATEs of classes 22 and 23: a value that the table, or the encoding of the database, has no place for. */
const UNSTORABLE = /^2[23]/;

export interface AuditOptions {
  readonly proxy: string;
  /** @throws StoreAway */
  readonly connection: () => StoreConnection;
  readonly refused: RefusedRows;
  readonly log: { warn(fields: object, message: string): void };
}

export class AuditLog {
  readonly #options: AuditOptions;
  #waiting: Waiting[] = [];
  #lost = 0;
  #writing: Promise<void> | null = null;

  constructor(options: AuditOptions) {
    this.#options = options;
  }

  /** Lines that the store does not have yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Lines that were dropped because too many waited. */
  get lost(): number {
    return this.#lost;
  }

  /** Takes a line; `flush` writes it. */
  add({ user, source, tenant, action }: AuditLine): void {
    this.#waiting.push({
      id: randomUUID(),
      atMs: Date.now(),
      user: cut(user, AUDIT.userBytes),
      source: cut(source, AUDIT.userBytes),
      tenant: tenant === null ? null : cut(tenant, SHARED.tenantBytes),
      action: cut(action, AUDIT.textLength),
    });
    if (this.#waiting.length <= AUDIT.queue) return;
    this.#waiting.shift();
    if (this.#lost++ > 0) return;
    this.#options.log.warn(
      { event: 'fleet_audit_lost' },
      'fleet: too many audit lines wait for the store: the oldest ones are only in the logs of the proxies',
    );
  }

  /** Writes the waiting lines. @returns when all are written. @throws StoreAway and pg's errors; then they wait */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      this.#writing ??= this.#write().finally(() => {
        this.#writing = null;
      });
      await this.#writing;
    }
  }

  async #write(): Promise<void> {
    const lines = this.#waiting.slice(0, AUDIT.batch);
    try {
      await this.#insert(lines);
    } catch (error) {
      if (!UNSTORABLE.test((error as { readonly code?: string }).code ?? '')) throw error;
      await this.#insertEach(lines);
    }
    const written = new Set<Waiting>(lines);
    this.#waiting = this.#waiting.filter((line) => !written.has(line));
  }

  /** The store does not take one of the lines: the others must not wait for ever. */
  async #insertEach(lines: readonly Waiting[]): Promise<void> {
    for (const line of lines) {
      try {
        await this.#insert([line]);
      } catch (error) {
        if (!UNSTORABLE.test((error as { readonly code?: string }).code ?? '')) throw error;
        this.#lost++;
        this.#options.log.warn(
          { event: 'fleet_audit_lost' },
          `fleet: the store does not take an audit line: ${(error as Error).message}`,
        );
      }
    }
  }

  async #insert(lines: readonly Waiting[]): Promise<void> {
    const { connection, proxy } = this.#options;
    await connection().query(
      `INSERT INTO pgswitchyard.audit (id, at, proxy, username, source, tenant, action)
       SELECT id, to_timestamp(at_ms / 1000), $2, username, source, tenant, action
       FROM jsonb_to_recordset($1::jsonb)
         AS line (id uuid, at_ms double precision, username text, source text, tenant text, action text)
       ON CONFLICT (id) DO NOTHING`,
      [
        JSON.stringify(lines.map(({ atMs, user, ...line }) => ({ ...line, at_ms: atMs, username: user }))),
        proxy,
      ],
    );
  }

  /** The last lines of all proxies, oldest first. @throws StoreAway and pg's errors */
  async read(): Promise<AuditRow[]> {
    const { connection, refused } = this.#options;
    const rows = await connection().query(
      `SELECT id::text AS id, extract(epoch from at) * 1000 AS at_ms, left(proxy, 300) AS proxy,
         left(username, 300) AS username, left(source, 300) AS source, left(tenant, 300) AS tenant,
         left(action, $2) AS action
       FROM pgswitchyard.audit ORDER BY at DESC LIMIT $1`,
      [AUDIT.shown, AUDIT.textLength],
    );
    return rows
      .flatMap((row) => {
        try {
          return [
            {
              atMs: numberOf(row, 'at_ms', -Number.MAX_SAFE_INTEGER),
              proxy: textOf(row, 'proxy', PROXIES.nameBytes),
              user: textOf(row, 'username', AUDIT.userBytes),
              source: textOf(row, 'source', AUDIT.userBytes),
              tenant: row['tenant'] === null ? null : textOf(row, 'tenant', SHARED.tenantBytes),
              action: textOf(row, 'action', 4 * AUDIT.textLength),
            },
          ];
        } catch (error) {
          refused.refuse(`audit line ${row['id'] ?? ''}`, (error as Error).message);
          return [];
        }
      })
      .toReversed();
  }
}

/** A text that the table takes: PostgreSQL has no NUL, and a cut may not leave a part of a character. */
function cut(text: string, most: number): string {
  const bytes = Buffer.from(text.replaceAll('\0', ' '));
  if (bytes.length <= most) return bytes.toString();
  // a stream leaves out a character whose end has not come
  const whole = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes.subarray(0, most - 3), {
    stream: true,
  });
  return `${whole}…`;
}
