import { setImmediate as othersTurn } from 'node:timers/promises';
import { clientLimitReached } from '../pool/limits.ts';
import type { Client } from '../session/client.ts';
import { issueCancelKey } from '../session/link/cancel.ts';
import type { AdminConsole } from '../session/sessions.ts';
import { ADMIN_DATABASE } from '../session/names.ts';
import { ClientError } from '../wire/errors.ts';
import {
  AUTHENTICATION_OK,
  backendKeyData,
  cString,
  parameterStatus,
  readyForQuery,
} from '../wire/messages.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../wire/frame.ts';
import { Frontend, HEADER_BYTES, TxStatus } from '../wire/protocol.ts';
import type { AdminActions } from './actions.ts';
import { COMMANDS, notice, setOption, UsageError } from './commands.ts';
import { parseStatement } from './grammar.ts';
import { HELP } from './help.ts';
import { commandError, Operator } from './operator.ts';
import { commandComplete, dataRow, EMPTY_QUERY_RESPONSE, rowDescription } from './result.ts';
import { notifyTopology, switchOver } from './switchover-commands.ts';
import type { Table } from './table.ts';
import { TABLES } from './tables.ts';
import { PGBOUNCER_VERSION } from './version.ts';

/** Longest statement that is read; a SET of auth_query is the longest that makes sense. */
const MAX_STATEMENT_BYTES = 64 * 1024;
/** Length of the secret in a cancel key: see login.ts. */
const CANCEL_SECRET = { old: 4, v32: 32 };
const READY = readyForQuery(TxStatus.Idle);

const GREETING: readonly (readonly [string, string])[] = [
  ['server_version', `${PGBOUNCER_VERSION}/bouncer`],
  ['client_encoding', 'UTF8'],
  ['server_encoding', 'UTF8'],
  ['DateStyle', 'ISO'],
  ['TimeZone', 'GMT'],
  ['standard_conforming_strings', 'on'],
  ['is_superuser', 'on'],
];

/** What drivers look at or set when they connect, whether or not anybody uses it. */
const FAKED: ReadonlyMap<string, string> = new Map([
  ['client_encoding', 'UTF-8'],
  ['default_transaction_isolation', 'read committed'],
  ['standard_conforming_strings', 'on'],
  ['datestyle', 'ISO'],
  ['timezone', 'GMT'],
  ['extra_float_digits', '2'],
]);

/** The admin database `pgbouncer`: the simple query protocol, one statement in each Query message. */
export class Console implements AdminConsole {
  readonly #actions: AdminActions;

  constructor(actions: AdminActions) {
    this.#actions = actions;
  }

  /** A client has proved who it is: it is welcomed, or refused for want of rights. */
  enter(client: Client): void {
    const isAdmin = this.#rightsOf(client);
    if (isAdmin === null)
      return client.close('not allowed', new ClientError('FATAL', '08P01', 'not allowed'));
    const refusal = this.#limitReached(client);
    if (refusal !== null) return client.close(refusal.message, refusal);
    this.#actions.sessions.countOnConsole(client);
    const operator = new Operator(client, this.#actions, isAdmin);
    this.#welcome(client);
    client.onCancel = () => operator.cancel();
    client.onLeft = () => {
      operator.taken();
      this.#left();
    };
    client.readWith({
      onBytes: (_client, chunk) => {
        client.intake.hold(chunk);
        this.#read(operator);
      },
      resume: () => {
        operator.taken();
        this.#read(operator);
      },
    });
    client.gate.open('login');
    client.socket.resume();
    this.#read(operator);
  }

  /** True: everything; false: SHOW only; null: nothing. */
  #rightsOf(client: Client): boolean | null {
    const { admin_users: admins, stats_users: watchers, auth_type: method } = this.#settings;
    if (client.isOwnProcess || admins.includes(client.user)) return true;
    // Whoever comes in without an identity may look.
    return watchers.includes(client.user) || method === 'any' ? false : null;
  }

  /** The limits for clients are for those who watch: an administrator is never shut out. */
  #limitReached(client: Client): ClientError | null {
    const { admin_users: admins, max_db_client_connections: limit } = this.#settings;
    if (client.isOwnProcess || admins.includes(client.user)) return null;
    const { registry, sessions } = this.#actions;
    const database = { count: sessions.onConsole.size, limit };
    return clientLimitReached(registry.lookUpUser(client.user), database, this.#settings);
  }

  get #settings(): AdminActions['registry']['config']['settings'] {
    return this.#actions.registry.config.settings;
  }

  #welcome(client: Client): void {
    const key = issueCancelKey(client, client.minor >= 2 ? CANCEL_SECRET.v32 : CANCEL_SECRET.old);
    this.#actions.consoleStats.clientLoginCount++;
    client.send(
      Buffer.concat([
        AUTHENTICATION_OK,
        ...GREETING.map(([name, value]) => parameterStatus(name, value)),
        backendKeyData(key.pid, key.secret),
        READY,
      ]),
    );
  }

  #left(): void {
    const { registry, sessions, log } = this.#actions;
    // the command that it waited for, if any, ends
    registry.recheck();
    if (!sessions.suspended) return;
    for (const client of sessions.clients) if (client.databaseName === ADMIN_DATABASE) return;
    // Nobody else could do it: new connections are not read.
    log.info({ event: 'resume' }, 'admin disappeared when suspended, doing RESUME');
    this.#actions.resume();
  }

  /** Handles the messages that are there, one after the other. */
  #read(operator: Operator): void {
    const { client } = operator;
    while (
      !operator.isBusy &&
      !operator.isGone &&
      // what it was answered has not left
      !client.gate.isHalted
    ) {
      const { held } = client.intake;
      const size = frameSize(held, 0, MAX_STATEMENT_BYTES);
      if (size === BAD_HEADER) return end(client, 'incomplete pkt');
      if (size === INCOMPLETE || held.length < size) return;
      client.intake.drop(size);
      const payload = held.subarray(HEADER_BYTES, size);
      switch (held[0]) {
        case Frontend.Query: {
          const text = cString(payload, 0);
          if (text === null) return end(client, 'incomplete query');
          this.#execute(operator, text.text);
          break;
        }
        case Frontend.Terminate:
          return client.close('client close request');
        case Frontend.Parse:
        case Frontend.Bind:
        case Frontend.Execute:
          return this.#refuse(operator, 'extended query protocol not supported by admin console');
        default:
          return this.#refuse(operator, `unsupported packet type for admin console: ${held[0]}`);
      }
    }
    if ((operator.isBusy || client.gate.isHalted) && client.intake.held.length > MAX_STATEMENT_BYTES)
      client.socket.pause();
  }

  #refuse(operator: Operator, message: string): void {
    this.#complain(operator, commandError(message));
    end(operator.client, 'bad packet');
  }

  #execute(operator: Operator, text: string): void {
    const { client } = operator;
    const { consoleStats: stats, log } = this.#actions;
    operator.isBusy = true;
    client.clock.noteConsoleRequest(performance.now());
    stats.queryCount++;
    stats.xactCount++;
    log.debug({ client: client.id }, `got admin query: ${text}`);
    answerTo(operator, text)
      .then(
        (answer) => {
          if (answer === null || operator.isGone) return false;
          client.send(Buffer.concat([answer, READY]));
          return true;
        },
        (error: unknown) => {
          if (operator.isGone) return false;
          if (error instanceof ClientError) this.#complain(operator, error);
          else if (error instanceof UsageError)
            this.#complain(operator, commandError(`invalid command '${text}', use SHOW HELP;`));
          else throw error;
          return true;
        },
      )
      .then((isDone) => {
        if (!isDone || operator.isGone) return;
        operator.isBusy = false;
        client.clock.beginIdle(performance.now());
        client.readOn();
        this.#read(operator);
      })
      .catch((error: unknown) => client.crash(error as Error));
  }

  #complain({ client }: Operator, error: ClientError): void {
    this.#actions.log.error({ client: client.id, sqlstate: error.code }, error.message);
    client.logPoolerError(error);
    client.send(Buffer.concat([error.encode(), READY]));
  }
}

function end(client: Client, reason: string): void {
  client.close(reason, new ClientError('FATAL', '08P01', reason));
}

/** @throws ClientError; UsageError when it is no statement of the console's */
async function answerTo(operator: Operator, text: string): Promise<Buffer | null> {
  const statement = parseStatement(text);
  switch (statement.kind) {
    case 'empty':
      return EMPTY_QUERY_RESPONSE;
    case 'unknown':
      throw new UsageError();
    case 'bad arguments':
      throw commandError('bad arguments');
    case 'set':
      if (FAKED.has(statement.key.toLowerCase()))
        return Buffer.concat([notice('SET ignored'), commandComplete('SET')]);
      return await setOption(operator, statement.key, statement.value);
    case 'notify topology':
      return notifyTopology(operator, statement.database);
    case 'switchover':
      return await switchOver(operator, statement);
    case 'command': {
      const { verb, argument } = statement;
      // pgbouncer takes SELECT for SHOW: some tools can't say anything else
      if (verb === 'show' || verb === 'select') return await show(operator, argument.toLowerCase());
      const command = COMMANDS.get(verb);
      if (command === undefined) throw new UsageError();
      return await command(operator, argument);
    }
  }
}

async function show(operator: Operator, name: string): Promise<Buffer | null> {
  const faked = FAKED.get(name);
  if (faked !== undefined) {
    return Buffer.concat([
      rowDescription([{ name, type: 'text' }]),
      dataRow([faked]),
      commandComplete('SHOW'),
    ]);
  }
  if (name === 'help') return Buffer.concat([notice('Console usage', HELP), commandComplete('SHOW')]);
  const table = TABLES.get(name);
  if (table === undefined) throw new UsageError();
  if (table.isForAdmins) operator.requireAdmin();
  return await sendTable(operator, table);
}

/** Rows that are made and sent in one go, before everybody else has their turn. */
const SLICE_ROWS = 100;

/**
 * Sends a table slice by slice: between two of them all other connections are served, and the client must have taken one
 * before the next is made. What becomes of the world meanwhile is the rows' affair.
 * @returns its end, with the rows of the last slice; null: the client has left
 */
async function sendTable(operator: Operator, table: Table): Promise<Buffer | null> {
  const { client, actions } = operator;
  let parts = [rowDescription(table.columns)];
  for (const row of table.rows(actions.observe)) {
    if (parts.length > SLICE_ROWS) {
      client.send(Buffer.concat(parts));
      parts = [];
      await othersTurn();
      await operator.untilTaken();
      if (operator.isGone) return null;
    }
    parts.push(dataRow(row));
  }
  return Buffer.concat([...parts, commandComplete('SHOW')]);
}
