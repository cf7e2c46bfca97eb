/** The tracked parameters of one server: the values that it reports now, and those that RESET would restore. */
import type { ParameterValues, ServerParameters, TrackedParameters } from './parameters.ts';

export class ServerSettings implements ServerParameters {
  readonly #tracked: TrackedParameters;
  readonly #parameters: ParameterValues = [];
  #reset: ParameterValues = [];
  #defaults: ParameterValues = [];

  constructor(tracked: TrackedParameters) {
    this.#tracked = tracked;
  }

  get parameters(): Readonly<ParameterValues> {
    return this.#parameters;
  }

  get reset(): Readonly<ParameterValues> {
    return this.#reset;
  }

  get defaults(): Readonly<ParameterValues> {
    return this.#defaults;
  }

  /** The value that was reported last; undefined: none, or the parameter is not tracked. */
  value(name: string): string | undefined {
    return this.#parameters[this.#tracked.indexOf(name)];
  }

  /** A ParameterStatus has arrived. */
  note(name: string, value: string): void {
    const index = this.#tracked.indexOf(name);
    if (index >= 0) this.#parameters[index] = this.#tracked.intern(value);
  }

  /** The value may be out of date, and the server reports another one with its next answer. */
  forget(name: string): void {
    const index = this.#tracked.indexOf(name);
    if (index >= 0) this.#parameters[index] = undefined;
  }

  /** The server has logged in: no client has set anything yet. */
  noteLogin(): void {
    this.#reset = [...this.#parameters];
    this.#defaults = [...this.#parameters];
  }

  /** connect_query is done. */
  noteDefaults(): void {
    this.#defaults = [...this.#parameters];
  }

  /** The server's configuration has this value for the parameter at `index`. */
  noteConfigured(index: number, value: string | undefined): void {
    this.#reset[index] = value;
    this.#defaults[index] = value;
  }

  /** RESET has run for parameters that clients do not set: the reported values are those of the configuration. */
  noteReset(client: Readonly<ParameterValues>): void {
    for (const index of this.#tracked.resetBy(client, this))
      this.noteConfigured(index, this.#parameters[index]);
  }
}
