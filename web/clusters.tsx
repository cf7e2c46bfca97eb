/** The clusters: their nodes as a picture, actions on them, and the last switchovers. */
import { Action, useConsole } from './actions.tsx';
import { quoted, type Answer } from './server.ts';
import { LiveTable, useTable } from './show.tsx';
import { Topology, type Node } from './topology.tsx';

export function Clusters(): preact.JSX.Element {
  const { answer, problem } = useTable('SHOW TOPOLOGY');
  const { rights } = useConsole();
  if (answer === null) return <p role="alert">{problem}</p>;
  const clusters = Map.groupBy(nodesOf(answer), ({ database }) => database);
  return (
    <>
      {clusters.size === 0 && <p>No database has a topology_query.</p>}
      {[...clusters].map(([database, nodes]) => (
        <section key={database} aria-label={database}>
          <h2>{database}</h2>
          <Topology database={database} nodes={nodes} />
          <ul class="nodes">
            {nodes.map((node) => (
              <li key={node.name} class={node.problem === '' ? node.role : 'broken'}>
                <strong>{node.name}</strong>
                <span>
                  {node.role}, {node.state}
                </span>
                {node.lag !== null && node.lag !== '' && <span>{node.lag} behind</span>}
                {node.problem !== '' && <span class="problem">{node.problem}</span>}
                {rights === 'admin' && node.role === 'reader' && (
                  <Action
                    name="Switch over to it"
                    statement={`SWITCHOVER ${quoted(database)} TO ${nodeInWords(node.name)}`}
                    effect="Holds new transactions, waits until this node has everything, and makes it the writer."
                  />
                )}
              </li>
            ))}
          </ul>
        </section>
      ))}
      {clusters.size > 0 && <LiveTable topic="SHOW SWITCHOVERS" caption="The last switchovers" />}
    </>
  );
}

/** A node's name as the console's language wants it. */
function nodeInWords(name: string): string {
  return /^[0-9a-z_.:@/[\]-]+$/.test(name) ? name : `"${name}"`;
}

function nodesOf({ columns, rows }: Answer): Node[] {
  return rows.map((row) => {
    const value = (column: string): string => row[columns.indexOf(column)] ?? '';
    return {
      database: value('database'),
      name: value('node'),
      role: value('role'),
      state: value('state'),
      lag: lagOf(value('lag_seconds'), value('lag_bytes')),
      problem: value('error'),
    };
  });
}

/** Null: unknown; '': none. */
function lagOf(seconds: string, bytes: string): string | null {
  if (seconds === '' && bytes === '') return null;
  const parts = [
    Number(seconds) > 0 ? `${seconds} s` : '',
    Number(bytes) > 0 ? `${Number(bytes).toLocaleString()} bytes` : '',
  ];
  return parts.filter((part) => part !== '').join(', ');
}
