/** Artifacts in the store: files by the hash of their contents, which the reader checks. */
import type { StoreConnection } from './connection.ts';
import { SHARED } from './limits.ts';

export class Artifacts {
  readonly #connection: () => StoreConnection;

  /** @param connection throws StoreAway */
  constructor(connection: () => StoreConnection) {
    this.#connection = connection;
  }

  /** Stores an artifact, unless there is one of this hash. @throws StoreAway, or Error if it is too large */
  async put(hash: string, bytes: Buffer): Promise<void> {
    if (bytes.length > SHARED.artifactBytes)
      throw new Error(`an artifact has more than ${SHARED.artifactBytes} bytes`);
    await this.#connection().query(
      'INSERT INTO pgswitchyard.artifacts (hash, body) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING',
      [hash, bytes],
    );
  }

  /** Whether there is an artifact of this hash. @throws StoreAway */
  async has(hash: string): Promise<boolean> {
    const rows = await this.#connection().query(
      'SELECT 1 AS one FROM pgswitchyard.artifacts WHERE hash = $1',
      [hash],
    );
    return rows.length > 0;
  }

  /** @returns null: there is none, or it is too large. The contents may be anything. @throws StoreAway */
  async get(hash: string): Promise<Buffer | null> {
    const [row] = await this.#connection().query(
      `SELECT encode(body, 'base64') AS body FROM pgswitchyard.artifacts WHERE hash = $1 AND octet_length(body) <= $2`,
      [hash, SHARED.artifactBytes],
    );
    const body = row?.['body'] ?? null;
    return body === null ? null : Buffer.from(body, 'base64');
  }

  /** Removes an artifact that no version needs any more. @throws StoreAway */
  async delete(hash: string): Promise<void> {
    await this.#connection().query('DELETE FROM pgswitchyard.artifacts WHERE hash = $1', [hash]);
  }
}
