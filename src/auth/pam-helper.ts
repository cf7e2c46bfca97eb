/**
 * The process that pam.ts starts for one login: it reads the login from standard input, asks PAM, and ends with one of the
 * statuses below; an explanation is on standard error. PAM's modules may block, and may do anything to the process that they
 * are loaded into: hence a separate one.
 */
import { readFileSync } from 'node:fs';
import { PamStatus, type PamRequest } from './pam.ts';

/** security/_pam_types.h */
const PAM_SUCCESS = 0;
const PAM_SILENT = 0x8000;
const PAM_RHOST = 4;
const PAM_PROMPT_ECHO_OFF = 1;
const PAM_PROMPT_ECHO_ON = 2;
const PAM_CONV_ERR = 19;
/** The answers with which PAM has judged; all others mean that it could not. */
const REFUSALS = [
  6, // PAM_PERM_DENIED
  7, // PAM_AUTH_ERR
  8, // PAM_CRED_INSUFFICIENT
  10, // PAM_USER_UNKNOWN
  11, // PAM_MAXTRIES
  12, // PAM_NEW_AUTHTOK_REQD
  13, // PAM_ACCT_EXPIRED
];
const POINTER_BYTES = 8;
/** struct pam_response: char *resp, int resp_retcode */
const RESPONSE_BYTES = 16;

async function main(): Promise<number> {
  const request = JSON.parse(readFileSync(0, 'utf8')) as PamRequest;
  let ffi: typeof import('node:ffi');
  try {
    ffi = await import('node:ffi');
  } catch {
    process.stderr.write(`Node ${process.version} can't load PAM: it takes 26.1 or newer`);
    return PamStatus.Unavailable;
  }
  return authenticate(ffi, request);
}

function authenticate(ffi: typeof import('node:ffi'), request: PamRequest): number {
  const { functions: libc } = ffi.dlopen(null, {
    calloc: { arguments: ['u64', 'u64'], return: 'pointer' },
    strdup: { arguments: ['string'], return: 'pointer' },
  });
  const { lib, functions: pam } = ffi.dlopen('libpam.so.0', {
    pam_start: { arguments: ['string', 'string', 'buffer', 'buffer'], return: 'i32' },
    pam_set_item: { arguments: ['pointer', 'i32', 'string'], return: 'i32' },
    pam_authenticate: { arguments: ['pointer', 'i32'], return: 'i32' },
    pam_acct_mgmt: { arguments: ['pointer', 'i32'], return: 'i32' },
    pam_strerror: { arguments: ['pointer', 'i32'], return: 'pointer' },
    pam_end: { arguments: ['pointer', 'i32'], return: 'i32' },
  });

  /** pam_conv(3): every prompt is answered with the password; messages to the user are discarded. */
  const converse = (count: number, messages: bigint, answer: bigint): number => {
    try {
      const list = ffi.toBuffer(messages, count * POINTER_BYTES);
      const responses = Buffer.alloc(count * RESPONSE_BYTES);
      for (let index = 0; index < count; index++) {
        const style = ffi.getInt32(list.readBigUInt64LE(index * POINTER_BYTES));
        if (style !== PAM_PROMPT_ECHO_OFF && style !== PAM_PROMPT_ECHO_ON) continue;
        // PAM frees both the array and the strings.
        responses.writeBigUInt64LE(libc.strdup(request.password), index * RESPONSE_BYTES);
      }
      const array = libc.calloc(BigInt(count), BigInt(RESPONSE_BYTES));
      ffi.exportBuffer(responses, array, responses.length);
      ffi.setUint64(answer, 0, array);
      return PAM_SUCCESS;
    } catch {
      return PAM_CONV_ERR;
    }
  };
  const callback = lib.registerCallback(
    { arguments: ['i32', 'pointer', 'pointer', 'pointer'], return: 'i32' },
    (count, messages, answer) => converse(count, messages as bigint, answer as bigint),
  );
  // struct pam_conv: the function, and a pointer for it
  const conversation = Buffer.alloc(2 * POINTER_BYTES);
  conversation.writeBigUInt64LE(callback);
  const result = Buffer.alloc(POINTER_BYTES);
  let status = pam.pam_start(request.service, request.user, conversation, result);
  if (status !== PAM_SUCCESS) {
    process.stderr.write(`pam_start failed with ${status}`);
    return PamStatus.Unavailable;
  }
  const handle = result.readBigUInt64LE();
  if (request.remoteHost !== null) pam.pam_set_item(handle, PAM_RHOST, request.remoteHost);
  status = pam.pam_authenticate(handle, PAM_SILENT);
  if (status === PAM_SUCCESS) status = pam.pam_acct_mgmt(handle, PAM_SILENT);
  if (status !== PAM_SUCCESS) process.stderr.write(ffi.toString(pam.pam_strerror(handle, status)) ?? '');
  pam.pam_end(handle, status);
  if (status === PAM_SUCCESS) return PamStatus.Accepted;
  return REFUSALS.includes(status) ? PamStatus.Refused : PamStatus.Unavailable;
}

process.exitCode = await main();
