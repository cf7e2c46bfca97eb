/** SCRAM-SHA-256 on both sides. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deriveKeys, preparePassword } from '../../src/auth/scram.ts';
import { ScramClient, ScramError } from '../../src/auth/scram-client.ts';
import { ScramFailure, ScramServer } from '../../src/auth/scram-server.ts';
import { parseSecret, type LearnedSecret, type ScramSecret } from '../../src/auth/secrets.ts';

// RFC 7677, section 3: SCRAM-SHA-256, user "user", password "pencil".
const RFC = {
  clientNonce: 'rOprNGfwEbeRWgbNEkqO',
  serverNonce: '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0',
  salt: Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64'),
  iterations: 4096,
  clientFirst: 'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
  serverFirst: 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
  clientFinal:
    'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
};

async function rfcSecret(): Promise<ScramSecret> {
  const keys = await deriveKeys('pencil', RFC.salt, RFC.iterations);
  return { kind: 'scram', iterations: RFC.iterations, salt: RFC.salt, ...keys };
}

const BINDING = Buffer.from('hash of a certificate');

async function server(
  options: Partial<ConstructorParameters<typeof ScramServer>[0]> = {},
): Promise<ScramServer> {
  return new ScramServer({
    user: 'user',
    secret: await rfcSecret(),
    iterations: 4096,
    endPointHash: null,
    saltKey: Buffer.alloc(32),
    ...options,
  });
}

test('the exchange of RFC 7677, as a client', async () => {
  const client = new ScramClient({
    secret: { password: 'pencil' },
    bindTo: null,
    couldBind: false,
    nonce: RFC.clientNonce,
    userAttribute: 'user',
  });
  assert.equal(client.first(), RFC.clientFirst);
  assert.equal(await client.final(RFC.serverFirst), RFC.clientFinal);
  client.verify(RFC.serverFinal);
});

test('the exchange of RFC 7677, as a server', async () => {
  const scram = await server({ nonce: RFC.serverNonce });
  assert.equal(scram.first('SCRAM-SHA-256', RFC.clientFirst), RFC.serverFirst);
  const final = await scram.final(RFC.clientFinal);
  assert.equal(final.message, RFC.serverFinal);
  const keys = await deriveKeys('pencil', RFC.salt, RFC.iterations);
  assert.deepEqual(final.learned, {
    clientKey: keys.clientKey,
    serverKey: keys.serverKey,
    salt: RFC.salt,
    iterations: RFC.iterations,
  });
});

/** Our client against our server. */
async function exchange(
  client: ScramClient,
  scram: ScramServer,
  mechanism = 'SCRAM-SHA-256',
): Promise<LearnedSecret> {
  const clientFinal = await client.final(scram.first(mechanism, client.first()));
  const { message, learned } = await scram.final(clientFinal);
  client.verify(message);
  return learned;
}

function clientWith(options: Partial<ConstructorParameters<typeof ScramClient>[0]> = {}): ScramClient {
  return new ScramClient({
    secret: { password: 'pencil' },
    bindTo: null,
    couldBind: false,
    ...options,
  });
}

test('keys learnt from a login open a server with the same secret', async () => {
  const secret = await exchange(clientWith(), await server());
  const again = clientWith({ secret });
  await exchange(again, await server());
  assert.equal(again.hasOtherSecret, false);
});

test('keys learnt from another secret of the same password do not, and the client knows', async () => {
  const other: ScramSecret = {
    kind: 'scram',
    iterations: 5000,
    salt: RFC.salt,
    ...(await deriveKeys('pencil', RFC.salt, 5000)),
  };
  const secret = await exchange(clientWith(), await server({ secret: other }));
  const client = clientWith({ secret });
  await assert.rejects(exchange(client, await server()), ScramFailure);
  assert.equal(client.hasOtherSecret, true);
});

test('channel binding', async (t) => {
  const bound = (): Promise<ScramServer> => server({ endPointHash: BINDING });
  await t.test('is offered with a certificate only', async () => {
    assert.deepEqual((await server()).mechanisms, ['SCRAM-SHA-256']);
    assert.deepEqual((await bound()).mechanisms, ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256']);
  });
  await t.test('succeeds when both see the same certificate', async () => {
    await exchange(clientWith({ bindTo: BINDING }), await bound(), 'SCRAM-SHA-256-PLUS');
  });
  await t.test('fails when somebody with another certificate is in between', async () => {
    const client = clientWith({ bindTo: Buffer.from('another') });
    await assert.rejects(
      exchange(client, await bound(), 'SCRAM-SHA-256-PLUS'),
      /channel binding check failed/,
    );
  });
  await t.test('fails when somebody in between has removed the offer', async () => {
    await assert.rejects(exchange(clientWith({ couldBind: true }), await bound()), /negotiation error/);
  });
  await t.test('is not missed by a client that can and a server that can not', async () => {
    await exchange(clientWith({ couldBind: true }), await server());
  });
  await t.test('is not required of a client that can not', async () => {
    await exchange(clientWith(), await bound());
  });
  await t.test('and the chosen mechanism must fit', async () => {
    await assert.rejects(
      exchange(clientWith({ bindTo: BINDING }), await bound()),
      /requires SCRAM channel binding/,
    );
    await assert.rejects(
      exchange(clientWith(), await bound(), 'SCRAM-SHA-256-PLUS'),
      /no channel binding data/,
    );
    await assert.rejects(
      exchange(clientWith(), await server(), 'SCRAM-SHA-256-PLUS'),
      /invalid SASL mechanism/,
    );
    await assert.rejects(exchange(clientWith(), await bound(), 'OAUTHBEARER'), /invalid SASL mechanism/);
  });
});

test('a server refuses wrong SCRAM messages', async (t) => {
  const first = (message: string) => async (): Promise<string> =>
    (await server()).first('SCRAM-SHA-256', message);
  const nonce = 'rOprNGfwEbeRWgbNEkqO';
  const malformed: Record<string, string> = {
    'an empty message': '',
    'no channel-binding flag': `,,n=,r=${nonce}`,
    'an unknown flag': `x,,n=,r=${nonce}`,
    'an authorization identity': `n,a=somebody,n=,r=${nonce}`,
    'a mandatory extension': `n,,m=x,n=,r=${nonce}`,
    'no nonce': 'n,,n=user',
    'an empty nonce': 'n,,n=,r=',
    'a nonce with blanks': 'n,,n=,r=a b',
    'rubbish behind the nonce': `n,,n=,r=${nonce},rubbish`,
  };
  for (const [name, message] of Object.entries(malformed)) {
    await t.test(name, () => assert.rejects(first(message), ScramFailure));
  }
  const finals: Record<string, string> = {
    'another nonce': RFC.clientFinal.replace(',r=r', ',r=s'),
    'another header': RFC.clientFinal.replace('biws', 'eSws'),
    'no proof': RFC.clientFinal.replace(/,p=.*/, ''),
    'a short proof': RFC.clientFinal.replace(/p=.*/, 'p=dHzb'),
    'a proof that is no base64': RFC.clientFinal.replace(/p=..../, 'p=----'),
    'a wrong proof': RFC.clientFinal.replace('p=d', 'p=e'),
    'something behind the proof': `${RFC.clientFinal},x=y`,
  };
  for (const [name, message] of Object.entries(finals)) {
    await t.test(name, async () => {
      const scram = await server({ nonce: RFC.serverNonce });
      scram.first('SCRAM-SHA-256', RFC.clientFirst);
      await assert.rejects(scram.final(message), ScramFailure);
    });
  }
  await t.test('optional extensions are let through', async () => {
    const scram = await server({ nonce: RFC.serverNonce });
    scram.first('SCRAM-SHA-256', `${RFC.clientFirst},x=y`);
    await assert.rejects(scram.final(RFC.clientFinal.replace(',p=', ',x=y,p=')), /wrong password/);
  });
});

test('a client refuses wrong SCRAM messages', async (t) => {
  const start = (): ScramClient => clientWith({ nonce: RFC.clientNonce, userAttribute: 'user' });
  const firsts: Record<string, string> = {
    'an empty message': '',
    "a nonce that does not begin with the client's": RFC.serverFirst.replace('r=r', 'r=s'),
    "a nonce that is just the client's": RFC.serverFirst.replace(RFC.serverNonce, ''),
    'no salt': RFC.serverFirst.replace(/s=[^,]*,/, ''),
    'an empty salt': RFC.serverFirst.replace(/s=[^,]*,/, 's=,'),
    'a salt that is no base64': RFC.serverFirst.replace('s=W', 's=-'),
    'no iterations': RFC.serverFirst.replace('i=4096', 'i=0'),
    'iterations that are no number': RFC.serverFirst.replace('i=4096', 'i=4096x'),
    'iterations for hours': RFC.serverFirst.replace('i=4096', 'i=4000000000'),
    'something behind them': `${RFC.serverFirst},x=y`,
    'a mandatory extension': `m=x,${RFC.serverFirst}`,
  };
  for (const [name, message] of Object.entries(firsts)) {
    await t.test(name, () => assert.rejects(start().final(message), ScramError));
  }
  const finals: Record<string, string> = {
    'another signature': RFC.serverFinal.replace('v=6', 'v=7'),
    'a short signature': 'v=6rri',
    'an error': 'e=invalid-proof',
    nothing: '',
  };
  for (const [name, message] of Object.entries(finals)) {
    await t.test(`${name} at the end`, async () => {
      const client = start();
      await client.final(RFC.serverFirst);
      assert.throws(() => client.verify(message), ScramError);
    });
  }
  await t.test('a signature before its proof', () => {
    assert.throws(() => start().verify(RFC.serverFinal), ScramError);
  });
});

test('passwords are normalised as PostgreSQL does', () => {
  const same = (a: string | Buffer, b: string | Buffer): void =>
    assert.deepEqual(preparePassword(a), Buffer.from(b as string));
  // RFC 4013, section 3
  same('I\u00adX', 'IX');
  same('user', 'user');
  same('USER', 'USER');
  same('\u00aa', 'a');
  same('\u2168', 'IX');
  // Prohibited there: taken unchanged.
  same('\u0007', '\u0007');
  same('\u0627\u0031', '\u0627\u0031');
  same('a\u00a0b', 'a b');
  // Not UTF-8: taken unchanged.
  same(Buffer.from([0xff, 0xaa]), Buffer.from([0xff, 0xaa]));
  same(Buffer.from('\u2168'), 'IX');
  // Nothing would remain.
  same('\u00ad', '\u00ad');
});

test('kinds of secret', () => {
  assert.equal(parseSecret('').kind, 'plain');
  assert.equal(parseSecret('md5').kind, 'plain');
  assert.equal(parseSecret(`md5${'0'.repeat(32)}`).kind, 'md5');
  assert.equal(parseSecret(`md5${'0'.repeat(31)}g`).kind, 'plain');
  assert.equal(parseSecret(`md5${'A'.repeat(32)}`).kind, 'plain');
  const key = Buffer.alloc(32, 1).toString('base64');
  const text = `SCRAM-SHA-256$4096:${RFC.salt.toString('base64')}$${key}:${key}`;
  assert.deepEqual(parseSecret(text), {
    kind: 'scram',
    iterations: 4096,
    salt: RFC.salt,
    storedKey: Buffer.alloc(32, 1),
    serverKey: Buffer.alloc(32, 1),
  });
  for (const broken of [
    text.replace('4096', '0'),
    text.replace('4096', '4096x'),
    text.replace('SCRAM', 'SCREAM'),
    text.replace(key, 'AAAA'),
    text.slice(0, -1),
    `${text}:x`,
  ]) {
    assert.equal(parseSecret(broken).kind, 'plain', broken);
  }
});
