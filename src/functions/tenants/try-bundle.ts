/** The trial of a bundle without a proxy, with the limits that hold where the configuration names none. */
import { OPTIONS } from '../../config/options.ts';
import type { Bundle, SourceFiles } from '../build/bundle-job.ts';
import { placed, positionsOf, printable } from '../build/places.ts';
import { entryOf } from '../build/sources.ts';
import { InlineHost } from '../sandbox/inline-host.ts';
import { preludeScript } from '../sandbox/programs.ts';
import type { CheckedWith, TrialFindings } from '../store/version-record.ts';
import { checkedWith } from './checked-with.ts';
import { tryVersion } from './trials.ts';

export type TriedBundle =
  | { readonly kind: 'sound'; readonly findings: TrialFindings; readonly conditions: CheckedWith }
  /** with file, line and column, if they are known */
  | { readonly kind: 'refused'; readonly message: string };

/** Runs it in this process, as inline isolation does. */
export async function tryBundle(bundle: Bundle, files: SourceFiles): Promise<TriedBundle> {
  const settings = {
    timeoutMs: OPTIONS.user_function_timeout.initial,
    memoryLimitMb: OPTIONS.user_function_memory_limit.initial,
    maxResult: OPTIONS.user_function_max_result.initial,
  };
  const host = new InlineHost(preludeScript(), () => {});
  const result = await tryVersion(host, { id: 1, code: bundle.code, databases: [], ...settings });
  host.dispose(1);
  if (result.kind === 'sound') {
    const { manifest, route } = result;
    return {
      kind: 'sound',
      findings: { manifest, route },
      conditions: checkedWith({ ...settings, isolation: 'inline' }),
    };
  }
  const { message, stack } = result.failure;
  const place = positionsOf(bundle.map, entryOf(files)).find(stack);
  return { kind: 'refused', message: printable(`${placed(place)}${message}`) };
}
