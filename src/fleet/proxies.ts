/** The table of the fleet's proxies: the own row with its heartbeats, and the rows of the others. */
import { programVersion } from '../platform/program-version.ts';
import type { LoadSnapshot } from '../telemetry/snapshots/fleet.ts';
import type { Query, Row, StoreConnection } from './connection.ts';
import { HEARTBEAT, PROXIES } from './limits.ts';
import { loadFrom } from './load.ts';
import type { RefusedRows } from './refused-rows.ts';
import { DamagedRow, integerOf, jsonOf, numberOf, textOf } from './untrusted.ts';

/** This process, in its fleet. */
export interface OwnIdentity {
  readonly name: string;
  /** UUID of the process */
  readonly instance: string;
  /** ms since 1970 */
  readonly startedAtMs: number;
}

/** What this proxy says about itself. */
export interface OwnReport {
  /** null: the address from which it reaches the store */
  readonly address: string | null;
  readonly port: number;
  readonly state: string;
  readonly heartbeatMs: number;
  readonly load: LoadSnapshot;
}

/** Another proxy, as its row says. */
export interface OtherProxy {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly peerId: number | null;
  readonly version: string;
  readonly state: string;
  readonly startedAtMs: number;
  readonly heartbeatMs: number;
  /** when it was read: ms since its last heartbeat, by the store's clock */
  readonly ageMs: number;
  readonly load: LoadSnapshot;
}

/** The wishes for the own peer id. */
export interface PeerIdWish {
  /** peer_id of the configuration; 0: any */
  readonly configured: number;
  /** the id that cancel keys carry already; 0: none */
  readonly present: number;
  /** ids that [peers] lists: they are others' */
  readonly taken: readonly number[];
}

export type Registration =
  | { readonly kind: 'registered'; readonly peerId: number; readonly address: string }
  /** peer_id of the configuration is another proxy's as well */
  | { readonly kind: 'peer id taken'; readonly by: string; readonly address: string }
  /** another process that is alive has the same name */
  | { readonly kind: 'name taken' };

/** What the store says at a heartbeat. */
export interface Beat {
  /** false: the row is another process's, or has been removed */
  readonly isRegistered: boolean;
  readonly storeId: string;
  /** the last change of what is shared */
  readonly seq: number;
}

/** The state of a proxy that has told the store that it ends. */
export const ENDED = 'ended';

const AGE_MS = 'extract(epoch from now() - heartbeat_at) * 1000';
/** Lets the other proxies read this table again. */
export const NOTIFY = `SELECT pg_notify('pgswitchyard', 'proxies')`;

/**
 * Enters this process into the table.
 * @param isSuccessor it has not been in the table before: it replaces an older process of its name, which may still be ending
 */
export async function register(
  connection: StoreConnection,
  { name, instance, startedAtMs }: OwnIdentity,
  report: OwnReport,
  { wish, isSuccessor }: { readonly wish: PeerIdWish; readonly isSuccessor: boolean },
): Promise<Registration> {
  return await connection.transaction(async (query) => {
    // all that register at the same time see each other's ids
    await query('SELECT 1 AS one FROM pgswitchyard.store FOR UPDATE');
    const [old] = await query(
      `SELECT instance::text, peer_id, state = $2 OR ${AGE_MS} > heartbeat_ms::bigint * $3 AS is_gone
       FROM pgswitchyard.proxies WHERE name = $1`,
      [name, ENDED, HEARTBEAT.missed],
    );
    const isOthers = old !== undefined && old['instance'] !== instance && old['is_gone'] === 'f';
    if (isOthers && !isSuccessor) return { kind: 'name taken' };
    const oldId = old?.['peer_id'] == null ? 0 : integerOf(old, 'peer_id', 1, PROXIES.lastPeerId);
    const peerId = await choosePeerId(query, name, wish, oldId);
    const [row] = await query(
      `INSERT INTO pgswitchyard.proxies AS p
         (name, instance, peer_id, address, port, version, state, started_at, heartbeat_ms, snapshot)
       VALUES ($1, $2::uuid, $3, coalesce($4, host(inet_client_addr()), $5), $6, $7, $8,
         now() - make_interval(secs => $9), $10, $11::jsonb)
       ON CONFLICT (name) DO UPDATE SET instance = excluded.instance, peer_id = excluded.peer_id,
         address = excluded.address, port = excluded.port, version = excluded.version, state = excluded.state,
         started_at = excluded.started_at, heartbeat_at = now(), heartbeat_ms = excluded.heartbeat_ms,
         snapshot = excluded.snapshot
       RETURNING p.address`,
      [
        name,
        instance,
        typeof peerId === 'number' ? peerId : null,
        report.address,
        'localhost',
        report.port,
        programVersion(),
        report.state,
        // this proxy's clock may differ from the store's
        Math.max(0, Date.now() - startedAtMs) / 1000,
        report.heartbeatMs,
        JSON.stringify(report.load),
      ],
    );
    await query(NOTIFY);
    const address = textOf(row ?? {}, 'address', PROXIES.addressBytes);
    return typeof peerId === 'number'
      ? { kind: 'registered', peerId, address }
      : { kind: 'peer id taken', by: peerId.takenBy, address };
  });
}

/** The configured id, the present one, that of the predecessor, or the first free one. */
async function choosePeerId(
  query: Query,
  name: string,
  { configured, present, taken }: PeerIdWish,
  oldId: number,
): Promise<number | { readonly takenBy: string }> {
  // an id is kept for the successor of a proxy that has ended, unless the configuration gives it to another one
  if (configured !== 0)
    await query(
      'UPDATE pgswitchyard.proxies SET peer_id = NULL WHERE peer_id = $1 AND name <> $2 AND state = $3',
      [configured, name, ENDED],
    );
  for (const id of configured !== 0 ? [configured] : [present, oldId]) {
    if (id === 0 || (configured === 0 && taken.includes(id))) continue;
    const [other] = await query('SELECT name FROM pgswitchyard.proxies WHERE peer_id = $1 AND name <> $2', [
      id,
      name,
    ]);
    if (other === undefined) return id;
    if (configured !== 0) return { takenBy: other['name'] ?? '' };
  }
  const [free] = await query(
    `SELECT id FROM generate_series(1, ${PROXIES.lastPeerId}) AS id
     WHERE id <> ALL ($1::int[]) AND NOT EXISTS (SELECT FROM pgswitchyard.proxies WHERE peer_id = id) LIMIT 1`,
    [taken],
  );
  return integerOf(free ?? {}, 'id', 1, PROXIES.lastPeerId);
}

/** Reports that this process lives, and asks for the news. */
export async function beat(
  connection: StoreConnection,
  { name, instance }: OwnIdentity,
  { state, heartbeatMs, load }: OwnReport,
): Promise<Beat> {
  const [row] = await connection.query(
    `WITH own AS (
       UPDATE pgswitchyard.proxies SET heartbeat_at = now(), state = $3, heartbeat_ms = $4, snapshot = $5::jsonb
       WHERE name = $1 AND instance = $2::uuid RETURNING 1)
     SELECT (SELECT count(*) FROM own) AS own, id::text AS id, seq FROM pgswitchyard.store`,
    [name, instance, state, heartbeatMs, JSON.stringify(load)],
  );
  return { isRegistered: row?.['own'] === '1', ...newsFrom(row ?? {}) };
}

/** The identity of the store, and the number of its last change. */
export async function readNews(connection: StoreConnection): Promise<Omit<Beat, 'isRegistered'>> {
  const [row] = await connection.query('SELECT id::text AS id, seq FROM pgswitchyard.store');
  return newsFrom(row ?? {});
}

function newsFrom(row: Row): Omit<Beat, 'isRegistered'> {
  return { storeId: textOf(row, 'id', 36), seq: integerOf(row, 'seq', 0, Number.MAX_SAFE_INTEGER) };
}

/** This process ends: its row says so for a while, unless a successor has it. */
export async function deregister(
  connection: StoreConnection,
  { name, instance }: OwnIdentity,
): Promise<void> {
  await connection.query(
    `WITH own AS (UPDATE pgswitchyard.proxies SET state = $3, heartbeat_at = now(), snapshot = '{}'
       WHERE name = $1 AND instance = $2::uuid RETURNING 1)
     SELECT pg_notify('pgswitchyard', 'proxies') FROM own`,
    [name, instance, ENDED],
  );
}

/** The other proxies, by name. Damaged rows are left out. */
export async function readOthers(
  connection: StoreConnection,
  ownName: string,
  refused: RefusedRows,
): Promise<readonly OtherProxy[]> {
  const rows = await connection.query(
    `SELECT left(name, 300) AS name, left(address, 300) AS address, port, peer_id, left(version, 100) AS version,
       left(state, 100) AS state, extract(epoch from now() - started_at) * 1000 AS uptime_ms, heartbeat_ms,
       ${AGE_MS} AS age_ms,
       CASE WHEN octet_length(snapshot::text) > ${PROXIES.snapshotBytes} THEN '' ELSE snapshot::text END AS snapshot
     FROM pgswitchyard.proxies WHERE name <> $1 ORDER BY name LIMIT $2`,
    [ownName, PROXIES.most],
  );
  return rows.flatMap((row) => {
    try {
      return [otherFrom(row)];
    } catch (error) {
      if (!(error instanceof DamagedRow)) throw error;
      refused.refuse(`proxy "${row['name'] ?? ''}"`, error.message);
      return [];
    }
  });
}

/** @throws DamagedRow */
function otherFrom(row: Row): OtherProxy {
  return {
    name: textOf(row, 'name', PROXIES.nameBytes),
    address: textOf(row, 'address', PROXIES.addressBytes),
    port: integerOf(row, 'port', 0, 65535),
    peerId: row['peer_id'] === null ? null : integerOf(row, 'peer_id', 1, PROXIES.lastPeerId),
    version: textOf(row, 'version', PROXIES.versionBytes),
    state: textOf(row, 'state', 32),
    // no other clock matters: all times in the row are the store's
    startedAtMs: Date.now() - Math.max(0, numberOf(row, 'uptime_ms', -Number.MAX_SAFE_INTEGER)),
    heartbeatMs: integerOf(row, 'heartbeat_ms', 1, HEARTBEAT.longestMs),
    ageMs: Math.max(0, numberOf(row, 'age_ms', -HEARTBEAT.longestMs)),
    load: loadFrom(jsonOf(row, 'snapshot', PROXIES.snapshotBytes)),
  };
}

/** Removes the rows of proxies that ended, or have been away for long, and old audit lines. @param auditDays 0: none */
export async function tidy(connection: StoreConnection, auditDays: number): Promise<void> {
  await connection.query(
    `DELETE FROM pgswitchyard.proxies WHERE ${AGE_MS} > $2 + heartbeat_ms OR (state = $1 AND ${AGE_MS} > $3)`,
    [ENDED, HEARTBEAT.awayShownMs, HEARTBEAT.endedShownMs],
  );
  if (auditDays > 0)
    await connection.query(`DELETE FROM pgswitchyard.audit WHERE at < now() - make_interval(days => $1)`, [
      auditDays,
    ]);
}
