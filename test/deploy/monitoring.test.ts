/** The metrics that alerts, the dashboard and the autoscaler use, against what a proxy prints. */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Bouncer } from '../support/bouncer.ts';
import { Cluster } from '../support/cluster.ts';
import { freePort } from '../support/ports.ts';
import { objectsOf } from './schemas.ts';

const DEPLOY = join(import.meta.dirname, '..', '..', 'deploy');
const read = (path: string): string => readFileSync(join(DEPLOY, path), 'utf8');

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}
const dashboard = JSON.parse(read('grafana/dashboard.json')) as { readonly panels: readonly Panel[] };

/** Expressions of every kind, with where they stand. */
function expressions(): Map<string, string> {
  const found = new Map<string, string>();
  for (const { title, targets = [] } of dashboard.panels)
    for (const { expr } of targets) found.set(`panel "${title}": ${expr}`, expr);
  const [rules] = objectsOf(read('kubernetes/components/prometheus/prometheusrule.yaml')) as unknown as [
    { spec: { groups: { rules: { alert: string; expr: string }[] }[] } },
  ];
  for (const { alert, expr } of rules.spec.groups.flatMap((group) => group.rules)) found.set(alert, expr);
  for (const file of globSync(join(DEPLOY, '**', 'scaledobject.yaml')))
    for (const [, expr] of readFileSync(file, 'utf8').matchAll(/query: (.*)/g)) found.set(file, expr!);
  return found;
}

/** Metrics in an expression, with the labels that it selects or groups by. */
function metricsIn(expr: string): { name: string; labels: string[] }[] {
  return [...expr.matchAll(/\bpgswitchyard_(\w+)(?:\{([^}]*)\})?/g)].map(([, name, selectors = '']) => ({
    name: name!,
    labels: [...selectors.matchAll(/(\w+)\s*(?:=~|!=|!~|=)/g)].map(([, label]) => label!),
  }));
}

/** Labels that Prometheus adds to what it scrapes, and that of a histogram's buckets. */
const ADDED = new Set(['namespace', 'pod', 'job', 'le']);

test('every metric in an expression is one that a proxy prints, with its labels', async (t) => {
  const cluster = await Cluster.start(t);
  const port = await freePort();
  const bouncer = await Bouncer.start(t, {
    databases: { db: `${cluster.connectionString()} topology_query='select 1'` },
    settings: { http_listen_port: port, fleet_store: `postgres:${cluster.connectionString()} user=postgres` },
    files: {
      'user-functions/routing_rules.ts': "export const routing_rules = () => { throw new Error('x'); };",
    },
  });
  await bouncer.sql('select 1').catch(() => {});
  await bouncer.sql('select 1', { database: 'missing' }).catch(() => {});
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const printed = new Map<string, Set<string>>();
  for (const [, name] of text.matchAll(/^# TYPE pgswitchyard_(\w+) /gm)) printed.set(name!, new Set());
  for (const [, name, labels = ''] of text.matchAll(/^pgswitchyard_(\w+?)(?:_bucket)?(?:\{(.*)\})? /gm))
    for (const [, label] of labels.matchAll(/(\w+)="/g)) printed.get(name!)?.add(label!);
  const all = expressions();
  assert.ok(all.size > 30);
  for (const [where, expr] of all) {
    const grouped = [...expr.matchAll(/by \(([^)]*)\)/g)].flatMap(([, list]) => list!.split(/,\s*/));
    const metrics = metricsIn(expr);
    assert.ok(metrics.length > 0, where);
    for (const { name, labels } of metrics) {
      const has = printed.get(name.replace(/_bucket$/, ''));
      assert.ok(has, `${where} uses pgswitchyard_${name}`);
      // without a switchover these have no samples, and so no labels
      if (/^(last_)?switchover/.test(name)) continue;
      for (const label of [...labels, ...grouped])
        assert.ok(ADDED.has(label) || has.has(label), `${where}: ${name} has no label ${label}`);
    }
  }
});

test('the panels of the dashboard have numbers of their own and do not overlap', () => {
  const { panels } = dashboard;
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const taken = new Set<string>();
  for (const { title, gridPos } of panels) {
    assert.ok(gridPos.x + gridPos.w <= 24, title);
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++)
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert.ok(!taken.has(`${x},${y}`), title);
        taken.add(`${x},${y}`);
      }
  }
});
