/**
 * What open consoles see, made once for all of them: every few seconds each table that somebody looks at is made, compared with
 * the last time, and sent as the rows that have changed. Nothing is made while nobody looks.
 */
import { setImmediate as othersTurn } from 'node:timers/promises';
import type { Rights } from '../../admin/entrance.ts';
import type { Answer } from './statement.ts';

/** Different tables, or the same with other rights, at one time. */
const MOST_CHANNELS = 256;
/** Those for consoles with equal rights. An administrator of tenants is alone with them, and names tenants at will. */
const MOST_OF: Readonly<Record<Rights, number>> = { admin: 64, watcher: 64, tenant: 16 };

/** An action is shown after this time: many of them are shown at once, and cost no more than one. */
const SOON_MS = 200;

/** What a channel is made for: consoles with equal rights share it. */
export interface Audience {
  readonly user: string;
  readonly rights: Rights;
}

/** Makes the content of a topic. */
export type Render = (topic: string, audience: Audience) => Promise<Answer | object | null>;

/** One topic for one audience. */
class Channel {
  readonly topic: string;
  readonly audience: Audience;
  #watchers = 0;
  /** 0: nothing has been made yet */
  #version = 0;
  #whole = '';
  /** turns the version before into this one; '': it can't be */
  #change = '';
  #content: unknown = null;
  #rows: readonly string[] = [];

  constructor(topic: string, audience: Audience) {
    this.topic = topic;
    this.audience = audience;
  }

  get isWatched(): boolean {
    return this.#watchers > 0;
  }

  addWatcher(): void {
    this.#watchers++;
  }

  removeWatcher(): void {
    this.#watchers--;
  }

  get version(): number {
    return this.#version;
  }

  /** The event for a browser that has seen this version; null: there is nothing new. */
  since(version: number): string | null {
    if (version === this.#version) return null;
    return version !== 0 && version === this.#version - 1 && this.#change !== '' ? this.#change : this.#whole;
  }

  /** Its content has been made again. */
  take(content: unknown): void {
    const { topic } = this;
    const before = this.#content as Partial<Answer> | null;
    const beforeRows = this.#rows;
    const rows = isAnswer(content) ? content.rows.map((row) => JSON.stringify(row)) : [];
    const about = isAnswer(content) ? { ...content, rows: [] } : content;
    this.#rows = rows;
    this.#content = about;
    const isSameKind = before !== null && JSON.stringify(before) === JSON.stringify(about);
    const changed = rows.flatMap((row, at) => (row === beforeRows[at] ? [] : [at]));
    if (isSameKind && changed.length === 0 && rows.length === beforeRows.length) return;
    this.#version++;
    this.#whole = event('whole', `{"topic":${JSON.stringify(topic)},"content":${written(about, rows)}}`);
    // most rows have changed: the whole is hardly longer
    const isWorth = isSameKind && isAnswer(content) && changed.length * 2 <= rows.length;
    const pairs = changed.map((at) => `[${at},${rows[at]}]`).join(',');
    this.#change = isWorth
      ? event('rows', `{"topic":${JSON.stringify(topic)},"count":${rows.length},"rows":[${pairs}]}`)
      : '';
  }
}

export class Feed {
  readonly #render: Render;
  readonly #onError: (error: Error) => void;
  readonly #channels = new Map<string, Channel>();
  #isMaking = false;
  /** something has changed since */
  #isStale = false;
  #next = Promise.withResolvers<void>();
  #isPlanned = false;

  /** @param onError a topic could not be made, and stays as it was */
  constructor(render: Render, onError: (error: Error) => void) {
    this.#render = render;
    this.#onError = onError;
  }

  /** Somebody looks at a topic. @returns null: too many others are being looked at */
  async watch(topic: string, audience: Audience): Promise<Channel | null> {
    const key = keyOf(topic, audience);
    let channel = this.#channels.get(key);
    if (channel === undefined) {
      if (this.#channels.size >= MOST_CHANNELS || this.#countOf(audience) >= MOST_OF[audience.rights])
        return null;
      channel = new Channel(topic, audience);
      this.#channels.set(key, channel);
    }
    channel.addWatcher();
    if (channel.version === 0) await this.#make(channel);
    return channel;
  }

  #countOf(audience: Audience): number {
    const own = keyOf('', audience);
    return [...this.#channels.keys()].filter((key) => key.startsWith(own)).length;
  }

  unwatch(channel: Channel): void {
    channel.removeWatcher();
    if (channel.isWatched) return;
    const key = keyOf(channel.topic, channel.audience);
    if (this.#channels.get(key) === channel) this.#channels.delete(key);
  }

  /** Resolves when everything has been made again. */
  get next(): Promise<void> {
    return this.#next.promise;
  }

  /** Makes everything that is being looked at, one after the other. */
  async make(): Promise<void> {
    this.#isStale = true;
    if (this.#isMaking) return;
    this.#isMaking = true;
    try {
      while (this.#isStale) {
        this.#isStale = false;
        for (const channel of [...this.#channels.values()]) {
          if (!channel.isWatched) continue;
          await this.#make(channel);
          await othersTurn();
        }
      }
    } finally {
      this.#isMaking = false;
      const { resolve } = this.#next;
      this.#next = Promise.withResolvers<void>();
      resolve();
    }
  }

  /** The same in a moment, after something has changed. */
  soon(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    setTimeout(() => {
      this.#isPlanned = false;
      void this.make();
    }, SOON_MS).unref();
  }

  async #make(channel: Channel): Promise<void> {
    try {
      const content = await this.#render(channel.topic, channel.audience);
      if (content !== null) channel.take(content);
    } catch (error) {
      this.#onError(error as Error);
    }
  }
}

export type { Channel };

/** What an administrator of tenants sees depends on the user. */
function keyOf(topic: string, { user, rights }: Audience): string {
  return `${rights} ${rights === 'tenant' ? user : ''}\0${topic}`;
}

function isAnswer(content: unknown): content is Answer {
  return typeof content === 'object' && content !== null && 'rows' in content;
}

/** The content as JSON, of rows that are JSON already. */
function written(about: unknown, rows: readonly string[]): string {
  const text = JSON.stringify(about);
  return isAnswer(about) ? text.replace('"rows":[]', () => `"rows":[${rows.join(',')}]`) : text;
}

/** As server-sent events are written: JSON has no line breaks. */
function event(name: string, data: string): string {
  return `event: ${name}\ndata: ${data}\n\n`;
}
