/** The form in which log lines name a server, as in pgbouncer. */
import { unixPath, type Target } from './socket.ts';

/** Start of a log line about a connection to a server, whether or not it was ever established. */
export function serverLabel(id: number, database: string, user: string, { host, port }: Target): string {
  const address = unixPath({ host, port }) === null ? bracket(host) : 'unix';
  return `S-0x${id.toString(16)}: ${database}/${user}@${address}:${port}`;
}

/** `address:port`, with an IPv6 address in brackets. */
export function endLabel(address: string, port: number): string {
  return `${bracket(address)}:${port}`;
}

function bracket(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
