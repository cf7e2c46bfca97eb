/** The pgbouncer version whose console and options are provided; tools compare it. */
export const PGBOUNCER_VERSION = '1.25.2';

/** SHOW VERSION's answer, and the first line of --version. */
export const SHOWN_VERSION = `PgBouncer ${PGBOUNCER_VERSION}`;
