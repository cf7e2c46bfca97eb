/** How proxies of a fleet agree about a tenant's versions: tables without servers, sandboxes or files. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeployment } from '../../src/functions/shared/deploying.ts';
import { Exchange } from '../../src/functions/shared/exchange.ts';
import { KeptValues } from '../../src/functions/shared/kept-values.ts';
import { Member, type Rules } from '../../src/functions/shared/member.ts';
import { numbered, type Unnumbered } from '../../src/functions/shared/numbering.ts';
import { ALONE } from '../../src/functions/shared/store.ts';
import {
  pauseIn,
  rolloutIn,
  servingIn,
  versionsIn,
  type SharedPin,
  type SharedVersion,
} from '../../src/functions/shared/values.ts';
import { encodeArtifact } from '../../src/functions/build/artifact.ts';
import { received } from '../../src/functions/build/received.ts';
import { codeHash } from '../../src/functions/build/artifact.ts';
import type { Bundle } from '../../src/functions/build/bundle-job.ts';
import { BundleError } from '../../src/functions/build/bundlers.ts';
import { NOT_ANALYSED } from '../../src/functions/build/purity/purity.ts';
import { indexMappings } from '../../src/functions/build/source-map.ts';
import { VersionStore } from '../../src/functions/store/version-store.ts';
import type { Pause, VersionRecord } from '../../src/functions/store/version-record.ts';
import type { AskedBy } from '../../src/functions/tenants/asked-by.ts';
import { MemoryStore, type View } from '../support/shared-store.ts';
import { until } from '../support/wait.ts';

const OPS: AskedBy = { by: 'operator', user: 'ops' };
const KEY = { owner: 'acme', id: '["acme"]' };
const FACTS = {
  checkedWith: {
    program: '1',
    node: '26',
    timeoutMs: 1,
    memoryLimitMb: 1,
    maxResult: 1,
    isolation: 'process',
  },
  findings: {
    manifest: { routes: true, rewrites: false, options: { pure: false, sees: 'text' } },
    route: null,
  },
  operators: '',
  isArtifact: false,
} as const;

function bundleOf(text: string): Bundle {
  const code = `var __pgswitchyard = ${JSON.stringify(text)};`;
  return {
    code,
    map: indexMappings([], ''),
    inputs: [],
    files: [],
    hash: codeHash(Buffer.from(code)),
    purity: NOT_ANALYSED,
    isArtifact: false,
    notUsed: [],
  };
}

const hashOf = (text: string): string => bundleOf(text).hash;

/** A proxy with one tenant, whose sandbox and files are left out: what is to serve serves. */
class FakeProxy implements Rules {
  readonly view: View;
  readonly store = new VersionStore(null, { warn() {}, error() {} });
  readonly member: Member;
  readonly lines: string[] = [];
  pause: Pause | null = null;
  pin: SharedPin | null = null;
  serving: string | null = null;
  followed: string | null = null;
  rollout = 'none';
  has = (owner: string): boolean => owner === KEY.owner;
  /** of the code that the files hold */
  held: string | null = null;

  constructor(fleet: MemoryStore) {
    this.view = fleet.view();
    const log = (_: object, message: string): void => void this.lines.push(message);
    this.member = new Member({
      shared: this.view,
      exchange: new Exchange({ shared: this.view, store: this.store, check }),
      kept: new KeptValues(null, () => {}),
      rules: this,
      log: { info: log, warn: log, error: log },
    });
  }

  static async join(fleet: MemoryStore, files: string | null = null): Promise<FakeProxy> {
    const proxy = new FakeProxy(fleet);
    proxy.view.find();
    await proxy.member.open();
    if (files !== null) await proxy.save(files);
    return proxy;
  }

  /** Its files hold this code: it is tried, and serves if it may. */
  async save(text: string): Promise<void> {
    const bundle = bundleOf(text);
    await this.store.add(KEY, bundle, FACTS);
    if (
      this.held !== bundle.hash &&
      this.member.mayServe(KEY, { hash: bundle.hash, before: this.held }) &&
      this.pin === null
    )
      this.#serve(bundle.hash);
    this.held = bundle.hash;
  }

  #serve(hash: string): void {
    this.serving = hash;
    this.followed = null;
    this.member.noteServing(KEY, hash);
  }

  async rollBack(text: string): Promise<void> {
    await this.member.fetchAll(KEY.owner);
    this.pin = { hash: hashOf(text), ...OPS, untilFiles: false };
    this.member.noteChange(KEY, null, 'ops');
  }

  resume(): void {
    this.pin = null;
    this.member.noteChange(KEY, null, 'ops');
  }

  setPause(as: Pause['as'] | null): void {
    this.pause = as === null ? null : { ...OPS, as };
    this.member.notePause(KEY.owner, 'ops');
  }

  begin(text: string, percent: number): void {
    this.rollout = `canary ${hashOf(text)} ${percent}`;
    const rest = { hash: hashOf(text), percent, isPromoted: true, asked: OPS, why: '', isWorse: false };
    this.member.noteRollout(KEY, { kind: 'canary', ...rest });
  }

  /** The version that its clients have. */
  get answers(): string | null {
    return this.pin?.hash ?? this.followed ?? this.serving;
  }

  // --- Rules ---------------------------------------------------------------------------------------------------------------

  hasSet = (): boolean => true;
  pauseOf = (): Pause | null => this.pause;
  pinOf = (): SharedPin | null => this.pin;
  latestOf = (): string | null => this.serving;

  applyPause(_owner: string, pause: Pause | null): void {
    this.pause = pause;
  }

  applyServing(
    _key: unknown,
    { pin }: { pin: SharedPin | null },
    record: VersionRecord | null,
  ): Promise<string | null> {
    this.pin = pin;
    if (pin === null) this.followed = record?.hash ?? null;
    return Promise.resolve(null);
  }

  applyRollout(
    _key: unknown,
    { kind, percent }: { kind: string; percent: number },
    record: VersionRecord | null,
  ): Promise<string | null> {
    this.rollout = kind === 'canary' ? `canary ${record?.hash} ${percent}` : kind;
    return Promise.resolve(null);
  }

  follow(_key: unknown, hash: string): boolean {
    this.followed = hash;
    return true;
  }

  unfollow(): void {
    this.followed = null;
  }

  guarded = [KEY.owner];
  isWithheld = false;

  withhold(): Promise<void> {
    this.isWithheld = this.held === null;
    return Promise.resolve();
  }

  withheld = (): Promise<string[]> => Promise.resolve(this.isWithheld ? [KEY.owner] : []);

  release(): Promise<void> {
    this.isWithheld = false;
    return Promise.resolve();
  }
}

function check(_owner: string, artifact: Uint8Array): Promise<Bundle> {
  const result = received(artifact);
  return result.kind === 'bundle'
    ? Promise.resolve(result.bundle)
    : Promise.reject(new BundleError(result.kind === 'failed' ? result.message : '', 'mistake'));
}

/** Resolves when all proxies serve this version. */
async function allServe(proxies: readonly FakeProxy[], text: string): Promise<void> {
  await until(`all to serve ${text}`, () => proxies.every(({ answers }) => answers === hashOf(text)));
}

test('code of files is a deployment if it is news', () => {
  const rows: [
    before: string | null,
    hash: string,
    serving: string | null,
    isKnown: boolean,
    deploys: boolean,
    why: string,
  ][] = [
    [null, 'a', null, false, true, 'the fleet has nothing yet'],
    [null, 'a', 'a', true, true, 'it is what the fleet serves'],
    [null, 'b', 'a', false, false, 'a proxy starts with other files'],
    [null, 'b', 'a', true, false, 'a proxy starts with old files'],
    ['', 'b', 'a', false, true, 'a file of functions that nobody has used is saved'],
    ['', 'b', 'a', true, false, 'the same, on a late proxy'],
    ['a', 'b', 'a', false, true, 'a new version'],
    ['a', 'b', 'a', true, true, 'the last version is put back'],
    ['a', 'b', 'c', true, false, 'a late proxy gets a version that the others have left'],
    ['a', 'c', 'b', false, true, 'a late proxy gets a new version first'],
    ['b', 'b', 'a', false, false, 'nothing has changed: RELOAD'],
  ];
  for (const [before, hash, serving, isKnown, expected, why] of rows)
    assert.equal(isDeployment({ before, hash, serving, isKnown, wasHeldBack: false }), expected, why);
  assert.ok(isDeployment({ before: 'b', hash: 'b', serving: 'a', isKnown: true, wasHeldBack: true }));
});

test('a deployment on one proxy serves on all, and a new proxy serves it whatever its files hold', async () => {
  const fleet = new MemoryStore();
  const one = await FakeProxy.join(fleet, 'v1');
  const two = await FakeProxy.join(fleet, 'v1');
  await allServe([one, two], 'v1');
  await one.save('v2');
  await allServe([one, two], 'v2');
  const late = await FakeProxy.join(fleet, 'v1');
  const bare = await FakeProxy.join(fleet);
  await allServe([one, two, late, bare], 'v2');
  // it gets the change last
  await late.save('v2');
  await two.save('v2');
  await two.save('v3');
  await late.save('v2');
  await allServe([one, two, late, bare], 'v3');
});

test('the same file that is loaded at the same moment has one number, and another file another one', async () => {
  const fleet = new MemoryStore();
  const proxies = await Promise.all([FakeProxy.join(fleet), FakeProxy.join(fleet), FakeProxy.join(fleet)]);
  await Promise.all(proxies.map((proxy) => proxy.save('v1')));
  await allServe(proxies, 'v1');
  await Promise.all(proxies.map((proxy, i) => proxy.save(i === 0 ? 'a' : 'b')));
  await until('versions', () => versionsIn(fleet.body('versions')).length === 3);
  const [first] = proxies;
  await until('one of them to serve', () => proxies.every(({ answers }) => answers === first!.answers));
  assert.deepEqual(
    versionsIn(fleet.body('versions')).map(({ number }) => number),
    [1, 2, 3],
  );
  await Promise.all(proxies.map((proxy) => proxy.member.share(KEY.owner)));
  for (const proxy of proxies) {
    const record = { key: KEY, hash: hashOf('v1'), number: 7 };
    assert.equal(proxy.member.shown(record), 1);
    assert.equal(proxy.member.shown({ ...record, hash: hashOf('v9') }), -7);
  }
});

test('commands hold for all; of two at once the later one in the store does', async () => {
  const fleet = new MemoryStore();
  const one = await FakeProxy.join(fleet, 'v1');
  const two = await FakeProxy.join(fleet, 'v1');
  for (const text of ['v2', 'v3']) await one.save(text);
  await allServe([one, two], 'v3');
  await Promise.all([one.rollBack('v1'), two.rollBack('v2')]);
  assert.deepEqual(await Promise.all([one.member.share(KEY.owner), two.member.share(KEY.owner)]), [
    true,
    true,
  ]);
  await until('agreement', () => one.answers === two.answers);
  assert.deepEqual(one.pin, two.pin);
  assert.deepEqual(one.pin, servingIn(KEY.id, fleet.body('serving', KEY.id))!.pin);
  one.setPause('error');
  await until('PAUSE', () => two.pause?.as === 'error');
  two.setPause(null);
  two.resume();
  await until('RESUME', () => one.pause === null && one.pin === null);
  await allServe([one, two], 'v3');
  two.begin('v2', 5);
  await until('CANARY', () => one.rollout === `canary ${hashOf('v2')} 5`);
});

test('a file that was saved while a version was pinned serves for all with RESUME', async () => {
  const fleet = new MemoryStore();
  const one = await FakeProxy.join(fleet, 'v1');
  const two = await FakeProxy.join(fleet, 'v1');
  await one.save('v2');
  await one.rollBack('v1');
  await allServe([one, two], 'v1');
  await one.save('v3');
  await allServe([one, two], 'v1');
  one.resume();
  one.held = null;
  await one.save('v3');
  await allServe([one, two], 'v3');
});

test('without the store each proxy decides for itself, and what was decided is offered when it is back', async () => {
  const fleet = new MemoryStore();
  const one = await FakeProxy.join(fleet, 'v1');
  const two = await FakeProxy.join(fleet, 'v1');
  await one.save('v2');
  await allServe([one, two], 'v2');
  one.view.lose();
  await one.rollBack('v1');
  one.setPause('error');
  assert.equal(await one.member.share(KEY.owner), false);
  assert.deepEqual(one.member.unshared, ['acme']);
  assert.deepEqual([one.answers, two.answers, two.pause], [hashOf('v1'), hashOf('v2'), null]);
  // somebody has paused it elsewhere, in another way: that is newer
  two.setPause('pass');
  await two.member.share(KEY.owner);
  one.view.find();
  await allServe([one, two], 'v1');
  await until('one PAUSE', () => one.pause?.as === 'pass' && two.pause?.as === 'pass');
  assert.match(one.lines.join('\n'), /PAUSE.* was decided otherwise in the fleet meanwhile/);
  assert.deepEqual(one.member.unshared, []);
});

test('the same decision of two proxies without the store is no difference between them', async () => {
  const fleet = new MemoryStore();
  const proxies = [await FakeProxy.join(fleet, 'v1'), await FakeProxy.join(fleet, 'v1')];
  await proxies[0]!.save('v2');
  await allServe(proxies, 'v2');
  for (const { view } of proxies) view.lose();
  for (const proxy of proxies) await proxy.rollBack('v1');
  for (const { view } of proxies) view.find();
  await until('both to be known', () => proxies.every(({ member }) => member.unshared.length === 0));
  await allServe(proxies, 'v1');
  for (const { lines } of proxies) assert.doesNotMatch(lines.join('\n'), /decided otherwise/);
});

test('a proxy that starts without the store serves its files, and then what the fleet serves', async () => {
  const fleet = new MemoryStore();
  const one = await FakeProxy.join(fleet, 'v1');
  const two = new FakeProxy(fleet);
  two.view.lose();
  await two.member.open();
  await two.save('v0');
  assert.equal(two.answers, hashOf('v0'));
  two.view.find();
  await allServe([one, two], 'v1');
  // its code has a number of its own now
  await until('v0', () => versionsIn(fleet.body('versions')).length === 2);
});

test('a canary is promoted once, by the proxy that ends it in the store', async () => {
  const fleet = new MemoryStore();
  const proxies = [await FakeProxy.join(fleet, 'v1'), await FakeProxy.join(fleet, 'v1')];
  const [one, two] = proxies as [FakeProxy, FakeProxy];
  await one.store.add(KEY, bundleOf('v2'), FACTS);
  one.begin('v2', 5);
  await until('CANARY', () => two.rollout === one.rollout);
  await one.member.share(KEY.owner);
  for (const proxy of proxies) assert.ok(proxy.member.promote(KEY, hashOf('v2'), false, OPS));
  await allServe(proxies, 'v2');
  await until('its end', () => proxies.every(({ rollout }) => rollout === 'none'));
  const served = fleet.entries.filter(({ kind }) => kind === 'serving');
  assert.equal(served.length, 1);
  assert.ok(one.member.promote(KEY, hashOf('v2'), false, OPS), 'it has ended');
});

test('a damaged artifact does not serve, and the proxy says so', async () => {
  const fleet = new MemoryStore();
  const one = await FakeProxy.join(fleet, 'v1');
  await one.save('v2');
  await one.member.share(KEY.owner);
  const [name] = fleet.artifacts.keys();
  const other = encodeArtifact(bundleOf('evil'), { builtAtMs: 1, program: '1', node: '26', note: null });
  for (const bytes of [Buffer.from('rubbish'), other]) {
    for (const each of fleet.artifacts.keys()) fleet.artifacts.set(each, bytes);
    const two = await FakeProxy.join(fleet);
    assert.equal(two.answers, null);
    assert.match(
      two.lines.join('\n'),
      /does not serve what the fleet serves: the artifact of version \w+ .* is damaged/,
    );
    assert.ok(two.member.complaints.has('acme'));
  }
  assert.ok(name);
});

test('values in another form are not applied', async () => {
  assert.equal(pauseIn({ as: 'never' }), undefined);
  assert.equal(pauseIn(null), null);
  const serving = { id: KEY.id, hash: hashOf('v1'), pin: null };
  assert.deepEqual(servingIn(KEY.id, serving), serving);
  for (const bad of [
    null,
    7,
    {},
    { ...serving, id: 'x' },
    { ...serving, hash: '../x' },
    { ...serving, pin: { by: 'fleet' } },
  ])
    assert.equal(servingIn(KEY.id, bad), null, JSON.stringify(bad));
  const canary = {
    kind: 'canary',
    hash: hashOf('v1'),
    percent: 5,
    isPromoted: true,
    why: '',
    isWorse: false,
  };
  const rollout = { id: KEY.id, ...canary, ...OPS };
  assert.deepEqual(rolloutIn(KEY.id, rollout), rollout);
  for (const bad of [
    { percent: 100 },
    { percent: -1 },
    { percent: Number.NaN },
    { hash: '' },
    { kind: 'else' },
    { by: 'fleet' },
  ])
    assert.equal(rolloutIn(KEY.id, { ...rollout, ...bad }), null, JSON.stringify(bad));
  const fleet = new MemoryStore();
  fleet.change({ kind: 'serving', tenant: 'acme', key: KEY.id, body: { hash: 1 }, user: '' });
  const one = await FakeProxy.join(fleet, 'v1');
  assert.equal(one.answers, hashOf('v1'));
  assert.match(one.lines.join('\n'), /its serving in the store has another form/);
});

test('a store that was made anew gets what the proxies know', async () => {
  const fleet = new MemoryStore();
  const one = await FakeProxy.join(fleet, 'v1');
  const two = await FakeProxy.join(fleet, 'v1');
  await one.save('v2');
  await allServe([one, two], 'v2');
  one.setPause('error');
  await until('PAUSE', () => two.pause !== null);
  fleet.wipe();
  one.view.find();
  two.view.find();
  await until('the same again', () => fleet.entries.length >= 3);
  await allServe([one, two], 'v2');
  assert.deepEqual(fleet.body('pause'), { ...OPS, as: 'error' });
});

test('a tenant that a proxy does not have is none of its business', async () => {
  const fleet = new MemoryStore();
  await FakeProxy.join(fleet, 'v1');
  const other = new FakeProxy(fleet);
  other.has = () => false;
  other.view.find();
  await other.member.open();
  assert.equal(other.answers, null);
  assert.deepEqual(other.store.history('acme'), []);
});

test('the last ten versions of a set are kept, and those that serve', () => {
  let versions: readonly SharedVersion[] = [];
  const removed: string[] = [];
  const version = (n: number): Unnumbered => ({
    id: KEY.id,
    hash: n.toString(16).padStart(12, '0'),
    artifact: n.toString(16).padStart(64, '0'),
    operators: '',
    isArtifact: false,
  });
  for (let n = 1; n <= 70; n++) {
    const next = numbered(versions, version(n), ({ hash }) => hash === version(3).hash)!;
    ({ versions } = next);
    removed.push(...next.removed);
  }
  assert.equal(versions.length, 50);
  assert.equal(versions.at(-1)!.number, 70);
  const kept = versions.filter(({ artifact }) => artifact !== null).map(({ number }) => number);
  assert.deepEqual(kept, [3, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70]);
  assert.equal(removed.length, 59);
  // code that comes back has its number again
  assert.equal(
    numbered(versions, version(60), () => false)!.versions.find(({ hash }) => hash === version(60).hash)!
      .number,
    60,
  );
  assert.equal(
    numbered(versions, version(70), () => false),
    null,
  );
  assert.equal(ALONE.isReachable, false);
});
