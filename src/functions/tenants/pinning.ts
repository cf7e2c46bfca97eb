/** Versions that serve by command, whatever a tenant's files hold: ROLLBACK and PROMOTE. */
import type { SourceFiles } from '../build/bundle-job.ts';
import type { Pin, VersionKey } from '../store/version-record.ts';
import type { AskedBy } from './asked-by.ts';
import type { TenantContext } from './context.ts';

export class Pinning {
  readonly #key: VersionKey;
  readonly #files: () => SourceFiles;
  readonly #context: Pick<TenantContext, 'store' | 'targets'>;
  #changing: Promise<unknown> = Promise.resolve();

  constructor(key: VersionKey, files: () => SourceFiles, context: Pick<TenantContext, 'store' | 'targets'>) {
    this.#key = key;
    this.#files = files;
    this.#context = context;
  }

  /** Why an administrator of the tenant must not change which version its clients have; null: it is allowed. */
  refusalOf({ by }: AskedBy): string | null {
    const { store, targets } = this.#context;
    if (by === 'operator') return null;
    if (store.pinOf(this.#key)?.by === 'operator') return 'an operator has pinned another version';
    const hasOperators = targets.operatorsIn(this.#files()) !== '';
    return hasOperators ? "a function of the operator's runs together with the tenant's" : null;
  }

  /** Whether somebody may end the pin: only an operator, if an operator has set it. */
  mayUnpin(by: AskedBy['by']): boolean {
    return by === 'operator' || this.#context.store.pinOf(this.#key)?.by !== 'operator';
  }

  /** Changes come one after the other, because each depends on what the last one has pinned. */
  inTurn<T>(change: () => Promise<T>): Promise<T> {
    const turn = this.#changing.then(change);
    this.#changing = turn.catch(() => {});
    return turn;
  }

  /**
   * Sets a pin, and lets its version serve. If that fails, the pin of before is set again.
   * @param pin null: the files hold the version, and it needs no pin
   */
  async serve<T>(pin: Pin | null, serve: () => Promise<T>, hasServed: (result: T) => boolean): Promise<T> {
    const before = this.#context.store.pinOf(this.#key);
    this.#set(pin);
    const result = await serve();
    if (!hasServed(result)) this.#set(before);
    return result;
  }

  /** The files decide again which version serves. */
  unpin(): void {
    this.#set(null);
  }

  #set(pin: Pin | null): void {
    if (pin === null) this.#context.store.unpin(this.#key);
    else this.#context.store.pin(this.#key, pin);
  }
}
