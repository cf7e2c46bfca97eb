/**
 * The steps of one query, each with the outcome that ends it: a real client, with the test's own server, functions and socket.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Decision, Tenant } from '../../src/functions/functions.ts';
import type { Database } from '../../src/pool/database.ts';
import type { Pool } from '../../src/pool/pool.ts';
import { PreparedStatements } from '../../src/pool/prepared.ts';
import type { Server } from '../../src/pool/server.ts';
import {
  Client,
  type ClientContext,
  type ClientHandlers,
  type LoggedInClient,
} from '../../src/session/client.ts';
import { decided } from '../../src/session/query/decide.ts';
import { takeQuery } from '../../src/session/relay/query-steps.ts';
import { Handled } from '../../src/session/state/handled.ts';
import { StatementRegistry } from '../../src/session/state/shared.ts';
import { clientErrors } from '../../src/wire/errors.ts';
import { message } from '../../src/wire/messages.ts';
import { Backend, Frontend, TxStatus } from '../../src/wire/protocol.ts';

const GO: Decision = { kind: 'go', query: null, dbkey: null };
const rejection: Decision = {
  kind: 'reject',
  error: clientErrors.rejected({ code: '42501', message: 'no', hint: null, detail: null }),
};

/** The input of a socket: the types of the messages, and the text of each query and error. */
function shown(bytes: readonly Buffer[]): string {
  const parts: string[] = [];
  const all = Buffer.concat(bytes);
  for (let at = 0; at < all.length; at += 1 + all.readInt32BE(at + 1)) {
    const type = String.fromCharCode(all[at]!);
    const body = all.toString('latin1', at + 5, at + 1 + all.readInt32BE(at + 1));
    if (type === 'Q') parts.push(`Q(${body.slice(0, -1)})`);
    else if (type === 'E') parts.push(`E(${/\0C(\w+)\0/.exec(body)?.[1]})`);
    else parts.push(type);
  }
  return parts.join(' ');
}

function socket(): { written: Buffer[] } & Record<string, unknown> {
  const written: Buffer[] = [];
  return {
    written,
    writableLength: 0,
    write: (bytes: Buffer) => written.push(bytes) > 0,
    cork() {},
    uncork() {},
    pause() {},
    resume() {},
    isPaused: () => false,
  };
}

interface Situation {
  /** settings of [pgbouncer] besides the defaults below */
  settings?: Record<string, unknown>;
  /** decisions of the functions of a database, in turn; without an entry there are none */
  decisions?: Record<string, Decision[]>;
  /** a text is judged if it has at most so many bytes */
  maxQueryBytes?: number;
  /** the decision of functions that can't see a text */
  tooLarge?: Decision;
  inTransaction?: boolean;
  /** no server is free */
  isBusy?: boolean;
}

class Stage {
  readonly client: LoggedInClient;
  readonly toClient = socket();
  readonly toServer = socket();
  /** the texts that functions were shown, with the entry to which the functions belong */
  readonly asked: string[] = [];
  /** why the client was disconnected; null: it was not */
  closed: string | null = null;
  readonly #situation: Situation;
  readonly #pending: (() => void)[] = [];

  constructor(situation: Situation) {
    this.#situation = situation;
    const tenants = new Map(
      Object.entries(situation.decisions ?? {}).map(([entry, decisions]) => [
        entry,
        this.#tenant(entry, [...decisions]),
      ]),
    );
    const databases = ['app', 'other'].map((name) => this.#database(name));
    const server = this.#server();
    const pool = {
      mode: 'transaction',
      welcome: null,
      credentials: { user: 'u', learnFirst() {} },
      acquire: () => (situation.isBusy === true ? null : server),
      give() {},
      enter() {},
      leave() {},
    } as unknown as Pool;
    const context = {
      config: {
        settings: {
          max_prepared_statements: 100,
          disable_pqexec: false,
          routing_in_transaction: 'ignore',
          rewritten_tag: false,
          fleet_store: '',
          ...situation.settings,
        },
      },
      log: { warn() {} },
      tracked: { difference: () => null, news: () => null, indexOf: () => -1 },
      statements: new StatementRegistry(),
      originals: new StatementRegistry(),
      functions: { tenantOf: (entry: string) => tenants.get(entry) ?? null, allows: () => false },
      directory: {
        find: (name: string) => databases.find((each) => each.name === name) ?? null,
        pool: () => pool,
        users: { get: () => ({ config: { query_wait_timeout: 120 } }) },
      },
    } as unknown as ClientContext;
    const handlers = {
      decided,
      left: (_client: Client, reason: string) => {
        this.closed = reason;
      },
    } as unknown as ClientHandlers;
    const client: Client = new Client(context, handlers, 1, this.toClient as never, false);
    client.identify('u', 'app');
    client.login.enter('app', false);
    client.enter(databases[0]!, pool);
    client.gate.open('login');
    this.client = client;
    if (situation.inTransaction === true) {
      client.loan.begin(server);
      Object.assign(server, { txStatus: TxStatus.InTransaction });
    }
  }

  /** Takes a message through the steps until it no longer waits for functions. */
  take(bytes: Buffer, size = bytes.length): Handled {
    let handled: Handled = takeQuery(this.client, bytes[0]!, size, bytes);
    for (let answer = this.#pending.shift(); answer !== undefined; answer = this.#pending.shift()) {
      assert.equal(handled, Handled.Later);
      assert.equal(this.client.gate.reason, 'decision');
      answer();
      assert.equal(this.client.gate.isOpen, true);
      handled = takeQuery(this.client, bytes[0]!, size, bytes);
    }
    if (handled === Handled.Forward) this.client.forward(bytes);
    this.client.flush();
    return handled;
  }

  #database(name: string): Database {
    return {
      name,
      entry: name,
      cluster: null,
      watch: null,
      disabled: false,
      config: { user: null },
      stats: { noteWait() {} },
    } as unknown as Database;
  }

  #server(): Server {
    return {
      txStatus: TxStatus.Idle,
      socket: this.toServer,
      settings: {},
      prepared: new PreparedStatements(),
      noteRequest() {},
      attach() {},
      detach() {},
    } as unknown as Server;
  }

  #tenant(entry: string, decisions: Decision[]): Tenant {
    return {
      generationOf: () => (entry === 'app' ? 1 : 2),
      maxQueryBytes: this.#situation.maxQueryBytes ?? 1000,
      tooLarge: () => this.#situation.tooLarge ?? GO,
      nameable: () => [],
      mayName: () => false,
      sharesRewriting: () => false,
      recall: () => null,
      noteRefusedMove: () => true,
      decide: ({ query }: { query: string }, done: (decision: Decision) => void) => {
        this.asked.push(`${entry}: ${query}`);
        this.#pending.push(() => done(decisions.shift() ?? GO));
      },
    } as unknown as Tenant;
  }
}

const query = (text: string): Buffer => message(Frontend.Query, text);

/** A Query `select 1`, and its outcome. */
const cases: {
  name: string;
  situation: Situation;
  handled: keyof typeof Handled;
  asked?: string[];
  toServer?: string;
  toClient?: string;
  closed?: string;
  database?: string;
}[] = [
  { name: 'without functions it is sent', situation: {}, handled: 'Forward', toServer: 'Q(select 1)' },
  {
    name: 'disable_pqexec ends the connection',
    situation: { settings: { disable_pqexec: true } },
    handled: 'Later',
    closed: 'PQexec disallowed',
  },
  {
    name: 'without a free server it waits',
    situation: { isBusy: true },
    handled: 'Later',
  },
  {
    name: 'functions may let it pass',
    situation: { decisions: { app: [GO] } },
    handled: 'Forward',
    asked: ['app: select 1'],
    toServer: 'Q(select 1)',
  },
  {
    name: 'functions may rewrite it',
    situation: { decisions: { app: [{ ...GO, query: 'select 2' }] } },
    handled: 'Done',
    asked: ['app: select 1'],
    toServer: 'Q(select 2)',
  },
  {
    name: 'functions may reject it, and no server is needed',
    situation: { decisions: { app: [rejection] }, isBusy: true },
    handled: 'Done',
    asked: ['app: select 1'],
    toClient: 'E(42501) Z',
  },
  {
    name: 'a rejection in a transaction makes the server fail too, whose error is replaced',
    situation: { decisions: { app: [rejection] }, inTransaction: true },
    handled: 'Done',
    asked: ['app: select 1'],
    toServer: 'Q(pgswitchyard: a user function rejected this statement)',
  },
  {
    name: 'functions may disconnect the client',
    situation: { decisions: { app: [{ kind: 'disconnect', error: clientErrors.serverShuttingDown() }] } },
    handled: 'Later',
    asked: ['app: select 1'],
    closed: clientErrors.serverShuttingDown().message,
  },
  {
    name: 'functions may move the client',
    situation: { decisions: { app: [{ ...GO, dbkey: 'other' }] } },
    handled: 'Forward',
    asked: ['app: select 1'],
    toServer: 'Q(select 1)',
    database: 'other',
  },
  {
    name: 'a database that does not exist leaves the client where it is',
    situation: { decisions: { app: [{ ...GO, dbkey: 'none' }] } },
    handled: 'Forward',
    asked: ['app: select 1'],
    toServer: 'Q(select 1)',
  },
  {
    name: 'in a transaction the client is not moved',
    situation: { decisions: { app: [{ ...GO, dbkey: 'other' }] }, inTransaction: true },
    handled: 'Forward',
    asked: ['app: select 1'],
    toServer: 'Q(select 1)',
  },
  {
    name: 'routing_in_transaction = error reports a refused move',
    situation: {
      settings: { routing_in_transaction: 'error' },
      decisions: { app: [{ ...GO, dbkey: 'other' }] },
      inTransaction: true,
    },
    handled: 'Done',
    asked: ['app: select 1'],
    toServer: 'Q(pgswitchyard: a user function rejected this statement)',
  },
  {
    name: 'functions of the target judge the rewritten text, and do not move the client on',
    situation: {
      decisions: {
        app: [{ ...GO, dbkey: 'other', query: 'select 2' }],
        other: [{ ...GO, dbkey: 'app', query: 'select 3' }],
      },
    },
    handled: 'Done',
    asked: ['app: select 1', 'other: select 2'],
    toServer: 'Q(select 3)',
    database: 'other',
  },
  {
    name: 'functions of the target may reject it',
    situation: { decisions: { app: [{ ...GO, dbkey: 'other' }], other: [rejection] } },
    handled: 'Done',
    asked: ['app: select 1', 'other: select 1'],
    toClient: 'E(42501) Z',
    database: 'other',
  },
  {
    name: 'a text that is too large passes unseen under a policy that lets it',
    situation: { decisions: { app: [rejection] }, maxQueryBytes: 7 },
    handled: 'Forward',
    toServer: 'Q(select 1)',
  },
  {
    name: 'a text that is too large is refused under a policy that refuses it',
    situation: { decisions: { app: [] }, maxQueryBytes: 7, tooLarge: rejection },
    handled: 'Done',
    toClient: 'E(42501) Z',
  },
];

for (const { name, situation, handled, asked, toServer, toClient, closed, database } of cases) {
  test(`a query: ${name}`, () => {
    const stage = new Stage(situation);
    assert.equal(stage.take(query('select 1')), Handled[handled]);
    assert.deepEqual(stage.asked, asked ?? []);
    assert.equal(shown(stage.toServer.written), toServer ?? '');
    assert.equal(shown(stage.toClient.written), toClient ?? '');
    assert.equal(stage.closed, closed ?? null);
    assert.equal(stage.client.database.name, database ?? 'app');
    if (handled !== 'Later') assert.equal(stage.client.question.isOpen, true, 'the decision is used up');
  });
}

test('a query that waits for a server is not judged again when it gets one', () => {
  const situation: Situation = { decisions: { app: [{ ...GO, query: 'select 2' }] }, isBusy: true };
  const stage = new Stage(situation);
  assert.equal(stage.take(query('select 1')), Handled.Later);
  assert.equal(stage.client.gate.reason, 'server');
  situation.isBusy = false;
  assert.equal(stage.take(query('select 1')), Handled.Done);
  assert.deepEqual(stage.asked, ['app: select 1']);
  assert.equal(shown(stage.toServer.written), 'Q(select 2)');
});

test('a message whose end has not arrived is collected only if its text is judged or kept', () => {
  const part = query('select 1').subarray(0, 8);
  assert.equal(new Stage({}).take(part, 100_000), Handled.Forward, 'nothing looks at it');
  assert.equal(new Stage({ decisions: { app: [] } }).take(part, 500), Handled.NeedsAll, 'it is judged');
  const tooLarge = new Stage({ decisions: { app: [] } });
  assert.equal(tooLarge.take(part, 100_000), Handled.Forward, 'too large to be judged');
  assert.deepEqual(tooLarge.asked, []);
  const parse = message(Frontend.Parse, '', 'select 1', Buffer.alloc(2)).subarray(0, 8);
  assert.equal(new Stage({}).take(parse, 500), Handled.NeedsAll, 'its text is kept');
});

test('a rejected Parse skips the messages after it up to the Sync', () => {
  const stage = new Stage({ decisions: { app: [rejection] } });
  const parse = message(Frontend.Parse, 's', 'select 1', Buffer.alloc(2));
  assert.equal(stage.take(parse), Handled.Done);
  assert.equal(shown(stage.toClient.written), 'E(42501)');
  assert.equal(stage.client.intake.isSkipping, true);
  assert.equal(stage.client.statements.named.find('s'), undefined);
});

test('a text that a client prepares under two names is prepared once on the server', () => {
  const stage = new Stage({});
  const parse = (name: string): Buffer => message(Frontend.Parse, name, 'select 1', Buffer.alloc(2));
  assert.equal(stage.take(parse('a')), Handled.Done);
  stage.client.outstanding.reply(Backend.ParseComplete);
  assert.equal(stage.take(parse('b')), Handled.Done);
  assert.equal(shown(stage.toServer.written), 'P');
  assert.equal(shown(stage.toClient.written), '1', 'the proxy answers the second Parse');
});
