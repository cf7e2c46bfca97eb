/** What the parts of a cluster's controller use of the proxy. */
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
