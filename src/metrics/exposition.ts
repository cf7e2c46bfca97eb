/** Prints families in the text formats of Prometheus and OpenMetrics, in slices, so that clients are served in between. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Registry, type MetricObject } from 'prom-client';
import type { Family } from './family.ts';

export type Format = 'prometheus' | 'openmetrics';

export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  prometheus: Registry.PROMETHEUS_CONTENT_TYPE,
  openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
};

const NO_LABELS = {};

/** Samples that are printed in one turn of the event loop: about a millisecond's worth. */
const SLICE = 1_000;

/** The format for a request's Accept header. */
export function formatFor(accept: string): Format {
  return accept.includes('application/openmetrics-text') ? 'openmetrics' : 'prometheus';
}

/**
 * @param groups makes families; each group is made in a turn of its own
 * @param prefix of all names, without the `_` after it; '': none
 */
export async function print(
  groups: readonly (() => readonly Family[] | Promise<readonly Family[]>)[],
  prefix: string,
  format: Format,
): Promise<string> {
  const printer = new Printer(format);
  const parts: string[] = [];
  for (const group of groups) {
    for (const family of await group())
      for await (const text of printer.slices(family, prefix === '' ? '' : `${prefix}_`)) parts.push(text);
    await nextTurn();
  }
  if (format === 'openmetrics') parts.push('# EOF');
  return `${parts.join('\n')}\n`;
}

class Printer {
  readonly #registry: Registry;
  readonly #isOpen: boolean;

  constructor(format: Format) {
    this.#isOpen = format === 'openmetrics';
    this.#registry = new Registry();
    if (this.#isOpen) this.#registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  }

  async *slices({ name, help, type, samples }: Family, prefix: string): AsyncGenerator<string> {
    // OpenMetrics' name of a counter lacks `_total`, which the library adds to each sample
    const base = prefix + (this.#isOpen && type === 'counter' ? name.replace(/_total$/, '') : name);
    for (let at = 0; at === 0 || at < samples.length; at += SLICE) {
      const values = samples.slice(at, at + SLICE).map(({ labels, value, suffix, le }) => ({
        // the library keeps the text of shared labels, which all families of a group have
        sharedLabels: labels,
        labels: le === undefined ? NO_LABELS : { le },
        value,
        ...(suffix !== undefined && { metricName: base + suffix }),
      }));
      const text = await this.#print({ name: base, help, type, values } as unknown as MetricObject);
      yield at === 0 ? text : withoutHead(text);
      if (samples.length > SLICE) await nextTurn();
    }
  }

  async #print(metric: MetricObject): Promise<string> {
    const { name } = metric as unknown as { readonly name: string };
    this.#registry.registerMetric({ ...metric, get: () => Promise.resolve(metric) } as never);
    const text = await this.#registry.getSingleMetricAsString(name);
    this.#registry.removeSingleMetric(name);
    return text;
  }
}

/** The lines of a family after the first slice: without HELP and TYPE. */
function withoutHead(text: string): string {
  return text.slice(text.indexOf('\n', text.indexOf('\n') + 1) + 1);
}
