/** An operator on the console: the rights, and the command that is waited for. */
import type { Logger } from '../telemetry/log.ts';
import type { AuditTrail } from './audit.ts';
import { isTenantAdmin, type Rights } from './entrance.ts';
import { consoleErrors } from './errors.ts';
import type { Observe } from './observe.ts';
import type { Steer } from './steer.ts';
import type { Terminal } from './terminal.ts';

export class Operator {
  readonly terminal: Terminal;
  readonly observe: Observe;
  readonly steer: Steer;
  readonly log: Logger;
  readonly audit: AuditTrail;
  readonly #rights: Rights;
  #isBusy = false;
  /** the effect of a cancel request on the waiting command; null: no command waits */
  #onCancel: (() => void) | null = null;
  #isCanceled = false;
  #onTaken: (() => void) | null = null;

  constructor(
    terminal: Terminal,
    rights: Rights,
    { observe, steer, log, audit }: { observe: Observe; steer: Steer; log: Logger; audit: AuditTrail },
  ) {
    this.terminal = terminal;
    this.#rights = rights;
    this.observe = observe;
    this.steer = steer;
    this.log = log;
    this.audit = audit;
  }

  /** A statement is being executed; the next one waits for its end. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** A statement begins. */
  begin(): void {
    this.#isBusy = true;
    this.terminal.began();
  }

  /** The statement is answered. */
  finish(): void {
    this.#isBusy = false;
    this.terminal.finished();
  }

  /** The client has left. */
  get isGone(): boolean {
    return this.terminal.isGone;
  }

  /** Every command is possible. */
  get isAdmin(): boolean {
    return this.#rights === 'admin';
  }

  /** Only a tenant's administrator: nothing is possible but what concerns that tenant's functions. */
  get isTenants(): boolean {
    return this.#rights === 'tenant';
  }

  /** @throws ClientError */
  requireAdmin(): void {
    if (!this.isAdmin) throw this.isTenants ? consoleErrors.permissionDenied() : consoleErrors.adminNeeded();
  }

  /** Whether a tenant's functions may be reloaded, paused and resumed: as of the configuration that is in force now. */
  mayManage(tenant: string): boolean {
    return this.isAdmin || isTenantAdmin(this.terminal.user, tenant, this.observe.config);
  }

  /** Whether a tenant's rows are shown. */
  sees(tenant: string): boolean {
    return !this.isTenants || this.mayManage(tenant);
  }

  /**
   * Waits until a condition on the servers holds, or until the client leaves.
   * @param onCancel the effect of Ctrl-C besides ending the wait
   * @throws ClientError if it was canceled
   */
  async waitUntil(condition: () => boolean, onCancel: () => void = () => {}): Promise<void> {
    await this.waitFor(
      this.steer.untilServers(() => this.#isCanceled || this.isGone || condition()),
      onCancel,
    );
  }

  /** Waits for a promise. @param onCancel lets it resolve, or the `recheck` that follows does */
  async waitFor(done: Promise<void>, onCancel: () => void): Promise<void> {
    this.#onCancel = onCancel;
    await done;
    this.#onCancel = null;
    if (!this.#isCanceled) return;
    this.#isCanceled = false;
    throw consoleErrors.canceled();
  }

  /** Resolves when the client has taken its bytes, or has left; at once if little is unsent. */
  async untilTaken(): Promise<void> {
    if (!this.terminal.isHalted || this.isGone) return;
    await new Promise<void>((resolve) => {
      this.#onTaken = resolve;
    });
  }

  /** The client has taken its bytes, or has left. */
  taken(): void {
    this.#onTaken?.();
    this.#onTaken = null;
  }

  /** A cancel request for this client has arrived. */
  cancel(): void {
    if (this.#onCancel === null) {
      this.log.warn(`${this.terminal.label} admin cancel request for non-waiting client?`);
      return;
    }
    this.#isCanceled = true;
    this.#onCancel();
    this.steer.recheck();
  }
}
