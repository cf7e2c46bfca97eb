/** Prints families in the text formats of Prometheus and OpenMetrics, in slices, so that clients are served in between. */
import { Registry, type MetricObject } from 'prom-client';
import type { Family } from './family.ts';
import { Pace } from './pace.ts';
import { samplesOf, SERIES } from './times.ts';

export type Format = 'prometheus' | 'openmetrics';

export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  prometheus: Registry.PROMETHEUS_CONTENT_TYPE,
  openmetrics: Registry.OPENMETRICS_CONTENT_TYPE,
};

const NO_LABELS = {};

/** Samples that are printed at once: less than a millisecond's worth. */
const SLICE = 500;
/** The length of a piece of the answer, in characters. */
const PIECE = 64 * 1024;

/** The format for a request's Accept header. */
export function formatFor(accept: string): Format {
  return accept.includes('application/openmetrics-text') ? 'openmetrics' : 'prometheus';
}

/**
 * Prints families as UTF-8, in pieces.
 * @param prefix of all names, without the `_` after it; '': none
 */
export async function print(
  families: AsyncIterable<Family> | Iterable<Family>,
  prefix: string,
  format: Format,
  pace = new Pace(),
): Promise<readonly Buffer[]> {
  const printer = new Printer(format);
  const pieces = new Pieces();
  for await (const family of families)
    for (const text of printer.slices(family, prefix === '' ? '' : `${prefix}_`)) {
      pieces.add(await text);
      await pace.rest();
    }
  if (format === 'openmetrics') pieces.add('# EOF');
  return pieces.end();
}

/** Lines of text, gathered to pieces that are encoded and sent in a moment. */
class Pieces {
  readonly #done: Buffer[] = [];
  #texts: string[] = [];
  #length = 0;

  /** Some lines, without the end of the last one. */
  add(text: string): void {
    this.#texts.push(text);
    this.#length += text.length;
    if (this.#length >= PIECE) this.#encode();
  }

  end(): readonly Buffer[] {
    this.#encode();
    return this.#done;
  }

  #encode(): void {
    if (this.#texts.length > 0) this.#done.push(Buffer.from(`${this.#texts.join('\n')}\n`));
    this.#texts = [];
    this.#length = 0;
  }
}

class Printer {
  readonly #registry: Registry;
  readonly #isOpen: boolean;

  constructor(format: Format) {
    this.#isOpen = format === 'openmetrics';
    this.#registry = new Registry();
    if (this.#isOpen) this.#registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as never);
  }

  *slices(family: Family, prefix: string): Generator<Promise<string>> {
    const { name, help, type } = family;
    // OpenMetrics' name of a counter lacks `_total`, which the library adds to each sample
    const base = prefix + (this.#isOpen && type === 'counter' ? name.replace(/_total$/, '') : name);
    let isFirst = true;
    for (const values of slicesOf(family, base)) {
      const text = this.#print({ name: base, help, type, values } as unknown as MetricObject);
      yield isFirst ? text : text.then(withoutHead);
      isFirst = false;
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

/** The family's samples as the library takes them, in slices; one empty slice if there are none. */
function* slicesOf(family: Family, name: string): Generator<object[]> {
  if (family.type !== 'histogram') {
    const { samples } = family;
    for (let at = 0; at === 0 || at < samples.length; at += SLICE)
      // the library keeps the text of shared labels, which all families of a group have
      yield samples
        .slice(at, at + SLICE)
        .map(({ labels, value }) => ({ sharedLabels: labels, labels: NO_LABELS, value }));
    return;
  }
  const { histograms } = family;
  const step = Math.ceil(SLICE / SERIES);
  for (let at = 0; at === 0 || at < histograms.length; at += step)
    yield histograms.slice(at, at + step).flatMap((each) =>
      samplesOf(each).map(({ labels, le, value, suffix }) => ({
        sharedLabels: labels,
        labels: le === undefined ? NO_LABELS : { le },
        value,
        metricName: name + suffix,
      })),
    );
}

/** The lines of a family after the first slice: without HELP and TYPE. */
function withoutHead(text: string): string {
  return text.slice(text.indexOf('\n', text.indexOf('\n') + 1) + 1);
}
