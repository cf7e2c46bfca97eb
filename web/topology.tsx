/** A cluster as a picture: the writer, the nodes that follow it, and how far each is behind. */

export interface Node {
  readonly database: string;
  readonly name: string;
  readonly role: string;
  readonly state: string;
  /** null: unknown; '': none */
  readonly lag: string | null;
  /** `''`: none */
  readonly problem: string;
}

const WIDTH = 640;
const BOX = { width: 210, height: 44 };
const ROW = 64;
/** Characters of a name that fit into a box. */
const FITS = 27;

export function Topology({
  database,
  nodes,
}: {
  readonly database: string;
  readonly nodes: readonly Node[];
}): preact.JSX.Element {
  const writer = nodes.find(({ role }) => role === 'writer');
  const others = nodes.filter((node) => node !== writer);
  const height = Math.max(1, others.length) * ROW;
  const middle = height / 2;
  const left = { x: 1, y: middle - BOX.height / 2 };
  return (
    <svg class="topology" viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={inWords(database, nodes)}>
      {others.map((node, at) => {
        const y = at * ROW + ROW / 2;
        const isBroken = node.problem !== '' || node.role !== 'reader' || writer === undefined;
        return (
          <g key={node.name} class={node.problem === '' ? node.role : 'broken'}>
            <path
              class={isBroken ? 'broken edge' : 'edge'}
              d={`M${BOX.width + 1} ${middle}C${WIDTH / 2} ${middle} ${WIDTH / 2 - 60} ${y} ${WIDTH - BOX.width - 1} ${y}`}
            />
            <text x={WIDTH - BOX.width - 8} y={y - 6} text-anchor="end" class="lag">
              {node.problem === '' ? lagInWords(node) : 'not reachable'}
            </text>
            <Box node={node} x={WIDTH - BOX.width - 1} y={y - BOX.height / 2} />
          </g>
        );
      })}
      <g class={writer === undefined ? 'broken' : 'writer'}>
        <Box
          node={writer ?? { database, name: 'no writer', role: '', state: '', lag: null, problem: '' }}
          x={left.x}
          y={left.y}
        />
      </g>
    </svg>
  );
}

function Box({
  node: { name, role, state },
  x,
  y,
}: {
  readonly node: Node;
  readonly x: number;
  readonly y: number;
}): preact.JSX.Element {
  const words = [role, state].filter((word) => word !== '').join(', ');
  return (
    <>
      <rect x={x} y={y} width={BOX.width} height={BOX.height} rx="8" />
      <text x={x + BOX.width / 2} y={y + 18} text-anchor="middle" class="name">
        {name.length > FITS ? `${name.slice(0, FITS - 1)}…` : name}
      </text>
      <text x={x + BOX.width / 2} y={y + 35} text-anchor="middle" class="lag">
        {words}
      </text>
    </>
  );
}

function lagInWords({ lag }: Node): string {
  if (lag === null) return 'lag unknown';
  return lag === '' ? 'no lag' : `${lag} behind`;
}

function inWords(database: string, nodes: readonly Node[]): string {
  const each = nodes.map((node) => {
    const { name, role, problem } = node;
    const lag = role === 'reader' && problem === '' ? `, ${lagInWords(node)}` : '';
    return `${name}: ${role}${lag}${problem === '' ? '' : ', not reachable'}`;
  });
  return `Nodes of ${database}: ${each.join('; ')}`;
}
