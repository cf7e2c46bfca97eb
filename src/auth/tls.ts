/** TLS toward clients and toward servers, from the options client_tls_* and server_tls_*. */
import { constants, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import {
  checkServerIdentity,
  createSecureContext,
  DEFAULT_CIPHERS,
  getCACertificates,
  getCiphers,
  type ConnectionOptions,
  type PeerCertificate,
  type SecureContext,
  type SecureContextOptions,
  type SecureVersion,
  type TLSSocket,
  type TLSSocketOptions,
} from 'node:tls';
import { endPointHash } from './end-point-hash.ts';

export { endPointHash };

export type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';

/** Text options that are not set are empty or null. */
type Text = string | null;

export interface ClientTlsSettings {
  readonly client_tls_sslmode: SslMode;
  readonly client_tls_key_file: Text;
  readonly client_tls_cert_file: Text;
  readonly client_tls_ca_file: Text;
  readonly client_tls_protocols: Text;
  readonly client_tls_ciphers: Text;
  readonly client_tls13_ciphers: Text;
  readonly client_tls_ecdhcurve: Text;
  readonly client_tls_dheparams: Text;
}

export interface ServerTlsSettings {
  readonly server_tls_sslmode: SslMode;
  readonly server_tls_key_file: Text;
  readonly server_tls_cert_file: Text;
  readonly server_tls_ca_file: Text;
  readonly server_tls_protocols: Text;
  readonly server_tls_ciphers: Text;
  readonly server_tls13_ciphers: Text;
}

/** The options of one side, without their prefix. */
interface Side {
  readonly keyFile: Text;
  readonly certFile: Text;
  readonly caFile: Text;
  readonly protocols: Text;
  readonly ciphers: Text;
  readonly tls13Ciphers: Text;
  readonly ecdhCurve: Text;
  readonly dheParams: Text;
}

/** TLS can't be set up with these options. The message names the file or the option. */
export class TlsSetupError extends Error {
  constructor(problem: string) {
    super(`TLS setup failed: ${problem}`);
  }
}

/** The ALPN protocol of PostgreSQL; direct TLS needs it (protocol-flow.html, SSL Session Encryption). */
const ALPN = ['postgresql'];

/** The TLS context toward clients. */
export interface ClientTls {
  readonly mode: SslMode;
  /** Clients without TLS are refused. */
  readonly required: boolean;
  /** For `new TLSSocket(socket, options)`. */
  readonly options: TLSSocketOptions;
  /** tls-server-end-point of our certificate. */
  readonly endPointHash: Buffer | null;
  /** After the handshake: the error in the client's certificate; null: none. */
  verifyPeer(socket: TLSSocket): string | null;
  /** CN of the client's certificate; null: it has no verified one. */
  certificateCn(socket: TLSSocket): string | null;
}

/** The TLS context toward a server. */
export interface ServerTls {
  readonly mode: SslMode;
  /** For `tls.connect({...options, socket})`. */
  readonly options: ConnectionOptions;
}

/**
 * TLS toward clients; null: off. Each call reads the files again, and so takes over their changes.
 * @throws TlsSetupError
 */
export function clientTls(settings: ClientTlsSettings): ClientTls | null {
  const mode = settings.client_tls_sslmode;
  if (mode === 'disable') return null;
  const side: Side = {
    keyFile: settings.client_tls_key_file,
    certFile: settings.client_tls_cert_file,
    caFile: settings.client_tls_ca_file,
    protocols: settings.client_tls_protocols,
    ciphers: settings.client_tls_ciphers,
    tls13Ciphers: settings.client_tls13_ciphers,
    ecdhCurve: settings.client_tls_ecdhcurve,
    dheParams: settings.client_tls_dheparams,
  };
  if (!side.keyFile || !side.certFile) {
    throw new TlsSetupError(
      'to allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set',
    );
  }
  const verifies = mode === 'verify-ca' || mode === 'verify-full';
  const { context, certificate } = secureContext(side, verifies);
  return {
    mode,
    required: verifies || mode === 'require',
    options: {
      isServer: true,
      secureContext: context,
      // The other modes request a certificate too, for the HBA method `cert`. Without CAs none could be verified.
      requestCert: verifies || Boolean(side.caFile),
      rejectUnauthorized: verifies,
      ALPNProtocols: ALPN,
    },
    endPointHash: certificate === null ? null : endPointHash(certificate.raw),
    verifyPeer: (socket) => (verifies ? peerProblem(socket) : null),
    certificateCn: (socket) => (peerProblem(socket) === null ? commonName(socket) : null),
  };
}

/**
 * The error in the peer's certificate, by OpenSSL's verification. Node sets `authorized` only on the sockets of a tls.Server;
 * a socket made by hand has the result in its handle.
 */
function peerProblem(socket: TLSSocket): string | null {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return 'client certificate required';
  const handle = (socket as unknown as { _handle?: { verifyError?: () => Error | null } })._handle;
  if (typeof handle?.verifyError !== 'function') return verifyFailed('no result');
  const error = handle.verifyError();
  return error ? verifyFailed(tlsProblem(error)) : null;
}

function verifyFailed(why: string): string {
  return `certificate verify failed (${why})`;
}

/** Why a server's certificate was not accepted, after the socket's `error`; null: the handshake failed for another reason. */
export function certificateProblem(socket: TLSSocket, error: Error): string | null {
  return socket.authorizationError ? verifyFailed(tlsProblem(error)) : null;
}

/** OpenSSL's words, without the place in its source and without Node's advice on its own command line. */
export function tlsProblem(error: Error & { readonly reason?: string }): string {
  return error.reason ?? error.message.replace(/; if the root CA .*$/s, '');
}

function commonName(socket: TLSSocket): string | null {
  // Exactly one CN: with several it would be unclear which one the authority meant.
  const cn: unknown = socket.getPeerCertificate().subject?.CN;
  return typeof cn === 'string' && cn !== '' && !cn.includes('\0') ? cn : null;
}

/** The options that TLS for HTTP depends on. */
export interface HttpTlsSettings extends ClientTlsSettings {
  readonly http_tls_sslmode: 'disable' | 'require';
  readonly http_tls_key_file: Text;
  readonly http_tls_cert_file: Text;
}

/**
 * Key and certificate of the HTTP server, its own or those for clients; null: no TLS. Each call reads the files again.
 * @throws TlsSetupError
 */
export function httpTls(settings: HttpTlsSettings): SecureContextOptions | null {
  if (settings.http_tls_sslmode === 'disable') return null;
  const keyFile = settings.http_tls_key_file || settings.client_tls_key_file;
  const certFile = settings.http_tls_cert_file || settings.client_tls_cert_file;
  if (!keyFile || !certFile)
    throw new TlsSetupError('http_tls_sslmode = require needs http_tls_key_file and http_tls_cert_file');
  const key = readFile('key', keyFile);
  const cert = readFile('certificate', certFile);
  checkCertificate('certificate', certFile, cert);
  const options = { key, cert, minVersion: 'TLSv1.2' } as const;
  try {
    createSecureContext(options);
  } catch (error) {
    throw new TlsSetupError(contextProblem(error as Error, { keyFile, certFile }));
  }
  return options;
}

/** Contexts for connections to servers: one for each loaded configuration, since each connection needs one. */
const serverContexts = new WeakMap<ServerTlsSettings, SecureContext>();

/** Connections to servers continue with their present files and ciphers, whatever `next` names. */
export function keepServerTls(old: ServerTlsSettings, next: ServerTlsSettings): void {
  const context = serverContexts.get(old);
  if (context !== undefined) serverContexts.set(next, context);
}

/**
 * TLS toward a server. The files are read once for each settings object: a reload makes a new one (keepServerTls).
 * @param host the server's name or address
 * @throws TlsSetupError
 */
export function serverTls(settings: ServerTlsSettings, host: string): ServerTls {
  const mode = settings.server_tls_sslmode;
  if (mode === 'disable') return { mode, options: {} };
  const verifies = mode === 'verify-ca' || mode === 'verify-full';
  let context = serverContexts.get(settings);
  if (context === undefined) {
    const side: Side = {
      keyFile: settings.server_tls_key_file,
      certFile: settings.server_tls_cert_file,
      caFile: settings.server_tls_ca_file,
      protocols: settings.server_tls_protocols,
      ciphers: settings.server_tls_ciphers,
      tls13Ciphers: settings.server_tls13_ciphers,
      ecdhCurve: null,
      dheParams: null,
    };
    ({ context } = secureContext(side, verifies));
    serverContexts.set(settings, context);
  }
  const options: ConnectionOptions = {
    secureContext: context,
    rejectUnauthorized: verifies,
    // the name that is compared with the certificate's names
    host,
    ALPNProtocols: ALPN,
  };
  // SNI is for names only (RFC 6066, section 3).
  if (isIP(host) === 0) options.servername = host;
  options.checkServerIdentity = mode === 'verify-full' ? checkIdentity : () => undefined;
  return { mode, options };
}

/** Like Node's check, but a certificate without other names may have an address as its CN, as libtls and libpq accept it. */
function checkIdentity(host: string, certificate: PeerCertificate): Error | undefined {
  const { subject, subjectaltname: names } = certificate;
  if (isIP(host) !== 0 && !names && subject?.CN === host) return undefined;
  return checkServerIdentity(host, certificate);
}

function secureContext(
  side: Side,
  verifies: boolean,
): { context: SecureContext; certificate: X509Certificate | null } {
  if (Boolean(side.keyFile) !== Boolean(side.certFile)) {
    throw new TlsSetupError('key file and certificate file must be set together');
  }
  const options: SecureContextOptions = { ...protocolOptions(side.protocols), ...cipherOptions(side) };
  let certificate: X509Certificate | null = null;
  if (side.caFile) {
    options.ca = readFile('CA', side.caFile);
    checkCertificate('CA', side.caFile, options.ca);
  } else if (verifies) {
    options.ca = getCACertificates('system');
  }
  if (side.certFile) {
    options.cert = readFile('certificate', side.certFile);
    certificate = checkCertificate('certificate', side.certFile, options.cert);
  }
  if (side.keyFile) options.key = readFile('key', side.keyFile);
  // Node can't do "none": the curve is then chosen as with "auto".
  if (side.ecdhCurve && side.ecdhCurve !== 'none') options.ecdhCurve = side.ecdhCurve;
  if (side.dheParams && side.dheParams !== 'none') options.dhparam = 'auto';
  try {
    return { context: createSecureContext(options), certificate };
  } catch (error) {
    throw new TlsSetupError(contextProblem(error as Error, side));
  }
}

function contextProblem(error: Error, side: Pick<Side, 'keyFile' | 'certFile'> & Partial<Side>): string {
  const { message } = error;
  if (/key values mismatch|key type mismatch/i.test(message)) {
    return `key file "${side.keyFile}" does not belong to certificate file "${side.certFile}"`;
  }
  if (/PEM|DECODER|asn1|bad decrypt|interrupted/i.test(message)) {
    return `failed to load key file "${side.keyFile}": ${message}`;
  }
  if (/cipher/i.test(message)) return `failed to set ciphers "${side.ciphers}": ${message}`;
  if (/curve/i.test(message)) return `invalid ecdhe curve "${side.ecdhCurve}"`;
  return message;
}

function readFile(kind: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why =
      code === 'ENOENT' ? 'No such file or directory' : code === 'EACCES' ? 'Permission denied' : code;
    throw new TlsSetupError(`failed to open ${kind} file "${file}": ${why}`);
  }
}

function checkCertificate(kind: string, file: string, pem: Buffer): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw new TlsSetupError(`failed to load ${kind} file "${file}": no certificate in it`);
  }
}

const VERSIONS: readonly { name: string; version: SecureVersion; off: number }[] = [
  { name: 'tlsv1.0', version: 'TLSv1', off: constants.SSL_OP_NO_TLSv1 },
  { name: 'tlsv1.1', version: 'TLSv1.1', off: constants.SSL_OP_NO_TLSv1_1 },
  { name: 'tlsv1.2', version: 'TLSv1.2', off: constants.SSL_OP_NO_TLSv1_2 },
  { name: 'tlsv1.3', version: 'TLSv1.3', off: constants.SSL_OP_NO_TLSv1_3 },
];
const ALL_VERSIONS = 0b1111;
const SECURE_VERSIONS = 0b1100;
const PROTOCOL_SETS: Readonly<Record<string, number>> = {
  all: ALL_VERSIONS,
  legacy: ALL_VERSIONS,
  secure: SECURE_VERSIONS,
  default: SECURE_VERSIONS,
  tlsv1: ALL_VERSIONS,
  'tlsv1.0': 0b0001,
  'tlsv1.1': 0b0010,
  'tlsv1.2': 0b0100,
  'tlsv1.3': 0b1000,
};

/**
 * pgbouncer's `tls_protocols`: names separated by comma or colon; `!name` removes one again.
 * @throws TlsSetupError
 */
function protocolOptions(list: Text): SecureContextOptions {
  let set = 0;
  for (const item of (list || 'secure').split(/[,:]/)) {
    const name = item.trim().toLowerCase();
    const isNegated = name.startsWith('!');
    const versions = PROTOCOL_SETS[isNegated ? name.slice(1) : name];
    if (versions === undefined) throw new TlsSetupError(`invalid protocols "${list}"`);
    if (isNegated && set === 0) set = ALL_VERSIONS;
    set = isNegated ? set & ~versions : set | versions;
  }
  const wanted = VERSIONS.filter((_version, bit) => set & (1 << bit));
  if (wanted.length === 0) throw new TlsSetupError(`invalid protocols "${list}"`);
  let secureOptions = 0;
  for (const version of VERSIONS) if (!wanted.includes(version)) secureOptions |= version.off;
  return { minVersion: wanted[0]!.version, maxVersion: wanted.at(-1)!.version, secureOptions };
}

const isTls13 = (cipher: string): boolean => cipher.startsWith('TLS_');
const DEFAULT_TLS13 = DEFAULT_CIPHERS.split(':').filter(isTls13).join(':');
const DEFAULT_TLS12 = DEFAULT_CIPHERS.split(':')
  .filter((cipher) => !isTls13(cipher))
  .join(':');

/**
 * Node has one list for both kinds of ciphers and turns off TLS 1.3 if that list names none of its ciphers; pgbouncer has two
 * lists.
 * @throws TlsSetupError
 */
function cipherOptions({ ciphers, tls13Ciphers, protocols }: Side): SecureContextOptions {
  const known = getCiphers();
  for (const name of (tls13Ciphers ?? '').split(':')) {
    if (name !== '' && !(isTls13(name) && known.includes(name.toLowerCase()))) {
      throw new TlsSetupError(`failed to set the TLSv1.3 cipher suites: "${tls13Ciphers}"`);
    }
  }
  let tls12 = ciphers ?? '';
  if (['', 'default', 'secure', 'fast', 'normal'].includes(tls12)) {
    tls12 = DEFAULT_TLS12;
    // an operator who names an old protocol wants it, but OpenSSL's default security level allows none of its ciphers
    if (/tlsv1\.[01]/i.test(protocols ?? '')) tls12 += ':@SECLEVEL=0';
  } else if (['all', 'insecure', 'legacy', 'compat'].includes(tls12)) {
    tls12 = 'ALL:!aNULL:!eNULL';
  }
  return { ciphers: `${tls13Ciphers || DEFAULT_TLS13}:${tls12}` };
}
