/** PostgreSQL's MD5 authentication (protocol-flow.html, AuthenticationMD5Password). */
import { hash } from 'node:crypto';

/** The stored form of a password: `md5` and the MD5 of password and user name. */
export function md5Secret(password: string | Buffer, user: string): string {
  return `md5${hash('md5', Buffer.concat([Buffer.from(password as string), Buffer.from(user)]), 'hex')}`;
}

/** A client's answer to a salt, computed from the stored form. */
export function md5Response(secret: string, salt: Buffer): string {
  return `md5${hash('md5', Buffer.concat([Buffer.from(secret.slice(3), 'latin1'), salt]), 'hex')}`;
}
