/** Resource use of a process and its descendants, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { startupMessage } from '../src/wire/messages.ts';

const TICKS_A_SECOND = 100;

function stat(pid: number): { parent: number; cpuTicks: number } | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // the command's name may hold blanks and parentheses
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(fields[1]), cpuTicks: Number(fields[11]) + Number(fields[12]) };
  } catch {
    return null;
  }
}

/** A process and all its descendants. */
export function familyOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const entry = /^\d+$/.test(name) ? stat(Number(name)) : null;
    if (entry) parents.set(Number(name), entry.parent);
  }
  const family = [pid];
  for (let i = 0; i < family.length; i++) {
    for (const [child, parent] of parents) if (parent === family[i]) family.push(child);
  }
  return family;
}

/** User and system time of a family, in ms. */
export function cpuMs(pid: number): number {
  return familyOf(pid).reduce((sum, each) => sum + ((stat(each)?.cpuTicks ?? 0) * 1000) / TICKS_A_SECOND, 0);
}

/** Resident memory of a family, in KB. */
export function rssKb(pid: number): number {
  return familyOf(pid).reduce((sum, each) => sum + ownRssKb(each), 0);
}

/** Resident memory of one process, in KB; 0: it has ended. */
export function ownRssKb(pid: number): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Proportional set size of one process, in KB: pages that several processes share count in parts. */
export function pssKb(pid: number): number {
  try {
    return Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

/** Logs in clients that then do nothing; returns a function that ends them. */
export async function idleClients(port: number, count: number): Promise<() => void> {
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i++) sockets.push(await logIn(port));
  return () => sockets.forEach((socket) => socket.destroy());
}

function logIn(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let last = Buffer.alloc(0);
    socket.on('error', reject);
    socket.on('connect', () =>
      socket.write(
        startupMessage(0x30000, [
          ['user', 'postgres'],
          ['database', 'bench'],
        ]),
      ),
    );
    socket.on('data', (chunk: Buffer) => {
      last = Buffer.concat([last, chunk]).subarray(-6);
      // ReadyForQuery
      if (last[0] === 0x5a) resolve(socket);
    });
    socket.on('close', () => reject(new Error(`the pooler on port ${port} closed an idle client`)));
  });
}
