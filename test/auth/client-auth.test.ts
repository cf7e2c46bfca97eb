/** Logins of clients, by each method. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import {
  authDialogue,
  type AuthStep,
  type ClientIdentity,
  type ClientMethod,
} from '../../src/auth/client-auth.ts';
import { md5Response, md5Secret } from '../../src/auth/md5.ts';
import { deriveKeys } from '../../src/auth/scram.ts';
import { ServerAuth } from '../../src/auth/server-auth.ts';

const PASSWORD = 'pencil';
const SALT = Buffer.from('0123456789abcdef');
const OPTIONS = { scramIterations: 4096, saltKey: Buffer.alloc(32, 7) };

/** The secret that PostgreSQL stores, as its build_scram_secret writes it. */
async function scramSecret(password: string, iterations = 4096): Promise<string> {
  const { storedKey, serverKey } = await deriveKeys(password, SALT, iterations);
  return `SCRAM-SHA-256$${iterations}:${SALT.toString('base64')}$${storedKey.toString('base64')}:${serverKey.toString('base64')}`;
}

function identity(secret: string | null, more: Partial<ClientIdentity> = {}): ClientIdentity {
  return { user: 'alice', secret, exists: secret !== null, tls: null, ...more };
}

/** The Authentication message with which a step asks. */
function request(step: AuthStep): number {
  assert.equal(step.kind, 'continue');
  return step.kind === 'continue' ? step.authentication.readInt32BE(0) : -1;
}

/** A login by a client that knows a password: our own server side plays it. */
async function logIn(method: ClientMethod, who: ClientIdentity, password: string): Promise<AuthStep> {
  const dialogue = authDialogue(method, who, OPTIONS);
  const endPointHash = who.tls?.endPointHash ?? null;
  const client = new ServerAuth({ user: who.user, secret: password, learned: null, endPointHash });
  let step = await dialogue.begin();
  while (step.kind === 'continue')
    step = await dialogue.receive((await client.receive(step.authentication))!);
  if (step.kind === 'ok' && step.final !== null) await client.receive(step.final);
  return step;
}

const reasonOf = (step: AuthStep): string => (step.kind === 'failed' ? step.reason : step.kind);

test('methods that take a password, for each kind of secret', async (t) => {
  const secrets = {
    plain: PASSWORD,
    md5: md5Secret(PASSWORD, 'alice'),
    scram: await scramSecret(PASSWORD),
  };
  const cases: [ClientMethod, keyof typeof secrets, number, boolean][] = [
    ['plain', 'plain', 3, true],
    ['plain', 'md5', 3, true],
    ['plain', 'scram', 3, true],
    ['md5', 'plain', 5, true],
    ['md5', 'md5', 5, true],
    // "If the user has a SCRAM secret, then SCRAM authentication is used automatically instead."
    ['md5', 'scram', 10, true],
    ['scram-sha-256', 'plain', 10, true],
    ['scram-sha-256', 'scram', 10, true],
    ['scram-sha-256', 'md5', 10, false],
  ];
  for (const [method, kind, code, works] of cases) {
    await t.test(`${method}, ${kind} secret`, async () => {
      const who = identity(secrets[kind]);
      assert.equal(request(await authDialogue(method, who, OPTIONS).begin()), code);
      const failure = code === 10 ? 'SASL authentication failed' : 'password authentication failed';
      assert.equal(reasonOf(await logIn(method, who, PASSWORD)), works ? 'ok' : failure);
      assert.equal(reasonOf(await logIn(method, who, 'pencil case')), failure);
    });
  }
});

test("a server login with the secret from the client's login", async () => {
  const scram = identity(await scramSecret(PASSWORD));
  const bySecret = await logIn('scram-sha-256', scram, PASSWORD);
  assert.ok(bySecret.kind === 'ok' && bySecret.keys !== null && 'clientKey' in bySecret.keys);
  const byPassword = await logIn('plain', scram, PASSWORD);
  assert.deepEqual(byPassword.kind === 'ok' && byPassword.keys, { password: PASSWORD });
});

test('users whom nothing lets in get the same exchange as others', async (t) => {
  const unknown: [string, ClientIdentity][] = [
    ['unknown', identity(null)],
    ['without a password', identity(null, { exists: true })],
    ['with an empty password', identity('', { exists: true })],
  ];
  for (const [name, who] of unknown) {
    for (const method of ['plain', 'md5', 'scram-sha-256'] as const) {
      await t.test(`${name}, ${method}`, async () => {
        const known = identity(PASSWORD);
        const asked = request(await authDialogue(method, who, OPTIONS).begin());
        assert.equal(asked, request(await authDialogue(method, known, OPTIONS).begin()));
        const step = await logIn(method, who, PASSWORD);
        assert.equal(reasonOf(step), reasonOf(await logIn(method, known, 'wrong')));
        assert.equal(reasonOf(await logIn(method, who, '')), reasonOf(await logIn(method, known, '')));
      });
    }
  }
});

/** The server-first-message of a SCRAM login. */
async function serverFirst(who: ClientIdentity, saltKey?: Buffer): Promise<string> {
  const dialogue = authDialogue(
    'scram-sha-256',
    who,
    saltKey ? { ...OPTIONS, saltKey } : { scramIterations: 4096 },
  );
  await dialogue.begin();
  const step = await dialogue.receive(initialResponse('SCRAM-SHA-256', 'n,,n=,r=nonce'));
  assert.equal(request(step), 11);
  return step.kind === 'continue' ? step.authentication.toString('latin1', 4) : '';
}

const saltAndIterations = (message: string): string => message.slice(message.indexOf(',s='));

function initialResponse(mechanism: string, message: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(message.length);
  return Buffer.concat([Buffer.from(`${mechanism}\0`), length, Buffer.from(message)]);
}

test('the salt of a mock exchange', async (t) => {
  const salt = async (who: ClientIdentity, key?: Buffer): Promise<string> =>
    saltAndIterations(await serverFirst(who, key));
  await t.test('is the same each time, for one name', async () => {
    assert.equal(await salt(identity(null)), await salt(identity(null)));
    assert.notEqual(await salt(identity(null)), await salt(identity(null, { user: 'bob' })));
  });
  await t.test('looks like that of a user with a plain password', async () => {
    assert.equal(await salt(identity(null)), await salt(identity(PASSWORD)));
    assert.match(await salt(identity(null)), /^,s=[A-Za-z0-9+/]{22}==,i=4096$/);
  });
  await t.test('depends on the key that processes share', async () => {
    const [one, two] = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
    assert.equal(await salt(identity(null), one), await salt(identity(null), one));
    assert.notEqual(await salt(identity(null), one), await salt(identity(null), two));
  });
});

test('passwords up to 65530 bytes', async () => {
  const longest = 'x'.repeat(65_530);
  assert.equal(reasonOf(await logIn('plain', identity(longest), longest)), 'ok');
  const tooLong = 'x'.repeat(65_531);
  assert.equal(reasonOf(await logIn('plain', identity(tooLong), tooLong)), 'password authentication failed');
});

test('a password that is not UTF-8 is compared by its bytes', async () => {
  const bytes = Buffer.from([0x70, 0xff, 0x71]);
  const dialogue = authDialogue('plain', identity(md5Secret(bytes, 'alice')), OPTIONS);
  await dialogue.begin();
  assert.equal((await dialogue.receive(Buffer.concat([bytes, Buffer.from([0])]))).kind, 'ok');
});

test('malformed password messages are refused', async (t) => {
  const messages: Record<string, Buffer> = {
    empty: Buffer.alloc(0),
    'an empty password': Buffer.from('\0'),
    'no zero byte at the end': Buffer.from(PASSWORD),
    'something behind the zero byte': Buffer.from(`${PASSWORD}\0x`),
    'two zero bytes': Buffer.from(`${PASSWORD}\0\0`),
  };
  for (const [name, payload] of Object.entries(messages)) {
    await t.test(name, async () => {
      for (const method of ['plain', 'md5', 'scram-sha-256', 'ldap'] as const) {
        const dialogue = authDialogue(
          method,
          identity(PASSWORD, { checkPassword: async () => true }),
          OPTIONS,
        );
        await dialogue.begin();
        assert.equal((await dialogue.receive(payload)).kind, 'failed', method);
      }
    });
  }
});

test('an MD5 response to another salt is refused', async () => {
  const dialogue = authDialogue('md5', identity(PASSWORD), OPTIONS);
  await dialogue.begin();
  const response = md5Response(md5Secret(PASSWORD, 'alice'), Buffer.from('salt'));
  assert.equal(
    reasonOf(await dialogue.receive(Buffer.from(`${response}\0`))),
    'password authentication failed',
  );
});

test('a SCRAM dialogue is over after its first mistake', async () => {
  const dialogue = authDialogue('scram-sha-256', identity(PASSWORD), OPTIONS);
  await dialogue.begin();
  assert.equal((await dialogue.receive(Buffer.from('rubbish'))).kind, 'failed');
  const step = await dialogue.receive(initialResponse('SCRAM-SHA-256', 'n,,n=,r=nonce'));
  assert.equal(reasonOf(step), 'SASL authentication failed');
});

test('methods without a password let clients in or refuse them at once', async (t) => {
  const begin = async (method: ClientMethod, who: ClientIdentity): Promise<string> =>
    reasonOf(await authDialogue(method, who, OPTIONS).begin());
  const certificate = (certificateCn: string | null): Partial<ClientIdentity> => ({
    exists: true,
    tls: { certificateCn, endPointHash: null },
  });
  const peer = (name: string | null): Partial<ClientIdentity> => ({
    exists: true,
    peerName: async () => name,
  });

  await t.test('any', async () => assert.equal(await begin('any', identity(null)), 'ok'));
  await t.test('reject', async () =>
    assert.equal(await begin('reject', identity(PASSWORD)), 'login rejected'),
  );
  await t.test('trust', async () => {
    assert.equal(await begin('trust', identity('')), 'ok');
    assert.equal(await begin('trust', identity(null)), '"trust" authentication failed');
  });
  await t.test('cert', async () => {
    const failure = 'certificate authentication failed';
    assert.equal(await begin('cert', identity(null, certificate('alice'))), 'ok');
    assert.equal(await begin('cert', identity(null, certificate('bob'))), failure);
    assert.equal(await begin('cert', identity(null, certificate(null))), failure);
    assert.equal(await begin('cert', identity(PASSWORD)), failure);
    assert.equal(await begin('cert', identity(null, { ...certificate('alice'), exists: false })), failure);
    const mapsTo = (name: string): boolean => name === 'bob';
    const mapped = identity(null, { ...certificate('alice'), mapsTo, mapName: 'm' });
    assert.deepEqual(await authDialogue('cert', mapped, OPTIONS).begin(), {
      kind: 'failed',
      reason: failure,
      detail: 'ident map: m does not have a match',
    });
    assert.equal(await begin('cert', identity(null, { ...certificate('bob'), mapsTo })), 'ok');
    assert.equal(await begin('cert', identity(null, { ...certificate('alice'), mapsTo })), failure);
  });
  await t.test('peer', async () => {
    const failure = 'unix socket login rejected';
    assert.equal(await begin('peer', identity(null, peer('alice'))), 'ok');
    assert.equal(await begin('peer', identity(null, peer('bob'))), failure);
    assert.equal(await begin('peer', identity(null, peer(null))), failure);
    assert.equal(await begin('peer', identity(null, { exists: true })), failure);
    assert.equal(await begin('peer', identity(null, { ...peer('alice'), exists: false })), failure);
    const peerName = (): Promise<string> => Promise.reject(new Error('no perl'));
    const step = await authDialogue('peer', identity(null, { exists: true, peerName }), OPTIONS).begin();
    assert.deepEqual(step, { kind: 'failed', reason: failure, detail: 'no perl' });
  });
});

test('ldap and pam have the password checked elsewhere', async () => {
  const asked: string[] = [];
  const checkPassword = async (password: string): Promise<boolean> => {
    asked.push(password);
    if (password === 'broken') throw new Error('directory is down');
    return password === PASSWORD;
  };
  const who = identity(null, { exists: true, checkPassword });
  const right = await logIn('ldap', who, PASSWORD);
  assert.deepEqual(right, { kind: 'ok', final: null, keys: { password: PASSWORD } });
  assert.equal(reasonOf(await logIn('pam', who, 'wrong')), 'PAM authentication failed');
  assert.deepEqual(await logIn('ldap', who, 'broken'), {
    kind: 'failed',
    reason: 'LDAP authentication failed',
    detail: 'directory is down',
  });
  // An LDAP server would let an empty one in, anonymously.
  assert.equal(reasonOf(await logIn('ldap', who, '')), 'empty password returned by client');
  assert.deepEqual(asked, [PASSWORD, 'wrong', 'broken']);
  assert.equal(reasonOf(await logIn('pam', identity(null), PASSWORD)), 'PAM authentication failed');
});

test("the driver pg's own SCRAM client logs in", async (t) => {
  const sasl = createRequire(import.meta.url)('pg/lib/crypto/sasl') as {
    startSession(mechanisms: string[], stream?: unknown): { mechanism: string; response: string };
    continueSession(session: object, password: string, data: string, stream?: unknown): Promise<void>;
    finalizeSession(session: object, data: string): void;
  };
  for (const password of [PASSWORD, 'Ⅸ\u00adx', 'päss wörd']) {
    for (const secret of [password, await scramSecret(password)]) {
      await t.test(`${password}: ${secret.slice(0, 5)}`, async () => {
        const dialogue = authDialogue('scram-sha-256', identity(secret), OPTIONS);
        const first = await dialogue.begin();
        assert.ok(first.kind === 'continue');
        const offered = first.authentication.toString('latin1', 4).split('\0').filter(Boolean);
        const session = sasl.startSession(offered);
        const second = await dialogue.receive(initialResponse(session.mechanism, session.response));
        assert.ok(second.kind === 'continue');
        await sasl.continueSession(session, password, second.authentication.toString('utf8', 4));
        const third = await dialogue.receive(Buffer.from(session.response));
        assert.ok(third.kind === 'ok' && third.final !== null);
        sasl.finalizeSession(session, third.final.toString('utf8', 4));
      });
    }
  }
});
