/**
 * `ctx`: the facts that a user function gets beside the query. A new field is declared here, with its value in BLANK_CONTEXT,
 * and gets its value where clients ask their functions (src/session/query/decide.ts). It crosses into the isolate with all
 * others, as JSON.
 */

/** Frozen, with everything in it. */
export interface RoutingContext {
  /** the database whose pool the client is in now */
  readonly database: string;
  /**
   * the database that the client logged in to: the entry of [databases], even if the client said `dev@readers`. A routing
   * function that returns it takes the client back there
   */
  readonly login_database: string;
  /** the databases that a routing function may name */
  readonly databases: readonly string[];
  /** the nodes of the cluster that the client is in (topology_query); empty if none is watched */
  readonly nodes: readonly ClusterNode[];
}

/** A server of a cluster, as its last probe saw it. */
export interface ClusterNode {
  /** the name that a routing function returns to go to this server: `dev@10.0.0.7:5432` */
  readonly name: string;
  /** `unknown`: it does not answer, or is fenced off */
  readonly role: 'writer' | 'reader' | 'unknown';
  /**
   * `serving`: the writer. `ready`: a reader. `paused`: a reader whose replay was paused. `recovering`: not read from yet,
   * after a failure or before it has followed the writer. `orphaned`: it does not follow the writer and never will by itself;
   * its data are outdated. `fenced`: a writer of the past. `alias`: another address of the writer. `asked`: it has not
   * answered yet. `failed`: it does not answer.
   */
  readonly state:
    | 'serving'
    | 'ready'
    | 'paused'
    | 'recovering'
    | 'orphaned'
    | 'fenced'
    | 'alias'
    | 'asked'
    | 'failed';
  /** bytes of WAL that the writer has written and a reader has not replayed; null: not known, or not a reader */
  readonly lag_bytes: number | null;
  /** seconds since the writer wrote the oldest byte that a reader has not replayed, 0: none; null: not known, or not a reader */
  readonly lag_seconds: number | null;
}

/** The context of calls that no client makes, such as the trial call of a new version. */
export const BLANK_CONTEXT: RoutingContext = {
  database: '',
  login_database: '',
  databases: [],
  nodes: [],
};
