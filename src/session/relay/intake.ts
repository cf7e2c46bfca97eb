/** What a client has sent and the proxy has not dealt with yet. */

/** Bytes that a client may send ahead, while its messages are not looked at, before it is no longer read. */
export const HELD_BYTES = 64 * 1024;
