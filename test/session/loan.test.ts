/** The server that a client has, and the keys by which a cancel request finds the client. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CancelKeys } from '../../src/session/state/cancel-keys.ts';
import { Loan } from '../../src/session/state/loan.ts';
import type { Server } from '../../src/pool/server.ts';

const SERVER = { id: 1 } as unknown as Server;

test('each loan has a number of its own, and a resumed loan keeps it', () => {
  const loan = new Loan();
  assert.equal(loan.server, null);
  loan.begin(SERVER);
  assert.equal(loan.server, SERVER);
  const { count } = loan;
  loan.end();
  assert.equal(loan.server, null);
  loan.resume(SERVER);
  assert.equal(loan.server, SERVER);
  assert.equal(loan.count, count);
  loan.end();
  loan.begin(SERVER);
  assert.equal(loan.count, count + 1);
});

test('servers that are lost before they are ready are counted until one is ready', () => {
  const loan = new Loan();
  for (const expected of [1, 2]) {
    loan.begin(SERVER);
    assert.equal(loan.endUnready(), expected);
    assert.equal(loan.server, null);
  }
  loan.begin(SERVER);
  loan.ready();
  loan.end();
  loan.begin(SERVER);
  assert.equal(loan.endUnready(), 1);
});

for (const secretBytes of [4, 32]) {
  test(`a cancel key with a secret of ${secretBytes} bytes leads to its holder until it is deleted`, () => {
    const keys = new CancelKeys<string>();
    const one = keys.issue('one', secretBytes, 0);
    const two = keys.issue('two', secretBytes, 0);
    assert.equal(one.secret.length, secretBytes);
    assert.ok(one.pid >= 0);
    assert.notEqual(one.text, two.text);
    assert.equal(keys.find(one.text), 'one');
    assert.equal(keys.find(two.text), 'two');
    keys.delete(one.text);
    assert.equal(keys.find(one.text), undefined);
    assert.equal(keys.find(two.text), 'two');
  });
}
