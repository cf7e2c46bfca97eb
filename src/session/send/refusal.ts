/** Messages that no client may send: an error, then the end of the connection. */
import { clientErrors } from '../../wire/errors.ts';
import type { LoggedInClient } from '../client.ts';

/** @param reason for the log and, as a protocol violation, for the client */
export function refuse(client: LoggedInClient, reason: string): void {
  client.close(reason, clientErrors.protocolViolation(reason));
}

/** The protocol has no message of this type. */
export function refuseType(client: LoggedInClient, type: number): void {
  client.context.log.error(
    { client: client.id },
    `${client.label} unknown pkt from client: ${type}/0x${type.toString(16)}`,
  );
  refuse(client, 'unknown pkt');
}

/** A message about a prepared statement or portal whose name is not terminated. */
export function nameWithoutEnd(client: LoggedInClient, type: number): void {
  client.context.log.error(
    { client: client.id },
    `${client.label} failed to parse prepared statement packet type '${String.fromCharCode(type)}'`,
  );
  refuse(client, 'failed to parse packet');
}
