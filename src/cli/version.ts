/** The output of --version. */
import { SHOWN_VERSION } from '../admin/version.ts';
import { programVersion } from '../platform/program-version.ts';

/** The first line is pgbouncer's, because tools look at it. */
export function versionLines(): string[] {
  return [
    SHOWN_VERSION,
    `pgswitchyard ${programVersion()}`,
    `libevent ${process.versions.uv} (libuv)`,
    `adns: libuv ${process.versions.uv}`,
    `tls: OpenSSL ${process.versions.openssl}`,
    `node ${process.versions.node}`,
  ];
}
