import {
  NO_PROCESS,
  STOPPING,
  type CallFailure,
  type LoadResult,
  type SandboxHost,
  type VersionCode,
} from './host.ts';

export interface TrialResult {
  readonly result: LoadResult;
  /** null: the version can serve */
  readonly failure: CallFailure | null;
}

/** Loads a version, and has it answer a call before it serves. A version that can't is not left in the host. */
export async function tryVersion(host: SandboxHost, version: VersionCode): Promise<TrialResult> {
  const result = await host.load(version);
  if (!result.startsWith('ok')) {
    const [message = '', stack = ''] = result.split('\u0001');
    const isOwn = !message.startsWith(NO_PROCESS) && message !== STOPPING;
    return { result, failure: { outcome: isOwn ? 'threw' : 'overloaded', message, stack } };
  }
  const failure = await trialCall(host, version);
  if (failure !== null) host.dispose(version.id);
  return { result, failure };
}

function trialCall(host: SandboxHost, version: VersionCode): Promise<CallFailure | null> {
  const call = {
    username: 'pgswitchyard',
    query: 'SELECT 1',
    inTransaction: false,
    database: version.databases[0] ?? '',
  };
  return new Promise((resolve) => {
    host.evaluate(version.id, [call], ([answer]) => {
      for (const part of [answer?.rewrite, answer?.route]) {
        if (part && 'failure' in part)
          return resolve({ ...part.failure, message: `trial call: ${part.failure.message}` });
      }
      resolve(null);
    });
  });
}
