/** When the gate of a client lets its next message through. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gate, type Reason } from '../../src/session/state/gate.ts';

const REASONS: readonly Reason[] = ['login', 'server', 'settings', 'decision', 'answers', 'verdict'];
const WAITS: readonly Reason[] = ['server', 'verdict'];

function openGate(): Gate {
  const gate = new Gate();
  gate.open('login');
  return gate;
}

test('a new client cannot send anything to a server before its login has ended', () => {
  const gate = new Gate();
  assert.equal(gate.reason, 'login');
  assert.equal(gate.lets, false);
  gate.open('login');
  assert.equal(gate.lets, true);
});

for (const closed of REASONS) {
  test(`a gate that is closed for "${closed}" opens for that reason only`, () => {
    const gate = openGate();
    gate.close(closed);
    for (const other of REASONS) {
      if (other === closed) continue;
      gate.open(other);
      assert.equal(gate.reason, closed, other);
      assert.equal(gate.lets, false, other);
    }
    gate.open(closed);
    assert.equal(gate.isOpen, true);
    assert.equal(gate.lets, true);
  });

  test(`the end of a wait ${WAITS.includes(closed) ? 'opens' : 'does not open'} a gate that is closed for "${closed}"`, () => {
    const gate = openGate();
    gate.close(closed);
    assert.equal(gate.isWaiting, WAITS.includes(closed));
    gate.endWait();
    assert.equal(gate.isOpen, WAITS.includes(closed));
  });
}

test('a later reason takes the place of the one before', () => {
  const gate = openGate();
  gate.close('decision');
  gate.close('verdict');
  gate.open('decision');
  assert.equal(gate.reason, 'verdict');
  gate.open('verdict');
  assert.equal(gate.isOpen, true);
});

for (const pressure of ['unsent', 'ahead'] as const) {
  test(`a gate that is halted for "${pressure}" lets nothing through until it is released`, () => {
    const gate = openGate();
    gate.halt(pressure);
    assert.equal(gate.isOpen, true);
    assert.equal(gate.isHalted, true);
    assert.equal(gate.isAhead, pressure === 'ahead');
    assert.equal(gate.lets, false);
    gate.release();
    assert.equal(gate.isHalted, false);
    assert.equal(gate.lets, true);
  });
}

test('a gate that is both closed and halted needs both to end', () => {
  const gate = openGate();
  gate.close('answers');
  gate.halt('ahead');
  gate.open('answers');
  assert.equal(gate.lets, false);
  gate.close('server');
  gate.release();
  assert.equal(gate.lets, false);
  gate.open('server');
  assert.equal(gate.lets, true);
});

test('a client that has caught up stays halted while its answers have not left', () => {
  const gate = openGate();
  gate.halt('ahead');
  gate.halt('unsent');
  assert.equal(gate.isAhead, false);
  assert.equal(gate.isHalted, true);
});
