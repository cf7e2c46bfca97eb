/** PAM services of our own, in /etc/pam.d like any other. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { authenticatePam, PamError } from '../../src/auth/pam.ts';
import { noFfi } from '../support/ffi.ts';

const reason: string | false =
  process.getuid?.() !== 0
    ? 'only root can add a PAM service'
    : !existsSync('/etc/pam.d')
      ? 'there is no PAM here'
      : noFfi;
const options = { skip: reason };

/** Creates a service that asks a shell script; returns its name. */
function service(t: TestContext, script: string, account = 'pam_permit.so'): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgswitchyard-pam-'));
  const program = join(folder, 'check');
  writeFileSync(program, `#!/bin/sh\n${script}\n`);
  chmodSync(program, 0o755);
  const name = `pgswitchyard-test-${process.pid}-${Math.random().toString(36).slice(2)}`;
  const file = join('/etc/pam.d', name);
  const lines = [
    `auth [success=1 default=ignore] pam_exec.so quiet expose_authtok ${program}`,
    'auth requisite pam_deny.so',
    'auth required pam_permit.so',
    `account required ${account}`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  t.after(() => {
    rmSync(file);
    rmSync(folder, { recursive: true });
  });
  return name;
}

// pam_exec ends the password with a zero byte, which a shell's variable drops.
const IS_ALICE = 'password=$(tr -d "\\000"); [ "$PAM_USER:$password" = "alice:p\u00e4ss w\u00f6rd \\"\\$x" ]';
const PASSWORD = 'p\u00e4ss w\u00f6rd "$x';

test('only the right password of the right user is accepted', options, async (t) => {
  const name = service(t, IS_ALICE);
  assert.equal(await authenticatePam('alice', PASSWORD, { service: name }), true);
  assert.equal(await authenticatePam('alice', 'wrong', { service: name }), false);
  assert.equal(await authenticatePam('bob', PASSWORD, { service: name }), false);
  assert.equal(await authenticatePam('alice', `${PASSWORD}\0x`, { service: name }), false);
});

test('a password of 65530 bytes reaches PAM', options, async (t) => {
  const name = service(t, '[ "$(wc -c)" -ge 1 ]');
  // PAM itself cuts at PAM_MAX_RESP_SIZE or refuses: either way, it answers.
  const answer = await authenticatePam('alice', 'x'.repeat(65_530), { service: name }).catch(String);
  assert.ok(typeof answer === 'boolean' || /PAM could not tell/.test(answer), String(answer));
});

test('an account that may not log in is refused', options, async (t) => {
  const name = service(t, IS_ALICE, 'pam_deny.so');
  assert.equal(await authenticatePam('alice', PASSWORD, { service: name }), false);
});

test("the client's address", options, async (t) => {
  const name = service(t, '[ "$PAM_RHOST" = 192.0.2.7 ]');
  assert.equal(await authenticatePam('alice', 'x', { service: name, remoteHost: '192.0.2.7' }), true);
  assert.equal(await authenticatePam('alice', 'x', { service: name, remoteHost: null }), false);
});

test('PAM that takes too long is an error', options, async (t) => {
  // Stops the helper, like a module that waits without end.
  const name = service(t, 'kill -STOP $PPID');
  const login = authenticatePam('alice', 'x', { service: name, deadlineMs: 1000 });
  await assert.rejects(login, (error) => error instanceof PamError && /too long/.test(error.message));
});

test('many logins at the same time all get their answers', options, async (t) => {
  const name = service(t, IS_ALICE);
  const passwords = Array.from({ length: 12 }, (_, index) => (index % 2 === 0 ? PASSWORD : 'wrong'));
  const answers = await Promise.all(
    passwords.map((password) => authenticatePam('alice', password, { service: name })),
  );
  assert.deepEqual(
    answers,
    passwords.map((password) => password === PASSWORD),
  );
});
