/** The console's view: snapshots of each part of the proxy, and the configuration in force. */
import type { Config } from '../config/config.ts';
import type { LifecycleView } from '../lifecycle.ts';
import type {
  DescriptorSnapshot,
  ObserveFleet,
  ObserveFunctions,
  ObservePools,
  ObserveSessions,
  ObserveStatistics,
  ObserveSwitchovers,
  TracesSnapshot,
} from '../telemetry/snapshot.ts';

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
