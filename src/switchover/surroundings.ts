/** The parts of the proxy that a cluster's controller uses. */
import type { Context } from '../pool/context.ts';
import type { Directory } from '../pool/directory.ts';
import type { Resolver } from '../pool/resolver.ts';
import type { Turnover } from '../pool/turnover.ts';

export interface Surroundings {
  readonly context: Context;
  readonly resolver: Resolver;
  readonly turnover: Turnover;
  readonly directory: Directory;
}
