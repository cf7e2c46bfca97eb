/** A call on its way to a host and back, and the version that it is given to. */
import type { FailureOutcome, HostAnswer, HostCall } from '../sandbox/call.ts';
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
  /** null: it has been called */
  done: ((decision: Decision) => void) | null;
  /** when the call came, by performance.now() */
  readonly since: number;
  /** it was in a batch of which nothing was answered */
  isAlone: boolean;
  /** how often it was sent and not run */
  tries: number;
}

/** Where calls come from and go to. */
export interface Route {
  /** null: there is none */
  readonly serving: () => Serving | null;
  /** how a call fails without one */
  readonly noVersion: () => readonly [outcome: FailureOutcome, message: string];
  /** Where calls run that cost others too much; null: alone, but where all others do. */
  readonly apart: () => SandboxHost | null;
  /** The functions have printed this in a batch. */
  readonly onPrinted: (text: string) => void;
}

/** @param manifest of the version that was asked, which may not serve any more; null: none was */
export type OnAnswer = (pending: Pending, answer: HostAnswer, manifest: Manifest | null) => void;
