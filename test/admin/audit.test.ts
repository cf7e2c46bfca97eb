/** The audit log: who gave which statement, and what became of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AuditTrail } from '../../src/admin/audit.ts';

interface Trail {
  readonly trail: AuditTrail;
  readonly lines: string[];
  /** of the fleet's audit log */
  readonly shared: string[];
}

function newTrail(): Trail {
  const lines: string[] = [];
  const shared: string[] = [];
  const log = {
    info: (first: unknown, message = '') => void lines.push(typeof first === 'string' ? first : message),
  };
  const trail = new AuditTrail(
    log,
    ({ user, source, tenant, action }) => shared.push(`${user} ${source} ${tenant} ${action}`),
    () => 7,
  );
  return { trail, lines, shared };
}

const BOSS = { user: 'boss', entrance: 'console', address: '10.0.0.1' } as const;

test('a statement is noted when it begins, and again with its outcome', () => {
  const { trail, lines, shared } = newTrail();
  const end = trail.begin(BOSS, { text: 'PAUSE db', tenant: null });
  assert.equal(trail.entries[0]?.outcome, 'running');
  end('done');
  assert.deepEqual(trail.entries, [{ ...BOSS, atMs: 7, statement: 'PAUSE db', outcome: 'done' }]);
  assert.deepEqual(lines, ['console: boss asks for PAUSE db', 'console: boss asked for PAUSE db: done']);
  assert.deepEqual(shared, ['boss console from 10.0.0.1 null PAUSE db']);
});

test('the fleet hears of a statement that was not carried out', () => {
  const { trail, shared } = newTrail();
  const ops = { user: 'ops', entrance: 'web console', address: '' } as const;
  trail.begin(ops, { text: 'PROMOTE FUNCTIONS acme', tenant: 'acme' })('permission denied');
  assert.deepEqual(shared, [
    'ops web console acme PROMOTE FUNCTIONS acme',
    'ops web console acme PROMOTE FUNCTIONS acme was not carried out: permission denied',
  ]);
});

test('entries are bounded in number and length, and no text in them can forge another', () => {
  const { trail, lines } = newTrail();
  for (let i = 0; i < 600; i++) trail.begin(BOSS, { text: `KILL_CLIENT ${i}`, tenant: null });
  assert.equal(trail.entries.length, 500);
  assert.equal(trail.entries[0]?.statement, 'KILL_CLIENT 100');
  trail.begin(
    { ...BOSS, user: 'x\nconsole: boss' },
    { text: `PAUSE "a\nb${'c'.repeat(9_000)}"`, tenant: null },
  );
  assert.ok(trail.entries.at(-1)!.statement.length <= 501);
  assert.ok(lines.every((line) => !line.includes('\n')));
});
