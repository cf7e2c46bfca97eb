/** What the proxy sends by itself: one stream of events for everything that the page shows now. */
import type { Answer } from './server.ts';

/** How soon a stream that was refused is tried again. */
const RETRY_MS = 10_000;

type Callback = (content: unknown) => void;

interface Whole {
  readonly topic: string;
  readonly content: unknown;
}

interface Rows {
  readonly topic: string;
  readonly count: number;
  readonly rows: readonly (readonly [at: number, row: Answer['rows'][number]])[];
}

const callbacks = new Map<string, Set<Callback>>();
const contents = new Map<string, unknown>();
let source: EventSource | null = null;
let isPlanned = false;
let onTrouble: (isRefused: boolean) => void = () => {};
let onFine: () => void = () => {};

/** @param trouble called when the stream breaks; `isRefused`: the browser does not try again by itself */
export function listen(trouble: (isRefused: boolean) => void, fine: () => void): void {
  onTrouble = trouble;
  onFine = fine;
}

/** Calls back with the content of a topic, now and whenever it changes, until the returned function is called. */
export function subscribe(topic: string, callback: Callback): () => void {
  const all = callbacks.get(topic) ?? new Set();
  callbacks.set(topic, all.add(callback));
  if (contents.has(topic)) callback(contents.get(topic));
  if (all.size === 1) plan();
  return () => {
    all.delete(callback);
    if (all.size > 0) return;
    callbacks.delete(topic);
    contents.delete(topic);
    plan();
  };
}

/** A page changes several topics at once. */
function plan(): void {
  if (isPlanned) return;
  isPlanned = true;
  setTimeout(() => {
    isPlanned = false;
    open();
  });
}

function open(): void {
  source?.close();
  source = null;
  if (callbacks.size === 0 || document.hidden) return;
  const query = new URLSearchParams([...callbacks.keys()].map((topic) => ['topic', topic]));
  const opened = new EventSource(`api/live?${query.toString()}`);
  source = opened;
  opened.addEventListener('open', () => onFine());
  opened.addEventListener('whole', ({ data }) => {
    const { topic, content } = JSON.parse(String(data)) as Whole;
    tell(topic, content);
  });
  opened.addEventListener('rows', ({ data }) => {
    const { topic, count, rows } = JSON.parse(String(data)) as Rows;
    const before = contents.get(topic) as Answer | undefined;
    if (before === undefined) return;
    const next = before.rows.slice(0, count);
    for (const [at, row] of rows) next[at] = row;
    tell(topic, { ...before, rows: next });
  });
  opened.addEventListener('error', () => {
    const isRefused = opened.readyState === EventSource.CLOSED;
    onTrouble(isRefused);
    if (!isRefused) return;
    setTimeout(() => {
      if (source === opened) open();
    }, RETRY_MS);
  });
}

// nobody looks at a hidden page
document.addEventListener('visibilitychange', () => plan());

function tell(topic: string, content: unknown): void {
  contents.set(topic, content);
  for (const callback of callbacks.get(topic) ?? []) callback(content);
}
