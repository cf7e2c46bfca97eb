/** The admin database `pgbouncer`: the simple query protocol, one statement in each Query message. */
import type { Client } from '../session/client.ts';
import { ADMIN_DATABASE } from '../session/state/names.ts';
import type { AdminConsole, Sessions } from '../session/sessions.ts';
import type { Logger } from '../telemetry/log.ts';
import type { DatabaseStats } from '../telemetry/stats.ts';
import { ClientError } from '../wire/errors.ts';
import { BAD_HEADER, frameSize, INCOMPLETE } from '../wire/frame.ts';
import { cString, readyForQuery } from '../wire/messages.ts';
import { Frontend, HEADER_BYTES, TxStatus } from '../wire/protocol.ts';
import { UsageError } from './answers.ts';
import type { AuditTrail } from './audit.ts';
import { consoleErrors } from './errors.ts';
import { limitReached, rightsOf, welcome } from './entrance.ts';
import type { Observe } from './observe.ts';
import { Operator } from './operator.ts';
import { answerTo, invalidCommand } from './statements.ts';
import type { Steer } from './steer.ts';
import { ClientTerminal } from './terminal.ts';

/** Longest statement that is read; a SET of auth_query is the longest useful one. */
const MAX_STATEMENT_BYTES = 64 * 1024;
const READY = readyForQuery(TxStatus.Idle);

/** The parts of the proxy that the console uses. */
export interface ConsoleParts {
  readonly observe: Observe;
  readonly steer: Steer;
  readonly sessions: Sessions;
  /** the console's own row in SHOW STATS */
  readonly stats: DatabaseStats;
  readonly log: Logger;
  readonly audit: AuditTrail;
}

/** A client of the console, and its operator. */
interface Seat {
  readonly client: Client;
  readonly operator: Operator;
}

export class Console implements AdminConsole {
  readonly #parts: ConsoleParts;
  /** clients that are only a tenant's administrators, and can't end a SUSPEND */
  readonly #tenants = new WeakSet<Client>();

  constructor(parts: ConsoleParts) {
    this.#parts = parts;
  }

  /** A client has authenticated: it is welcomed, or refused if it has no rights here. */
  enter(client: Client): void {
    const { sessions, observe, stats } = this.#parts;
    const rights = rightsOf(client, observe.config);
    if (rights === null) return end(client, consoleErrors.notAllowed());
    const refusal = limitReached(client, sessions, observe.config.settings);
    if (refusal !== null) return client.close(refusal.message, refusal);
    sessions.countOnConsole(client);
    if (rights === 'tenant') this.#tenants.add(client);
    const operator = new Operator(new ClientTerminal(client), rights, this.#parts);
    const seat = { client, operator };
    stats.noteLogin((performance.now() - client.connection.since) * 1000);
    welcome(client);
    client.errand.onCancel(() => operator.cancel());
    client.errand.onLeft(() => {
      operator.taken();
      this.#left();
    });
    client.readWith({
      onBytes: (_client, chunk) => {
        client.intake.hold(chunk);
        this.#read(seat);
      },
      resume: () => {
        operator.taken();
        this.#read(seat);
      },
    });
    client.gate.open('login');
    client.socket.resume();
    this.#read(seat);
  }

  #left(): void {
    const { sessions, steer, log } = this.#parts;
    // ends the command that it waited for
    steer.recheck();
    if (!steer.lifecycle.isSuspended) return;
    for (const client of sessions.clients)
      if (client.databaseName === ADMIN_DATABASE && !this.#tenants.has(client)) return;
    // no operator is left to end the SUSPEND, and none can connect: new connections are not read
    log.info({ event: 'resume' }, 'admin disappeared when suspended, doing RESUME');
    steer.resume(null);
  }

  /** Handles the messages that have been received, one after the other. */
  #read(seat: Seat): void {
    const { client, operator } = seat;
    while (
      !operator.isBusy &&
      !operator.isGone &&
      // the client has not taken its last answer
      !client.gate.isHalted
    ) {
      const { held } = client.intake;
      const size = frameSize(held, 0, MAX_STATEMENT_BYTES);
      if (size === BAD_HEADER) return end(client, consoleErrors.incompletePacket());
      if (size === INCOMPLETE || held.length < size) return;
      client.intake.drop(size);
      const payload = held.subarray(HEADER_BYTES, size);
      switch (held[0]) {
        case Frontend.Query: {
          const text = cString(payload, 0);
          if (text === null) return end(client, consoleErrors.incompleteQuery());
          this.#execute(seat, text.text);
          break;
        }
        case Frontend.Terminate:
          return client.close('client close request');
        case Frontend.Parse:
        case Frontend.Bind:
        case Frontend.Execute:
          return this.#refuse(seat, consoleErrors.extendedProtocol());
        default:
          return this.#refuse(seat, consoleErrors.unsupportedPacket(held[0]!));
      }
    }
    if ((operator.isBusy || client.gate.isHalted) && client.intake.held.length > MAX_STATEMENT_BYTES)
      client.socket.pause();
  }

  #refuse({ client }: Seat, error: ClientError): void {
    this.#complain(client, error);
    end(client, consoleErrors.badPacket());
  }

  #execute(seat: Seat, text: string): void {
    const { client, operator } = seat;
    const { stats, log } = this.#parts;
    operator.begin();
    stats.queryCount++;
    stats.xactCount++;
    log.debug({ client: client.id }, `got admin query: ${text}`);
    this.#answer(seat, text).catch((error: unknown) => client.crash(error as Error));
  }

  /** Answers a statement, and continues with the messages after it. */
  async #answer(seat: Seat, text: string): Promise<void> {
    const { client, operator } = seat;
    try {
      const answer = await answerTo(operator, text);
      if (answer === null || operator.isGone) return;
      client.send(Buffer.concat([answer, READY]));
    } catch (error) {
      if (operator.isGone) return;
      if (error instanceof ClientError) this.#complain(client, error);
      else if (error instanceof UsageError) this.#complain(client, invalidCommand(text));
      else throw error;
    }
    if (operator.isGone) return;
    operator.finish();
    client.readOn();
    this.#read(seat);
  }

  #complain(client: Client, error: ClientError): void {
    this.#parts.log.error({ client: client.id, sqlstate: error.code }, error.message);
    client.logPoolerError(error);
    client.send(Buffer.concat([error.encode(), READY]));
  }
}

function end(client: Client, error: ClientError): void {
  client.close(error.message, error);
}
