/** A call on its way to a host and back, and the version that it goes to. */
import type { CallFailure, FailureOutcome, HostAnswer, HostCall } from '../sandbox/call.ts';
import type { SandboxHost, VersionCode } from '../sandbox/host.ts';
import type { Manifest } from '../sandbox/load-result.ts';
import type { Decision } from './policy.ts';

/** The version that serves. */
export interface Serving {
  readonly id: number;
  readonly code: VersionCode;
  readonly host: SandboxHost;
  readonly manifest: Manifest;
}

export interface Pending {
  readonly call: HostCall;
  /** null: it has been called, or nobody waits for the answer any more */
  done: ((decision: Decision) => void) | null;
  /** The call is only made to check a remembered decision: its answer goes there, and nothing else depends on it. */
  readonly onChecked?: (answer: HostAnswer) => void;
  /** when the call arrived, by performance.now() */
  readonly since: number;
  /** it was in a batch that got no answer at all */
  isAlone: boolean;
  /** it has been counted among the calls that wait for the budget */
  isHeld: boolean;
  /** why it could not be made when it was last sent; null: it has not been sent, or is on its way */
  trouble: CallFailure | null;
}

export function newPending(
  call: HostCall,
  done: (decision: Decision) => void,
  onChecked?: (answer: HostAnswer) => void,
): Pending {
  const since = performance.now();
  const pending = { call, done, since, isAlone: false, isHeld: false, trouble: null };
  return onChecked === undefined ? pending : { ...pending, onChecked };
}

/** Whether somebody waits for the answer. */
export function isOpen({ done, onChecked, call: { asker } }: Pending): boolean {
  return done !== null && (onChecked !== undefined || asker?.isWaiting !== false);
}

/** The sources and destinations of calls. */
export interface Route {
  /** null: none */
  readonly serving: () => Serving | null;
  /** how a call fails without a version */
  readonly noVersion: () => readonly [outcome: FailureOutcome, message: string];
  /** The host for calls that are too costly to others; null: they run alone, on the same host as the others. */
  readonly apart: () => SandboxHost | null;
  /** Lines that the functions printed in a batch. */
  readonly onPrinted: (text: string) => void;
}

/** @param manifest of the version that was asked, which may no longer serve; null: no version was asked */
export type OnAnswer = (pending: Pending, answer: HostAnswer, manifest: Manifest | null) => void;
