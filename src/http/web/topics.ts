/** What a console can look at live: SHOW commands, and some things that no SHOW command has. */
import type { Rights } from '../../admin/entrance.ts';
import { parseStatement, type Statement } from '../../admin/grammar.ts';
import { TABLES } from '../../admin/tables.ts';
import { formatPlace } from '../../config/diagnostics.ts';
import { shownValue } from '../../config/print.ts';
import type { Audience } from './feed.ts';
import type { History } from './history.ts';
import type { LogTail } from './log-tail.ts';
import { runStatement, type Answer, type StatementParts } from './statement.ts';

/** Characters of a topic: the longest names are within them. */
const MAX_TOPIC = 300;

export interface TopicParts extends StatementParts {
  readonly history: History;
  readonly logTail: LogTail;
}

interface OwnTopic {
  readonly for: readonly Rights[];
  make(parts: TopicParts): Answer | object | null;
}

const OWN: ReadonlyMap<string, OwnTopic> = new Map<string, OwnTopic>([
  // the newest point of the last hour
  ['point', { for: ['admin', 'watcher'], make: ({ history }) => history.points.at(-1) ?? null }],
  [
    'log',
    {
      for: ['admin'],
      make: ({ logTail }) =>
        rowsOf(
          ['time', 'level', 'text'],
          logTail.lines.map(({ atMs, level, text }) => [timeOf(atMs), level, text]).toReversed(),
        ),
    },
  ],
  [
    'audit',
    {
      for: ['admin'],
      make: ({ audit }) =>
        rowsOf(
          ['time', 'user', 'entrance', 'address', 'statement', 'outcome'],
          audit.entries
            .map(({ atMs, user, entrance, address, statement, outcome }) => [
              timeOf(atMs),
              user,
              entrance,
              address,
              statement,
              outcome,
            ])
            .toReversed(),
        ),
    },
  ],
  [
    'configuration',
    {
      for: ['admin', 'watcher'],
      make: ({ observe }) =>
        rowsOf(
          ['section', 'key', 'value', 'from'],
          observe.config.entries.map((entry) => [
            `[${entry.section}]`,
            entry.key,
            shownValue(entry),
            formatPlace(entry),
          ]),
        ),
    },
  ],
]);

/** Whether a text is a topic at all, and one that a user with these rights may look at, as far as its name tells. */
export function accessTo(topic: string, rights: Rights): 'granted' | 'denied' | 'no topic' {
  const own = OWN.get(topic);
  if (own !== undefined) return own.for.includes(rights) ? 'granted' : 'denied';
  // what a SHOW command may show, the console checks itself
  return topic.length <= MAX_TOPIC && topic === canonical(parseStatement(topic)) ? 'granted' : 'no topic';
}

/** The one way in which a SHOW command is written as a topic: others would be made apart. Null: it is none. */
function canonical(statement: Statement): string | null {
  if (statement.kind === 'show tenant')
    return `SHOW ${statement.table.toUpperCase()} "${statement.tenant.replaceAll('"', '""')}"`;
  if (statement.kind !== 'command' || !TABLES.has(statement.argument.toLowerCase())) return null;
  return `SHOW ${statement.argument.toUpperCase()}`;
}

/** @returns null: there is nothing yet */
export async function make(
  topic: string,
  { user, rights }: Audience,
  parts: TopicParts,
): Promise<Answer | object | null> {
  const own = OWN.get(topic);
  if (own !== undefined) return own.make(parts);
  const { signal } = new AbortController();
  return await runStatement({ user, address: '', rights, signal }, topic, parts);
}

function rowsOf(columns: Answer['columns'], rows: Answer['rows']): Answer {
  return { columns, rows, isCut: false, tag: '', notices: [], error: null };
}

function timeOf(atMs: number): string {
  return new Date(atMs).toISOString();
}
