/** The facts that a login leaves behind, and the work that may be done beside the relay; without a server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Errand } from '../../src/session/state/errand.ts';
import { Login } from '../../src/session/state/login.ts';

test('login: a client may ask for each kind of encryption once', () => {
  const login = new Login();
  assert.deepEqual(
    (['ssl', 'gss', 'ssl', 'gss'] as const).map((kind) => login.askFor(kind)),
    [true, true, false, false],
  );
});

test('login: a parameter of a replication connection is replaced, or added', () => {
  const login = new Login();
  login.addReplicationParameter('application_name', 'a');
  login.addReplicationParameter('options', '-c x=1');
  login.setReplicationParameter('application_name', 'b');
  login.setReplicationParameter('client_encoding', 'UTF8');
  assert.equal(login.replicationParameter('application_name'), 'b');
  assert.equal(login.replicationParameter('none'), undefined);
  assert.deepEqual(login.replicationParameters, [
    ['application_name', 'b'],
    ['options', '-c x=1'],
    ['client_encoding', 'UTF8'],
  ]);
});

test('login: a cancel request is on its way only after it was sent', () => {
  const login = new Login();
  assert.equal(login.cancelRequest, null);
  const request = login.beginCancelRequest();
  assert.equal(login.cancelRequest, request);
  assert.deepEqual([request.isSent, request.pool], [false, null]);
  request.noteSent();
  assert.equal(request.isSent, true);
});

test('errand: the callback that is current is called when the client leaves', () => {
  const errand = new Errand();
  const called: string[] = [];
  errand.left();
  assert.equal(
    errand.onLeft(() => called.push('first')),
    null,
  );
  const before = errand.onLeft(() => called.push('second'));
  errand.left();
  errand.onLeft(before);
  errand.left();
  errand.onLeft(null);
  errand.left();
  assert.deepEqual(called, ['second', 'first']);
});

test('errand: a cancel request goes to the relay unless something else is being done', () => {
  const errand = new Errand();
  assert.equal(errand.cancel(), false);
  let cancels = 0;
  errand.onCancel(() => cancels++);
  assert.deepEqual([errand.cancel(), errand.cancel(), cancels], [true, true, 2]);
});
