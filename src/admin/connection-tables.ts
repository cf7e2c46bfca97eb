/** SHOW CLIENTS, SERVERS, SOCKETS and ACTIVE_SOCKETS: a row for each connection. */
import type { ClientSnapshot, ConnectionSnapshot, ServerSnapshot } from '../telemetry/snapshots/sessions.ts';
import type { Observe } from './observe.ts';
import { table, type Column } from './table.ts';
import { clockTime, microsecondsOf, secondsOf } from './units.ts';

/** SHOW CLIENTS and SERVERS name a connection's phase; SHOW SOCKETS has the words of pgbouncer's own states. */
function connectionColumns<Row extends ConnectionSnapshot>(state: (row: Row) => string): Column<Row>[] {
  return [
    { name: 'type', type: 'text', of: (row) => (row.kind === 'client' ? 'C' : 'S') },
    { name: 'user', type: 'text', of: (row) => row.user },
    { name: 'database', type: 'text', of: (row) => row.database },
    { name: 'replication', type: 'text', of: (row) => row.replication },
    { name: 'state', type: 'text', of: state },
    { name: 'addr', type: 'text', of: (row) => row.address },
    { name: 'port', type: 'int4', of: (row) => row.port },
    { name: 'local_addr', type: 'text', of: (row) => row.localAddress },
    { name: 'local_port', type: 'int4', of: (row) => row.localPort },
    { name: 'connect_time', type: 'text', of: (row) => clockTime(row.connectedAtMs) },
    { name: 'request_time', type: 'text', of: (row) => clockTime(row.requestedAtMs) },
    { name: 'wait', type: 'int4', of: (row) => secondsOf(row.waitedMs) },
    { name: 'wait_us', type: 'int4', of: (row) => microsecondsOf(row.waitedMs) },
    { name: 'close_needed', type: 'int4', of: (row) => row.isClosing },
    { name: 'ptr', type: 'text', of: (row) => pointer(row.id) },
    { name: 'link', type: 'text', of: (row) => (row.linkedId === null ? '' : pointer(row.linkedId)) },
    { name: 'remote_pid', type: 'int4', of: (row) => row.processId },
    { name: 'tls', type: 'text', of: (row) => row.tls },
    { name: 'application_name', type: 'text', of: (row) => row.applicationName },
    { name: 'prepared_statements', type: 'int4', of: (row) => row.preparedStatements },
    { name: 'id', type: 'int4', of: (row) => row.id },
  ];
}

/** pgbouncer's positions in its buffers, as far as there are counterparts here. */
const BUFFER_COLUMNS: readonly Column<ConnectionSnapshot>[] = [
  { name: 'recv_pos', type: 'int4', of: () => 0 },
  { name: 'pkt_pos', type: 'int4', of: () => 0 },
  { name: 'pkt_remain', type: 'int4', of: (row) => row.bodyLeftBytes },
  { name: 'send_pos', type: 'int4', of: () => 0 },
  { name: 'send_remain', type: 'int4', of: () => 0 },
  { name: 'pkt_avail', type: 'int4', of: (row) => row.receivedBytes },
  { name: 'send_avail', type: 'int4', of: (row) => row.unsentBytes },
];

const PHASE_COLUMNS = connectionColumns((row) => row.phase);
const SOCKET_COLUMNS = [...connectionColumns(socketState), ...BUFFER_COLUMNS];

export const CLIENTS = table(PHASE_COLUMNS, ({ sessions }) => loggedIn(sessions.clients()));
export const SERVERS = table(PHASE_COLUMNS, ({ pools }) => pools.servers());
export const SOCKETS = table(SOCKET_COLUMNS, socketRows);
export const ACTIVE_SOCKETS = table(SOCKET_COLUMNS, busySocketRows);

/** The word in the log's `C-0x…` and `S-0x…`. */
function pointer(id: number): string {
  return `0x${id.toString(16)}`;
}

function socketState(row: ClientSnapshot | ServerSnapshot): string {
  if (row.kind === 'client') return row.phase === 'idle' ? 'cl_active' : `cl_${row.phase}`;
  return row.phase === 'new' ? 'sv_login' : `sv_${row.phase}`;
}

function* loggedIn(clients: Iterable<ClientSnapshot>): Generator<ClientSnapshot> {
  for (const client of clients) if (client.phase !== 'login') yield client;
}

/** All connections but those of cancel requests. */
function* socketRows({ sessions, pools }: Observe): Generator<ClientSnapshot | ServerSnapshot> {
  for (const client of sessions.clients()) if (!isCancel(client)) yield client;
  for (const server of pools.servers()) if (server.kind === 'server') yield server;
}

/** Those with bytes that have not been dealt with. */
function* busySocketRows({ sessions, pools }: Observe): Generator<ClientSnapshot | ServerSnapshot> {
  for (const client of sessions.busyClients()) if (!isCancel(client)) yield client;
  yield* pools.busyServers();
}

function isCancel({ phase }: ClientSnapshot): boolean {
  return phase === 'active_cancel_req' || phase === 'waiting_cancel_req';
}
