/** Versions that serve by command, whatever a tenant's files hold: ROLLBACK, PROMOTE and RESUME. */
import type { SourceFiles } from '../build/bundle-job.ts';
import type { Pin, VersionKey } from '../store/version-record.ts';
import type { AskedBy } from './asked-by.ts';
import type { TenantContext } from './context.ts';
import { RolloutError } from './rollout.ts';
import type { TrialResult } from './trials.ts';
import type { Version } from './version.ts';

export interface PinningOptions {
  readonly key: VersionKey;
  readonly context: Pick<TenantContext, 'store' | 'targets' | 'fleet'>;
  /** the tenant's files */
  readonly files: () => SourceFiles;
  /** The pinned version is to serve. @returns why it can't; null: it serves */
  readonly servePinned: () => Promise<string | null>;
  /** The version that is pinned now, or that of the files, is loaded if none serves. */
  readonly load: () => void;
  /** Lets a version serve that has passed its trial. */
  readonly install: (version: Version) => Promise<TrialResult | null>;
  /** A canary, if there is one, ends. @param why for people */
  readonly endCanary: (why: string) => void;
  /** The tenant's files are not a candidate any more: they are about to serve. */
  readonly withdraw: () => void;
}

export class Pinning {
  readonly #options: PinningOptions;
  /** ROLLBACK, PROMOTE and the end of a pin: one after the other, because each depends on what the last one has pinned */
  #changing: Promise<unknown> = Promise.resolve();

  constructor(options: PinningOptions) {
    this.#options = options;
  }

  /** Why an administrator of the tenant must not change which version its clients have; null: it is allowed. */
  refusalOf({ by }: AskedBy): string | null {
    const { context, files } = this.#options;
    if (by === 'operator') return null;
    if (this.#pin?.by === 'operator') return 'an operator has pinned another version';
    const hasOperators = context.targets.operatorsIn(files()) !== '';
    return hasOperators ? "a function of the operator's runs together with the tenant's" : null;
  }

  /** ROLLBACK: a version serves, whatever the files hold. @returns why it can't; null: it serves, and is pinned */
  rollBack(pin: Pin & AskedBy): Promise<string | null> {
    const { servePinned, load, endCanary } = this.#options;
    return this.#inTurn(async () => {
      const refusal = this.refusalOf(pin);
      if (refusal !== null) return refusal;
      endCanary('another version was fixed by ROLLBACK');
      const complaint = await this.#serve(pin, servePinned, (why) => why === null);
      // calls wait for another version, if none was loaded
      if (complaint !== null) load();
      else this.#options.context.fleet.noteChange(this.#options.key, null, pin.user);
      return complaint;
    });
  }

  /** Another proxy of the fleet has let a version serve. @returns why it can't serve here; null: it does */
  follow(pin: Pin): Promise<string | null> {
    const { servePinned, load } = this.#options;
    return this.#inTurn(async () => {
      const complaint = await this.#serve(pin, servePinned, (why) => why === null);
      if (complaint !== null) load();
      return complaint;
    });
  }

  /** The fleet leaves it to each proxy's files which version serves. */
  unfollow(): Promise<void> {
    return this.#inTurn(() => {
      this.#set(null);
      this.#options.withdraw();
      return Promise.resolve();
    });
  }

  /**
   * PROMOTE: a candidate serves from now on. It is pinned, unless the files hold it.
   * @returns null: the tenant has gone
   * @throws RolloutError
   */
  promote(candidate: Version, isOfFiles: boolean, asked: AskedBy): Promise<TrialResult | null> {
    const { install } = this.#options;
    const { number } = candidate.record;
    return this.#inTurn(async () => {
      // an operator may have pinned another version meanwhile
      const refusal = this.refusalOf(asked);
      if (refusal !== null) throw new RolloutError(refusal);
      const pin = isOfFiles ? null : { number, ...asked, untilFiles: true };
      const result = await this.#serve(
        pin,
        () => install(candidate),
        (tried) => tried?.kind === 'sound',
      );
      const { context, key } = this.#options;
      if (result?.kind === 'sound') context.fleet.noteChange(key, candidate.hash, asked.user);
      return result;
    });
  }

  /**
   * The files decide again which version serves, once they are loaded again. What an operator has pinned stays for
   * administrators.
   */
  unpin({ by, user }: AskedBy): Promise<void> {
    return this.#inTurn(() => {
      if (by === 'operator' || this.#pin?.by !== 'operator') {
        this.#set(null);
        this.#options.withdraw();
        this.#options.context.fleet.noteChange(this.#options.key, null, user);
      }
      return Promise.resolve();
    });
  }

  /** The files hold the pinned version. */
  caughtUp(): void {
    const { context, key } = this.#options;
    const pin = this.#pin;
    const hash = context.store.history(key.owner).find(({ number }) => number === pin?.number)?.hash ?? null;
    this.#set(null);
    if (pin !== null && pin.by !== 'fleet') context.fleet.noteChange(key, hash, '');
  }

  get #pin(): Pin | null {
    return this.#options.context.store.pinOf(this.#options.key);
  }

  #set(pin: Pin | null): void {
    const { context, key } = this.#options;
    if (pin === null) context.store.unpin(key);
    else context.store.pin(key, pin);
  }

  /** Sets a pin, and lets its version serve. If that fails, the pin of before is set again. */
  async #serve<T>(pin: Pin | null, serve: () => Promise<T>, hasServed: (result: T) => boolean): Promise<T> {
    const before = this.#pin;
    this.#set(pin);
    const result = await serve();
    // the fleet's pin may have been taken away meanwhile, because the files hold its version
    if (!hasServed(result) && this.#pin?.number === pin?.number) this.#set(before);
    return result;
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#changing.then(change);
    this.#changing = turn.catch(() => {});
    return turn;
  }
}
