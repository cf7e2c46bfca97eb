/** The number of descriptors that this process has open, and its limit for them. */
import { readdir, readFile, stat } from 'node:fs/promises';

/** NaN: unknown, as where there is no /proc. */
export interface DescriptorCount {
  readonly open: number;
  readonly limit: number;
}

export async function observeDescriptors(): Promise<DescriptorCount> {
  const [open, limit] = await Promise.all([countOpen(), readLimit()]);
  return { open, limit };
}

async function countOpen(): Promise<number> {
  try {
    // Linux 6.2 and later say it without listing them all
    const { size } = await stat('/proc/self/fd');
    return size > 0 ? size : (await readdir('/proc/self/fd')).length;
  } catch {
    return NaN;
  }
}

async function readLimit(): Promise<number> {
  try {
    const [, soft] = /^Max open files +(\d+)/m.exec(await readFile('/proc/self/limits', 'latin1')) ?? [];
    return soft === undefined ? Infinity : Number(soft);
  } catch {
    return NaN;
  }
}
