/** SHOW FDS: listening sockets, clients and servers by their descriptors. */
import type { DescriptorSnapshot } from '../telemetry/snapshots/sessions.ts';
import type { Observe } from './observe.ts';
import { table } from './table.ts';

export const DESCRIPTORS = table<DescriptorSnapshot>(
  [
    { name: 'fd', type: 'int4', of: (row) => row.fd },
    { name: 'task', type: 'text', of: (row) => row.task },
    { name: 'user', type: 'text', of: (row) => row.user },
    { name: 'database', type: 'text', of: (row) => row.database },
    { name: 'addr', type: 'text', of: (row) => row.address },
    { name: 'port', type: 'int4', of: (row) => row.port },
    { name: 'cancel', type: 'int8', of: (row) => row.cancelKey },
    { name: 'link', type: 'int4', of: (row) => row.linkedFd },
    { name: 'client_encoding', type: 'text', of: (row) => row.clientEncoding },
    { name: 'std_strings', type: 'text', of: (row) => row.standardStrings },
    { name: 'datestyle', type: 'text', of: (row) => row.dateStyle },
    { name: 'timezone', type: 'text', of: (row) => row.timeZone },
    // pgbouncer hands connections over with their secrets; here no connection is handed over
    { name: 'password', type: 'text', of: () => null },
    { name: 'scram_client_key', type: 'bytea', of: () => null },
    { name: 'scram_server_key', type: 'bytea', of: () => null },
  ],
  descriptorRows,
  { isForAdmins: true },
);

function* descriptorRows({ listeners, sessions }: Observe): Generator<DescriptorSnapshot> {
  yield* listeners();
  yield* sessions.descriptors();
}
