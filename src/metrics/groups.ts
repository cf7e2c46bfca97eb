/** All families, in groups that are made one after the other. */
import type { Observe } from '../admin/observe.ts';
import { clusterFamilies } from './clusters.ts';
import type { EventLoop } from './event-loop.ts';
import type { FamilyGroup } from './family.ts';
import { fleetFamilies } from './fleet.ts';
import { functionFamilies } from './functions.ts';
import { databaseFamilies, listFamilies, poolFamilies, statisticsFamilies } from './pooler.ts';
import { processFamilies } from './process.ts';

/** @param loop whose delay since the last time is shown */
export function familyGroups(observe: Observe, loop: EventLoop): readonly FamilyGroup[] {
  const { metrics_max_series: most } = observe.config.settings;
  return [
    () => listFamilies(observe),
    () => databaseFamilies(observe, most),
    () => poolFamilies(observe, most),
    () => statisticsFamilies(observe, most),
    () => functionFamilies(observe, most),
    () => clusterFamilies(observe, most),
    () => fleetFamilies(observe),
    () => processFamilies(observe, loop, most),
  ];
}
