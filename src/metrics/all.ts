/** All families of metrics, one after the other. */
import type { Observe } from '../admin/observe.ts';
import { observeDescriptors } from '../platform/descriptor-count.ts';
import { clusterFamilies } from './clusters.ts';
import type { EventLoop } from './event-loop.ts';
import type { Family } from './family.ts';
import { fleetFamilies } from './fleet.ts';
import { functionFamilies } from './functions.ts';
import type { Pace } from './pace.ts';
import { databaseFamilies, listFamilies, poolFamilies, statisticsFamilies } from './pooler.ts';
import { processFamilies } from './process.ts';

/**
 * @param loop whose delay since the last time is shown
 * @param pace rests during the work; the caller rests between two families
 */
export async function* allFamilies(observe: Observe, loop: EventLoop, pace: Pace): AsyncGenerator<Family> {
  const { metrics_max_series: most } = observe.config.settings;
  const descriptors = await observeDescriptors();
  const counts = observe.sessions.observe();
  await pace.rest();
  const { tenants } = observe.functions.observe();
  const parts = { counts, pace, most };
  yield* listFamilies(observe, counts);
  yield* databaseFamilies(observe, parts);
  yield* poolFamilies(observe, parts);
  yield* statisticsFamilies(observe, parts);
  yield* functionFamilies(tenants, most);
  yield* clusterFamilies(observe, most);
  yield* fleetFamilies(observe);
  yield* processFamilies(observe, { loop, tenants, descriptors, most });
}
