/** The output of --version. */
import { readFileSync } from 'node:fs';
import { SHOWN_VERSION } from '../admin/version.ts';

/** The first line is pgbouncer's, because tools look at it. */
export function versionLines(): string[] {
  return [
    SHOWN_VERSION,
    `pgswitchyard ${packageVersion()}`,
    `libevent ${process.versions.uv} (libuv)`,
    `adns: libuv ${process.versions.uv}`,
    `tls: OpenSSL ${process.versions.openssl}`,
    `node ${process.versions.node}`,
  ];
}

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
