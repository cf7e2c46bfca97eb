import { readFileSync } from 'node:fs';
import { SHOWN_VERSION } from '../admin/version.ts';

/** The output of --version. Tools look at the first line, which is pgbouncer's. */
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
