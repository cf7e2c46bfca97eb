/** Times and paths as the console's tables write them. */
import { dirname, relative } from 'node:path';
import { timestamp } from '../telemetry/log.ts';

/** `YYYY-MM-DD HH:MM:SS TZ`. @param atMs ms since 1970 */
export function clockTime(atMs: number): string {
  return timestamp(atMs).replace(/\.\d+/, '');
}

/** Whole seconds of a duration in ms, and the microseconds beside them. */
export function secondsOf(ms: number): number {
  return Math.floor(ms / 1000);
}

export function microsecondsOf(ms: number): number {
  return Math.floor((ms % 1000) * 1000);
}

/** Relative to the folder of the ini file if the path is below that folder. */
export function shortPath(path: string, iniFile: string): string {
  const short = relative(dirname(iniFile), path);
  return path === '' || short === '' || short.startsWith('..') ? path : short;
}
