/**
 * The proxy's lifecycle: one object that knows whether the proxy serves, is paused or suspended, has handed its sockets over,
 * drains or has stopped. steering.ts and proxy.ts move it, everything else reads it.
 * Three things change independently, so each has a table of moves: a paused or suspended proxy can drain (SHUTDOWN
 * WAIT_FOR_CLIENTS waits for RESUME), and a draining one can still hand its sockets over.
 */

/** The proxy's progress from start to end. It never goes back. `draining`: a stop has begun. */
export type Phase = 'starting' | 'serving' | 'draining' | 'stopped';

/** Whether servers are lent to clients (PAUSE), and whether clients and servers are read (SUSPEND). */
export type Traffic = 'flowing' | 'paused' | 'suspended';

/** The owner of the listening sockets: after TAKEOVER another process listens on them, and answers operators. */
export type Sockets = 'own' | 'handed over';

/** The whole state in one word. Only a proxy that is `serving` takes new clients and serves them at once. */
export type LifecycleState = Phase | Exclude<Traffic, 'flowing'> | Exclude<Sockets, 'own'>;

/** The allowed moves. Staying in a state is not a move, and is always allowed. */
export const PHASE_MOVES: Moves<Phase> = {
  starting: ['serving', 'draining', 'stopped'],
  serving: ['draining', 'stopped'],
  draining: ['stopped'],
  stopped: [],
};
export const TRAFFIC_MOVES: Moves<Traffic> = {
  flowing: ['paused', 'suspended'],
  paused: ['flowing'],
  suspended: ['flowing'],
};
export const SOCKET_MOVES: Moves<Sockets> = {
  own: ['handed over'],
  'handed over': ['own'],
};

type Moves<State extends string> = Readonly<Record<State, readonly State[]>>;

/** A bug in the proxy: after this move its parts would contradict each other. */
export class IllegalMove extends Error {
  constructor(from: string, to: string) {
    super(`the proxy cannot go from ${from} to ${to}`);
  }
}

/** The lifecycle as the other parts of the proxy read it. */
export interface LifecycleView {
  readonly state: LifecycleState;
  readonly traffic: Traffic;
  /** No server is lent. */
  readonly isPaused: boolean;
  /** Only the console's clients are read. */
  readonly isSuspended: boolean;
  /** A stop has begun, and may wait for clients or servers. */
  readonly isStopping: boolean;
  /** Everything is being closed, or is closed: no server is opened any more. */
  readonly isStopped: boolean;
  readonly isHandedOver: boolean;
  /** New clients are refused, except for operators. */
  readonly refusesNewcomers: boolean;
  /** A stop has been asked for and will begin soon (shutdown_delay): load balancers should send new clients elsewhere. */
  readonly isLeaving: boolean;
  /** Clients that wait for a server are disconnected, and RESUME does not end a PAUSE. */
  readonly endsWaiting: boolean;
}

export class Lifecycle implements LifecycleView {
  #phase: Phase = 'starting';
  #traffic: Traffic = 'flowing';
  #sockets: Sockets = 'own';
  #refusesNewcomers = false;
  #isLeaving = false;
  #endsWaiting = false;

  get state(): LifecycleState {
    if (this.isStopping) return this.#phase;
    if (this.#sockets === 'handed over') return 'handed over';
    return this.#traffic === 'flowing' ? this.#phase : this.#traffic;
  }

  get traffic(): Traffic {
    return this.#traffic;
  }

  get isPaused(): boolean {
    return this.#traffic === 'paused';
  }

  get isSuspended(): boolean {
    return this.#traffic === 'suspended';
  }

  get isStopping(): boolean {
    return this.#phase === 'draining' || this.#phase === 'stopped';
  }

  get isStopped(): boolean {
    return this.#phase === 'stopped';
  }

  get isHandedOver(): boolean {
    return this.#sockets === 'handed over';
  }

  get refusesNewcomers(): boolean {
    return this.#refusesNewcomers;
  }

  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  get endsWaiting(): boolean {
    return this.#endsWaiting;
  }

  /** Everything is set up. @throws IllegalMove if a stop has begun */
  serve(): void {
    this.#phase = moved(PHASE_MOVES, this.#phase, 'serving');
  }

  /** PAUSE. @throws IllegalMove during SUSPEND */
  pause(): void {
    this.#traffic = moved(TRAFFIC_MOVES, this.#traffic, 'paused');
  }

  /** SUSPEND. @throws IllegalMove during PAUSE */
  suspend(): void {
    this.#traffic = moved(TRAFFIC_MOVES, this.#traffic, 'suspended');
  }

  /** RESUME. @throws IllegalMove if a stop waits for servers, which needs its PAUSE */
  resume(): void {
    if (this.#endsWaiting && this.isPaused) throw new IllegalMove('paused', 'flowing');
    this.#traffic = moved(TRAFFIC_MOVES, this.#traffic, 'flowing');
  }

  /** TAKEOVER: from now on another process listens on the sockets. */
  handOver(): void {
    this.#sockets = moved(SOCKET_MOVES, this.#sockets, 'handed over');
  }

  /** The other process has ended before it served. @throws IllegalMove if a stop has begun */
  takeBack(): void {
    if (this.isStopping) throw new IllegalMove(this.#phase, 'own');
    this.#sockets = moved(SOCKET_MOVES, this.#sockets, 'own');
  }

  /** A stop will begin soon. Until then clients are served as before. */
  leave(): void {
    this.#isLeaving = true;
  }

  /**
   * A stop begins, or waits for something else than before. New clients are refused, unless another process has taken over:
   * then those that are still logging in are served like the others.
   */
  drain(waitsFor: 'clients' | 'servers'): void {
    this.#phase = moved(PHASE_MOVES, this.#phase, 'draining');
    if (!this.isHandedOver) this.#refusesNewcomers = true;
    if (waitsFor === 'servers') this.#endsWaiting = true;
  }

  /** From now on everything is closed. */
  stop(): void {
    this.#phase = moved(PHASE_MOVES, this.#phase, 'stopped');
  }
}

function moved<State extends string>(moves: Moves<State>, from: State, to: State): State {
  if (from !== to && !moves[from].includes(to)) throw new IllegalMove(from, to);
  return to;
}
