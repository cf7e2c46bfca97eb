/**
 * A share of a tenant's clients has the candidate, the others the serving version. The two are compared every second, until
 * the candidate is worse, has proved itself, or somebody ends the comparison.
 */
import type { Clock } from '../../platform/clock.ts';
import type { CanarySnapshot } from '../../telemetry/snapshots/rollout.ts';
import { CANARY } from '../limits.ts';
import { Arm, className, type Counted, type Tally, type TallySums } from './arm.ts';
import { ALL, placeOf } from './share.ts';
import { isEnough, worseBy } from './tolerance.ts';

/** What was counted since the canary began. */
export interface CanaryCounts {
  /** how long the two versions have been compared, in ms */
  readonly lastsMs: number;
  readonly serving: TallySums;
  readonly candidate: TallySums;
}

export interface CanaryOptions {
  /** one that is never set */
  readonly clock: Clock;
  /** of all clients, up to 100 */
  readonly percent: number;
  /** of the tenant (share.ts) */
  readonly salt: number;
  /** The number that a client's place is found by. */
  readonly keyOf: (clientId: number) => number;
  /** The candidate is to serve when it has proved itself. */
  readonly isPromoted: boolean;
  /** canary_tolerance, in percent, and canary_duration, in ms */
  readonly limits: () => { readonly tolerance: number; readonly durationMs: number };
  /** The candidate is worse. @param reason for people */
  readonly onWorse: (reason: string) => void;
  /** It was not worse for canary_duration. Called again and again until somebody ends the canary. */
  readonly onProven: () => void;
}

export class Canary {
  readonly #options: CanaryOptions;
  readonly #largestPlace: number;
  #serving = new Arm();
  #candidate = new Arm();
  #begunAt: number;
  #isEnded = false;
  #cancel = (): void => {};

  constructor(options: CanaryOptions) {
    this.#options = options;
    this.#largestPlace = (options.percent / 100) * ALL;
    this.#begunAt = options.clock.now();
    this.#lookLater();
  }

  get percent(): number {
    return this.#options.percent;
  }

  get isPromoted(): boolean {
    return this.#options.isPromoted;
  }

  /** Whether a client has the candidate. */
  has(clientId: number): boolean {
    const { keyOf, salt } = this.#options;
    return placeOf(keyOf(clientId), salt) < this.#largestPlace;
  }

  /** Other code serves, or is the candidate: the comparison begins again. */
  restart(): void {
    this.#serving = new Arm();
    this.#candidate = new Arm();
    this.#begunAt = this.#options.clock.now();
  }

  /** What was counted, to be continued after a restart. */
  get counts(): CanaryCounts {
    return {
      lastsMs: this.#options.clock.now() - this.#begunAt,
      serving: this.#serving.total.sums,
      candidate: this.#candidate.total.sums,
    };
  }

  /** Continues with what was counted before a restart. */
  restore({ lastsMs, serving, candidate }: CanaryCounts): void {
    this.restart();
    this.#serving.restore(serving);
    this.#candidate.restore(candidate);
    this.#begunAt -= lastsMs;
  }

  noteCall(call: Counted): void {
    this.#armOf(call.clientId).noteCall(call, this.#options.clock.now());
  }

  /** A server has answered a query of a client. @param errorClass as in Arm.noteAnswer */
  noteAnswer(clientId: number, errorClass: number): void {
    this.#armOf(clientId).noteAnswer(clientId, errorClass, this.#options.clock.now());
  }

  end(): void {
    this.#isEnded = true;
    this.#cancel();
  }

  observe(): CanarySnapshot {
    const { clock, limits } = this.#options;
    return {
      percent: this.percent,
      isPromoted: this.isPromoted,
      lastsMs: clock.now() - this.#begunAt,
      durationMs: limits().durationMs,
      serving: armSnapshot(this.#serving),
      candidate: armSnapshot(this.#candidate),
    };
  }

  #armOf(clientId: number): Arm {
    return this.has(clientId) ? this.#candidate : this.#serving;
  }

  #lookLater(): void {
    this.#cancel = this.#options.clock.after(CANARY.lookMs, () => {
      this.#look();
      if (!this.#isEnded) this.#lookLater();
    });
  }

  #look(): void {
    const { clock, limits, onWorse, onProven } = this.#options;
    const { tolerance, durationMs } = limits();
    const now = clock.now();
    const [serving, candidate] = [this.#serving.total, this.#candidate.total];
    const reason =
      worseBy(this.#serving.recent(now), this.#candidate.recent(now), tolerance) ??
      worseBy(serving, candidate, tolerance);
    if (reason !== null) onWorse(reason);
    else if (now - this.#begunAt >= durationMs && isEnough(serving, candidate)) onProven();
  }
}

function armSnapshot({ total, clients }: Arm): CanarySnapshot['serving'] {
  return {
    clients,
    calls: total.calls,
    failures: total.failures,
    rejections: total.rejections,
    meanUs: total.meanUs,
    answers: total.answers,
    errors: errorsOf(total),
  };
}

/** By class of SQLSTATE. */
function errorsOf({ errors }: Tally): Readonly<Record<string, number>> {
  return Object.fromEntries([...errors].map(([errorClass, count]) => [className(errorClass), count]));
}
