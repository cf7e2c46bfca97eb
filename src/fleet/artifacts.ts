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
    const { artifactBytes, pieceBytes } = SHARED;
    const pieces: Buffer[] = [];
    for (let at = 1; at <= artifactBytes; at += pieceBytes) {
      const [row] = await this.#connection().query(
        `SELECT encode(substring(body FROM $2 FOR $3), 'base64') AS piece
         FROM pgswitchyard.artifacts WHERE hash = $1 AND octet_length(body) <= $4`,
        [hash, at, pieceBytes, artifactBytes],
      );
      if (row === undefined) return null;
      const piece = Buffer.from(row['piece'] ?? '', 'base64');
      pieces.push(piece);
      if (piece.length < pieceBytes) break;
    }
    return Buffer.concat(pieces);
  }

  /** Removes an artifact that no version needs any more. @throws StoreAway */
  async delete(hash: string): Promise<void> {
    await this.#connection().query('DELETE FROM pgswitchyard.artifacts WHERE hash = $1', [hash]);
  }
}
