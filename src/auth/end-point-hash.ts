/**
 * The channel binding `tls-server-end-point` (RFC 5929, section 4.1): the hash of the server's certificate, by the hash
 * function of the certificate's signature; SHA-256 if that is MD5 or SHA-1.
 */
import { hash } from 'node:crypto';

/** Signature algorithms by the hexadecimal of their object identifier's DER content. */
const HASH_OF_SIGNATURE: Readonly<Record<string, string>> = {
  '2a864886f70d010104': 'sha256', // md5WithRSAEncryption
  '2a864886f70d010105': 'sha256', // sha1WithRSAEncryption
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  '2a864886f70d01010e': 'sha224',
  '2a8648ce3d0401': 'sha256', // ecdsa-with-SHA1
  '2a8648ce3d040301': 'sha224',
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2a8648ce380403': 'sha256', // dsa-with-sha1
  '608648016503040301': 'sha224', // dsa-with-sha2
  '608648016503040302': 'sha256',
};
const RSASSA_PSS = '2a864886f70d01010a';
/** Hash functions, as RSASSA-PSS names them in its parameters. */
const HASHES: Readonly<Record<string, string>> = {
  '2b0e03021a': 'sha256', // SHA-1
  '608648016503040201': 'sha256',
  '608648016503040202': 'sha384',
  '608648016503040203': 'sha512',
  '608648016503040204': 'sha224',
};

const Tag = { ObjectIdentifier: 0x06, Sequence: 0x30, HashAlgorithm: 0xa0 } as const;

/**
 * @param certificate in DER
 * @returns null if RFC 5929 leaves it undefined (Ed25519, Ed448) or the certificate can't be read: then there is no channel
 * binding
 */
export function endPointHash(certificate: Buffer): Buffer | null {
  // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue } (RFC 5280, section 4.1)
  const algorithm = elements(elements(certificate)[0]?.content)[1];
  if (algorithm?.tag !== Tag.Sequence) return null;
  const [identifier, parameters] = elements(algorithm.content);
  const name = hex(identifier);
  const hashName = name === RSASSA_PSS ? pssHash(parameters) : HASH_OF_SIGNATURE[name];
  return hashName === undefined ? null : hash(hashName, certificate, 'buffer');
}

/** RSASSA-PSS-params ::= SEQUENCE { [0] hashAlgorithm DEFAULT sha1, ... } (RFC 4055, section 3.1) */
function pssHash(parameters: Element | undefined): string | undefined {
  const first = elements(parameters?.content)[0];
  if (first?.tag !== Tag.HashAlgorithm) return 'sha256';
  return HASHES[hex(elements(elements(first.content)[0]?.content)[0])];
}

interface Element {
  readonly tag: number;
  readonly content: Buffer;
}

function hex(element: Element | undefined): string {
  return element?.tag === Tag.ObjectIdentifier ? element.content.toString('hex') : '';
}

/** The DER elements that follow one another in some bytes; those before a malformed one. */
function elements(bytes: Buffer | undefined): Element[] {
  const found: Element[] = [];
  let at = 0;
  while (bytes !== undefined && at + 2 <= bytes.length) {
    const tag = bytes[at]!;
    let length = bytes[at + 1]!;
    at += 2;
    if (length > 0x80) {
      const size = length & 0x7f;
      if (size > 4 || at + size > bytes.length) break;
      length = bytes.readUIntBE(at, size);
      at += size;
    }
    if (at + length > bytes.length) break;
    found.push({ tag, content: bytes.subarray(at, at + length) });
    at += length;
  }
  return found;
}
