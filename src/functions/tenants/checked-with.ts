/** The conditions under which versions are bundled and tried now. */
import { programVersion } from '../../platform/program-version.ts';
import type { CheckedWith } from '../store/version-record.ts';
import type { TenantSettings } from './settings.ts';

type Conditions = Pick<TenantSettings, 'timeoutMs' | 'memoryLimitMb' | 'maxResult' | 'isolation'>;

export function checkedWith({ timeoutMs, memoryLimitMb, maxResult, isolation }: Conditions): CheckedWith {
  const { node } = process.versions;
  return { program: programVersion(), node, timeoutMs, memoryLimitMb, maxResult, isolation };
}
