/** The settings of a session, and the reports to its client, without a server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrackedParameters } from '../../src/pool/parameters.ts';
import { ServerSettings } from '../../src/pool/server-settings.ts';
import { SessionSettings } from '../../src/session/state/settings.ts';

const tracked = new TrackedParameters([]);
const READ_ONLY = 'default_transaction_read_only';

/** A server's settings, as it reports them; its own configuration has the same ones unless `defaults` says otherwise. */
function server(reported: Record<string, string>, defaults = reported): ServerSettings {
  const settings = new ServerSettings(tracked);
  for (const [name, value] of Object.entries(defaults)) settings.note(name, value);
  settings.noteLogin();
  for (const [name, value] of Object.entries(reported)) settings.note(name, value);
  return settings;
}

const FRESH = { TimeZone: 'UTC', search_path: 'public', in_hot_standby: 'off', [READ_ONLY]: 'off' };

/** A client that was welcomed with those settings. */
function welcomed(own: Record<string, string> = FRESH): SessionSettings {
  const settings = new SessionSettings(tracked);
  for (const [name, value] of Object.entries(own)) settings.welcome(name, value);
  return settings;
}

const WELCOMES: readonly {
  readonly name: string;
  readonly setting: string;
  readonly asked: string | null;
  readonly own: string;
  readonly told: string;
  readonly kept: string | undefined;
}[] = [
  {
    name: 'a client keeps the time zone that it was welcomed with',
    setting: 'TimeZone',
    asked: null,
    own: 'UTC',
    told: 'UTC',
    kept: 'UTC',
  },
  {
    name: 'a search path that nobody asked for stays each server’s own',
    setting: 'search_path',
    asked: null,
    own: 'public',
    told: 'public',
    kept: undefined,
  },
  {
    name: 'a style without an order is kept with the server’s order',
    setting: 'DateStyle',
    asked: 'iso',
    own: 'SQL, DMY',
    told: 'ISO, DMY',
    kept: 'ISO, DMY',
  },
  {
    name: 'a setting that is not tracked is only passed on',
    setting: 'work_mem',
    asked: null,
    own: '4MB',
    told: '4MB',
    kept: undefined,
  },
];

for (const { name, setting, asked, own, told, kept } of WELCOMES) {
  test(`settings at login: ${name}`, () => {
    const settings = new SessionSettings(tracked);
    if (asked !== null) assert.equal(settings.takeAtStartup(setting, asked), true);
    assert.equal(settings.welcome(setting, own), told);
    assert.equal(settings.value(setting), kept);
  });
}

test('settings at login: only a tracked setting may stand in a StartupMessage', () => {
  const settings = new SessionSettings(tracked);
  assert.equal(settings.takeAtStartup('timezone', 'UTC'), true);
  assert.equal(settings.takeAtStartup('search_path', 'a'), false);
  assert.equal(settings.takeAtStartup('work_mem', '1GB'), false);
});

test('settings: a server is brought to the client’s settings, and the client takes over the spelling', () => {
  const settings = welcomed();
  settings.takeAtStartup('DateStyle', 'ISO');
  const other = server({ ...FRESH, DateStyle: 'SQL, DMY' });
  assert.equal(settings.difference(other), "SET DateStyle='ISO';");
  const brought = server({ ...FRESH, DateStyle: 'ISO, DMY' });
  assert.deepEqual(settings.applied(brought), [{ name: 'DateStyle', from: 'ISO', to: 'ISO, DMY' }]);
  assert.equal(settings.difference(brought), null);
  assert.deepEqual(settings.applied(brought), []);
});

test('settings: a difference of a new server is reported to the client once', () => {
  const settings = welcomed();
  const standby = server({ ...FRESH, in_hot_standby: 'on' });
  assert.deepEqual(settings.news(standby), [['in_hot_standby', 'on']]);
  assert.equal(settings.news(standby), null);
});

test('settings: a report is passed on unless the client already knows the value', () => {
  const settings = welcomed();
  const changed = server({ ...FRESH, search_path: 'mine', TimeZone: 'UTC' }, FRESH);
  assert.equal(settings.reported('search_path', changed, false), true);
  assert.equal(settings.value('search_path'), 'mine');
  assert.equal(settings.reported('search_path', changed, false), false, 'the same value again');
  assert.equal(
    settings.reported('TimeZone', changed, false),
    true,
    'what a client keeps is always passed on',
  );
  assert.equal(settings.reported('work_mem', changed, false), true, 'so is what is not tracked');
  assert.equal(settings.reported('search_path', server(FRESH), false), true);
  assert.equal(settings.value('search_path'), undefined, 'the default again is no value of the client’s own');
});

const ROLL_BACKS: readonly {
  readonly name: string;
  readonly mayRollBack: boolean;
  readonly hasEnded: boolean;
  readonly mayTell: boolean;
  readonly value: string | undefined;
  readonly news: [string, string][];
}[] = [
  {
    name: 'a lost transaction takes its settings with it, and the client is told',
    mayRollBack: true,
    hasEnded: false,
    mayTell: true,
    value: undefined,
    news: [['search_path', 'public']],
  },
  {
    name: 'nothing is told in the middle of a message',
    mayRollBack: true,
    hasEnded: false,
    mayTell: false,
    value: undefined,
    news: [],
  },
  {
    name: 'a transaction that has ended is not rolled back',
    mayRollBack: true,
    hasEnded: true,
    mayTell: true,
    value: 'mine',
    news: [],
  },
  {
    name: 'no values from before are kept where no cluster is watched',
    mayRollBack: false,
    hasEnded: false,
    mayTell: true,
    value: 'mine',
    news: [],
  },
];

for (const { name, mayRollBack, hasEnded, mayTell, value, news } of ROLL_BACKS) {
  test(`settings: ${name}`, () => {
    const settings = welcomed();
    settings.reported('search_path', server({ ...FRESH, search_path: 'mine' }, FRESH), mayRollBack);
    if (hasEnded) settings.endTransaction();
    assert.deepEqual(settings.rollBack(new Map(Object.entries(FRESH)), mayTell), news);
    assert.equal(settings.value('search_path'), value);
  });
}

const READ_ONLY_ROWS: readonly {
  readonly name: string;
  readonly hasSet: boolean;
  readonly defaults: string;
  readonly isInDoubt: boolean;
  readonly isLikely: boolean;
  readonly afterLoss: string | undefined;
}[] = [
  {
    name: 'without a SET it may be the server’s configuration',
    hasSet: false,
    defaults: 'off',
    isInDoubt: true,
    isLikely: false,
    afterLoss: undefined,
  },
  {
    name: 'after a SET it is likely the client’s own',
    hasSet: true,
    defaults: 'off',
    isInDoubt: true,
    isLikely: true,
    afterLoss: 'on',
  },
  {
    name: 'the server’s default leaves no doubt',
    hasSet: true,
    defaults: 'on',
    isInDoubt: false,
    isLikely: false,
    afterLoss: undefined,
  },
];

for (const { name, hasSet, defaults, isInDoubt, isLikely, afterLoss } of READ_ONLY_ROWS) {
  const make = (): SessionSettings => {
    const settings = welcomed();
    if (hasSet) settings.noteSet();
    settings.reported(
      READ_ONLY,
      server({ ...FRESH, [READ_ONLY]: 'on' }, { ...FRESH, [READ_ONLY]: defaults }),
      false,
    );
    return settings;
  };

  test(`settings: default_transaction_read_only is reported: ${name}`, () => {
    const settings = make();
    assert.equal(settings.isReadOnlyInDoubt, isInDoubt);
    assert.equal(settings.settleReadOnly(), isLikely);
    assert.equal(settings.isReadOnlyInDoubt, false);
    const lost = make();
    lost.rollBack(null, true);
    assert.equal(lost.value(READ_ONLY), afterLoss, 'the server was lost before it could be asked');
  });
}

test('settings: a read-only default that was not the client’s own is forgotten unless another one came', () => {
  const settings = welcomed();
  settings.reported(READ_ONLY, server({ ...FRESH, [READ_ONLY]: 'on' }, FRESH), false);
  settings.forgetReadOnly('off');
  assert.equal(settings.value(READ_ONLY), 'on');
  settings.forgetReadOnly('on');
  assert.equal(settings.value(READ_ONLY), undefined);
});
