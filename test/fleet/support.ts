/** A fleet for tests: a PostgreSQL server as its store, and proxies with short heartbeats. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Client } from 'pg';
import { Bouncer, type BouncerOptions, type Settings } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { cancelRequest, RawClient } from '../support/raw.ts';
import type { Scope } from '../support/scope.ts';

export interface FleetRow {
  readonly [column: string]: unknown;
  readonly name: string;
  readonly state: string;
  readonly store: string;
  readonly peer_id: number | null;
}

/** `pgswitchyard fleet init` with the configuration of a proxy that need not run. */
export async function initFleet(
  bouncer: Bouncer,
  args: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const [program, command] = bouncer.commandLine();
  try {
    const { stdout, stderr } = await promisify(execFile)(
      program,
      [command!, 'fleet', 'init', ...args, bouncer.configFile],
      { env: { ...process.env, ...env } },
    );
    return { code: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout, stderr };
  }
}

/** Settings of a proxy of the fleet whose store is the database `control`. */
export function memberSettings(name: string, more: Settings = {}): Settings {
  return {
    fleet_store: 'postgres:database=control',
    fleet_name: name,
    fleet_heartbeat: 0.2,
    ...more,
  };
}

export interface Member {
  readonly name: string;
  /** where `control` is */
  readonly store: { readonly host: string; readonly port: number };
  readonly settings?: Settings;
  readonly options?: BouncerOptions;
}

/** A proxy of a fleet, not started yet. Its clients' database is `data`, on `server`. */
export async function prepareMember(
  scope: Scope,
  server: Cluster,
  { name, store, settings = {}, options = {} }: Member,
): Promise<Bouncer> {
  return await Bouncer.prepare(scope, {
    ...options,
    databases: {
      data: server.connectionString(),
      control: `host=${store.host} port=${store.port} dbname=postgres user=postgres`,
      ...options.databases,
    },
    settings: memberSettings(name, settings),
  });
}

/** The rows of SHOW FLEET, but the one with the sums. */
export async function fleetOf(bouncer: Bouncer): Promise<FleetRow[]> {
  const rows = await bouncer.admin<FleetRow>('SHOW FLEET');
  return rows.filter(({ name }) => name !== '(all)');
}

/** `a serving, b away`, by name. */
export async function statesIn(bouncer: Bouncer): Promise<string> {
  const rows = await fleetOf(bouncer);
  return rows
    .map(({ name, state }) => `${name} ${state}`)
    .toSorted()
    .join(', ');
}

/** Sends a cancel request for a client of `pg` to a proxy that may not know it. @returns when it has been dealt with */
export async function cancelThrough(bouncer: Bouncer, client: Client): Promise<void> {
  const { processID, secretKey } = client as unknown as { processID: number; secretKey: number };
  const secret = Buffer.alloc(4);
  secret.writeInt32BE(secretKey);
  const raw = await RawClient.connect({ port: bouncer.port });
  raw.send(cancelRequest(processID, secret));
  await raw.readToEnd();
}
