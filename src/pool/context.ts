/** Shared by all parts of the proxy, read-only: the configuration, the log and the counters of connections. */
import type { Config } from '../config/config.ts';
import type { Settings } from '../config/options.ts';
import type { Logger } from '../telemetry/log.ts';
import { IdCounter } from '../telemetry/id-counter.ts';
import { TrackedParameters } from './parameters.ts';

/** Handed down from the proxy. No part keeps a copy of `config`: RELOAD and SET replace it. */
export class Context {
  readonly log: Logger;
  /** Numbers for clients, servers and cancel requests, as the log shows them. */
  readonly ids = new IdCounter();
  /** The parameters that follow a client from server to server; track_extra_parameters needs a restart. */
  readonly tracked: TrackedParameters;
  #config: Config;

  constructor(config: Config, log: Logger) {
    this.#config = config;
    this.log = log;
    this.tracked = new TrackedParameters(config.settings.track_extra_parameters);
  }

  /** The configuration as the last RELOAD or SET left it. */
  get config(): Config {
    return this.#config;
  }

  get settings(): Settings {
    return this.#config.settings;
  }

  /** Replaces the configuration (RELOAD, SET). Only the proxy calls this. */
  configure(config: Config): void {
    this.#config = config;
  }
}
