/** Names that more than one part of a session compares with. */

/** The name of the admin console's database, which has no servers. */
export const ADMIN_DATABASE = 'pgbouncer';
/** Stands for a connection's protocol and cipher until they are agreed on. */
export const HANDSHAKE = 'handshake';
