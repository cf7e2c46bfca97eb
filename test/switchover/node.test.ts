/** Which node may become the writer, by the nodes' own reports alone. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  betterWriter,
  isSuccessor,
  type Lineage,
  type NodeFacts,
  type Role,
} from '../../src/switchover/facts.ts';

interface Said {
  role?: Role;
  timeline?: number | null;
  system?: string | null;
  failure?: string;
}

/** Only the fields that the decision reads. */
function node({ role = 'writer', timeline = 1, system = 'a', failure = '' }: Said = {}): NodeFacts {
  const evidence = {
    recovering: role === 'reader',
    timeline,
    position: null,
    lagSeconds: null,
    system,
    instance: null,
  };
  return { key: 'n', role, evidence, failure, isSeed: false } as unknown as NodeFacts;
}

const KNOWN: Lineage = { timeline: 3, system: 'a' };
const GONE = node({ role: 'unknown', timeline: 3, failure: 'connection refused' });

test('a successor has a higher timeline, or the same one if the old writer is gone', () => {
  const there = node({ timeline: 3 });
  assert.equal(isSuccessor(node({ timeline: 4 }), there, KNOWN), true);
  assert.equal(isSuccessor(node({ timeline: 4, role: 'reader' }), there, KNOWN), false);
  assert.equal(isSuccessor(node({ timeline: 2 }), there, KNOWN), false);
  assert.equal(isSuccessor(node({ timeline: 3 }), there, KNOWN), false);
  assert.equal(isSuccessor(node({ timeline: 3 }), GONE, KNOWN), true);
  assert.equal(isSuccessor(node({ timeline: 2 }), GONE, KNOWN), false);
  assert.equal(isSuccessor(there, there, KNOWN), true);
  assert.equal(isSuccessor(node({ timeline: null }), there, KNOWN), true);
  assert.equal(isSuccessor(node(), null, null), true);
});

test('a server of another cluster is not a successor, whatever its timeline, unless it is at the same address', () => {
  assert.equal(isSuccessor(node({ timeline: 9, system: 'b' }), GONE, KNOWN), false);
  assert.equal(isSuccessor(node({ timeline: 4, system: null }), GONE, KNOWN), true);
  const anew = node({ timeline: 1, system: 'b' });
  assert.equal(isSuccessor(anew, anew, KNOWN), true);
});

test('the better of two writers has the higher timeline, or is the current one', () => {
  const low = node({ timeline: 1 });
  const high = node({ timeline: 2 });
  assert.equal(betterWriter(low, high, low), high);
  assert.equal(betterWriter(high, low, low), high);
  const twin = node({ timeline: 2 });
  assert.equal(betterWriter(high, twin, twin), twin);
  assert.equal(betterWriter(high, twin, high), high);
});
