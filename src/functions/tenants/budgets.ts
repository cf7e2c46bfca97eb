/** The budgets of all tenants, by name: all sets of files of a tenant share one. */
import { monotonicClock, type Clock } from '../../platform/clock.ts';
import { printable } from '../build/places.ts';
import { Budget, type Overrun } from '../decide/budget.ts';
import { payerOf } from './identity.ts';
import type { FunctionLog } from './journal.ts';
import type { FunctionsConfig } from './settings.ts';

export class Budgets {
  readonly #log: FunctionLog;
  readonly #clock: Clock;
  readonly #budgets = new Map<string, Budget>();
  #config: FunctionsConfig;

  /** @param clock one that is never set */
  constructor(config: FunctionsConfig, log: FunctionLog, clock: Clock = monotonicClock) {
    this.#config = config;
    this.#log = log;
    this.#clock = clock;
  }

  /** A tenant's budget, which its candidate shares. It stays the tenant's, whatever happens to its files. */
  of(name: string): Budget {
    const owner = payerOf(name);
    let budget = this.#budgets.get(owner);
    if (budget === undefined) {
      budget = new Budget(this.#clock, {
        onBegun: (limit) => this.#begun(owner, limit),
        onEnded: (overrun) => this.#ended(owner, overrun),
      });
      this.#budgets.set(owner, budget);
      this.#limit(owner, budget);
    }
    return budget;
  }

  /** Limits may have changed. */
  configure(config: FunctionsConfig): void {
    this.#config = config;
    for (const [owner, budget] of this.#budgets) this.#limit(owner, budget);
  }

  #limit(owner: string, budget: Budget): void {
    const { cpu_limit: limit, timeout } = this.#config.tenantConfig(owner);
    const { user_function_cpu_limit: general, user_function_timeout: deadlineMs } = this.#config.settings;
    budget.configure(limit ?? general, timeout ?? deadlineMs);
  }

  #begun(owner: string, limit: number): void {
    const name = printable(owner);
    this.#log.warn(
      { event: 'over_budget', tenant: name, limit },
      `user functions of the tenant ${name} are over their CPU budget (${limit} ms in a second): calls wait, or fail, until it has been refilled`,
    );
  }

  #ended(owner: string, { tookMs, refused, waited }: Overrun): void {
    const name = printable(owner);
    this.#log.info(
      { event: 'within_budget', tenant: name, refused, waited },
      `user functions of the tenant ${name} are within their CPU budget again, after ${Math.ceil(tookMs / 1000)} s: ${refused} calls failed, ${waited} calls waited`,
    );
  }
}
