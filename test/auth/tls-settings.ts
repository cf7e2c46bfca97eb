/** TLS options with the values that they have if a file names none of them. */
import { join } from 'node:path';
import type { ClientTlsSettings, ServerTlsSettings } from '../../src/auth/tls.ts';
import { TLS_FOLDER } from '../support/cluster.ts';

export const tlsFile = (name: string): string => join(TLS_FOLDER, name);

export function clientTlsSettings(more: Partial<ClientTlsSettings> = {}): ClientTlsSettings {
  return {
    client_tls_sslmode: 'require',
    client_tls_key_file: tlsFile('server.key'),
    client_tls_cert_file: tlsFile('server.crt'),
    client_tls_ca_file: '',
    client_tls_protocols: 'secure',
    client_tls_ciphers: 'default',
    client_tls13_ciphers: null,
    client_tls_ecdhcurve: 'auto',
    client_tls_dheparams: 'auto',
    ...more,
  };
}

export function serverTlsSettings(more: Partial<ServerTlsSettings> = {}): ServerTlsSettings {
  return {
    server_tls_sslmode: 'verify-full',
    server_tls_key_file: '',
    server_tls_cert_file: '',
    server_tls_ca_file: tlsFile('ca.crt'),
    server_tls_protocols: 'secure',
    server_tls_ciphers: 'default',
    server_tls13_ciphers: null,
    ...more,
  };
}
