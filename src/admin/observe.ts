/** The console's view: snapshots of each part of the proxy, and the configuration in force. */
import type { Config } from '../config/config.ts';
import type { LifecycleView } from '../lifecycle.ts';
import type { ObserveFleet } from '../telemetry/snapshots/fleet.ts';
import type { ObserveFunctions } from '../telemetry/snapshots/functions.ts';
import type { ObservePools } from '../telemetry/snapshots/pools.ts';
import type { DescriptorSnapshot, ObserveSessions } from '../telemetry/snapshots/sessions.ts';
import type { ObserveStatistics, TracesSnapshot } from '../telemetry/snapshots/statistics.ts';
import type { ObserveSwitchovers } from '../telemetry/snapshots/switchovers.ts';

export interface Observe {
  readonly sessions: ObserveSessions;
  readonly pools: ObservePools;
  readonly functions: ObserveFunctions;
  readonly switchovers: ObserveSwitchovers;
  readonly fleet: ObserveFleet;
  readonly statistics: ObserveStatistics;
  /** the configuration in force; it is replaced as a whole and never changed */
  readonly config: Config;
  readonly lifecycle: Pick<LifecycleView, 'state' | 'traffic' | 'isLeaving'>;
  /** The number of traced queries. */
  traces(): TracesSnapshot;
  /** The open listening sockets. */
  listeners(): DescriptorSnapshot[];
}
