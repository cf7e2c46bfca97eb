import type { Client } from '../session/client.ts';
import { ClientError } from '../wire/errors.ts';
import type { AdminActions } from './actions.ts';

/** An error that a command answers, with pgbouncer's SQLSTATE; the connection stays. */
export function commandError(message: string): ClientError {
  return new ClientError('ERROR', '08P01', message);
}

/** Somebody on the console: what he may do, and the command that he waits for. */
export class Operator {
  readonly client: Client;
  readonly actions: AdminActions;
  /** false: SHOW only (stats_users) */
  readonly isAdmin: boolean;
  /** a statement is being executed; the next one waits for its end */
  isBusy = false;
  /** what a cancel request does to the command that waits; null: none waits */
  #onCancel: (() => void) | null = null;
  #isCanceled = false;
  #onTaken: (() => void) | null = null;

  constructor(client: Client, actions: AdminActions, isAdmin: boolean) {
    this.client = client;
    this.actions = actions;
    this.isAdmin = isAdmin;
  }

  get isGone(): boolean {
    return this.client.state === 'closed';
  }

  /** @throws ClientError */
  requireAdmin(): void {
    if (!this.isAdmin) throw commandError('admin access needed');
  }

  /**
   * Waits for something to become true of the servers, or for the client to leave.
   * @param onCancel what Ctrl-C does besides ending the wait
   * @throws ClientError when it was canceled
   */
  async waitUntil(condition: () => boolean, onCancel: () => void = () => {}): Promise<void> {
    await this.waitFor(
      this.actions.registry.untilServers(() => this.#isCanceled || this.isGone || condition()),
      onCancel,
    );
  }

  /** Waits for a promise that `onCancel`, or another look at the servers, makes come true. */
  async waitFor(done: Promise<void>, onCancel: () => void): Promise<void> {
    this.#onCancel = onCancel;
    await done;
    this.#onCancel = null;
    if (!this.#isCanceled) return;
    this.#isCanceled = false;
    throw new ClientError('ERROR', '57014', 'canceling statement due to user request');
  }

  /** Resolves when the client has taken what it was sent, or has left; at once where little of it is unsent. */
  async untilTaken(): Promise<void> {
    if (!this.client.gate.isHalted || this.isGone) return;
    await new Promise<void>((resolve) => {
      this.#onTaken = resolve;
    });
  }

  /** The client has taken what it was sent, or has left. */
  taken(): void {
    this.#onTaken?.();
    this.#onTaken = null;
  }

  /** A cancel request has come for this client. */
  cancel(): void {
    const { log, registry } = this.actions;
    if (this.#onCancel === null) {
      log.warn(`${this.client.label} admin cancel request for non-waiting client?`);
      return;
    }
    this.#isCanceled = true;
    this.#onCancel();
    registry.recheck();
  }
}
