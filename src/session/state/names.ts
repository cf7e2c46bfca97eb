/** Names that more than one part of a session compares with. */

/** The database that is not one: the console. */
export const ADMIN_DATABASE = 'pgbouncer';
/** Stands for the protocol and the cipher of a connection until they are agreed on. */
export const HANDSHAKE = 'handshake';
