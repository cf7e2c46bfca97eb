/** Whatever bytes arrive, a login fails without further effects. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { authDialogue, type ClientMethod } from '../../src/auth/client-auth.ts';
import { endPointHash } from '../../src/auth/end-point-hash.ts';
import { parseSecret } from '../../src/auth/secrets.ts';
import { ServerAuth, ServerAuthError } from '../../src/auth/server-auth.ts';

const RUNS = 300;
const bytes = fc.uint8Array({ maxLength: 120 }).map((array) => Buffer.from(array));

/** Texts that look like SCRAM, so that some get past the first checks. */
const attribute = fc
  .tuple(fc.constantFrom('n', 'r', 's', 'i', 'c', 'p', 'v', 'e', 'm', 'x', ''), fc.string({ maxLength: 12 }))
  .map(([name, value]) => `${name}=${value}`);
const scramText = fc
  .tuple(
    fc.constantFrom('n,,', 'y,,', 'p=tls-server-end-point,,', 'p=x,,', 'n,a=b,', ''),
    fc.array(attribute, { maxLength: 5 }),
  )
  .map(([header, attributes]) => header + attributes.join(','));

const initialResponse = fc
  .tuple(
    fc.constantFrom('SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS', ''),
    scramText,
    fc.integer({ min: -2, max: 2 }),
  )
  .map(([mechanism, text, error]) => {
    const data = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeInt32BE(data.length + (error === 2 ? 1 : 0));
    return Buffer.concat([Buffer.from(`${mechanism}\0`), length, data]);
  });

const payload = fc.oneof(
  bytes,
  initialResponse,
  scramText.map((text) => Buffer.from(text)),
);

/** For an empty password, pgbouncer's reason says so. */
const REASONS = /authentication failed$|rejected$|^empty password returned by client$/;

test('clients that send anything fail to log in', async () => {
  const methods: ClientMethod[] = ['plain', 'md5', 'scram-sha-256', 'ldap', 'pam', 'cert', 'peer', 'reject'];
  const property = fc.asyncProperty(
    fc.constantFrom(...methods),
    fc.array(payload, { minLength: 1, maxLength: 4 }),
    fc.boolean(),
    async (method, payloads, encrypted) => {
      const tls = encrypted ? { certificateCn: null, endPointHash: Buffer.alloc(32) } : null;
      const who = { user: 'a', secret: 'a password that nobody guesses', exists: true, tls };
      const dialogue = authDialogue(method, who, { scramIterations: 1 });
      await dialogue.begin();
      for (const each of payloads) {
        const step = await dialogue.receive(each);
        assert.notEqual(step.kind, 'ok');
        if (step.kind === 'failed') assert.match(step.reason, REASONS);
      }
    },
  );
  const emptyPassword = Buffer.from([0]);
  await fc.assert(property, {
    numRuns: RUNS,
    examples: methods.map((method) => [method, [emptyPassword], false]),
  });
});

test('servers that say anything get an answer or a ServerAuthError, and no success without proof', async () => {
  const code = fc.constantFrom(2, 3, 5, 7, 8, 9, 10, 11, 12, 99);
  const data = fc.oneof(
    bytes,
    fc.constant(Buffer.from('SCRAM-SHA-256\0\0')),
    fc.constant(Buffer.from('SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0')),
    scramText.map((text) => Buffer.from(text)),
  );
  const message = fc.tuple(code, data).map(([number, rest]) => {
    const head = Buffer.alloc(4);
    head.writeInt32BE(number);
    return Buffer.concat([head, rest]);
  });
  const secret = fc.constantFrom(null, '', 'plain', `md5${'0'.repeat(32)}`);
  const property = fc.asyncProperty(
    fc.array(fc.oneof(bytes, message), { maxLength: 5 }),
    secret,
    async (messages, text) => {
      const auth = new ServerAuth({ user: 'a', secret: text, learned: null, endPointHash: Buffer.alloc(32) });
      let began = false;
      for (const each of messages) {
        try {
          await auth.receive(each);
          if (each.readInt32BE(0) === 10) began = true;
        } catch (error) {
          assert.ok(error instanceof ServerAuthError, String(error));
        }
      }
      if (began) await assert.rejects(auth.receive(Buffer.alloc(4)), ServerAuthError);
    },
  );
  await fc.assert(property, { numRuns: RUNS });
});

test('any text is some kind of secret, any bytes have a channel binding or none', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      assert.ok(['plain', 'md5', 'scram'].includes(parseSecret(text).kind));
    }),
  );
  fc.assert(
    fc.property(bytes, (certificate) => {
      const hash = endPointHash(certificate);
      assert.ok(hash === null || hash.length >= 28);
    }),
  );
});
