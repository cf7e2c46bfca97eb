/**
 * A queue from whose middle one can go. Each step takes constant time on average, however long it is: a Set would pass over
 * all that has left its front, each time that somebody asks who is first.
 */
export class Fifo<T extends object> {
  /** null: it has gone */
  #items: (T | null)[] = [];
  #head = 0;
  /** where each stands, counted from the first that there ever was */
  readonly #places = new Map<T, number>();
  /** how many stood before the first of `#items` */
  #before = 0;

  get size(): number {
    return this.#places.size;
  }

  has(item: T): boolean {
    return this.#places.has(item);
  }

  /** Puts it behind all others; nothing happens when it is in the queue already. */
  add(item: T): void {
    if (this.#places.has(item)) return;
    this.#places.set(item, this.#before + this.#items.length);
    this.#items.push(item);
  }

  /** False: it was not in the queue. */
  delete(item: T): boolean {
    const place = this.#places.get(item);
    if (place === undefined) return false;
    this.#places.delete(item);
    this.#items[place - this.#before] = null;
    while (this.#head < this.#items.length && this.#items[this.#head] === null) this.#head++;
    if (this.#items.length > 2 * this.size + 32) this.#compact();
    return true;
  }

  get first(): T | undefined {
    return this.#items[this.#head] ?? undefined;
  }

  /** Those that are in it now, in order; it may change meanwhile. */
  *[Symbol.iterator](): Generator<T> {
    for (const item of this.#items.slice(this.#head)) if (item !== null && this.has(item)) yield item;
  }

  #compact(): void {
    this.#before += this.#items.length;
    this.#items = this.#items.filter((item) => item !== null);
    this.#head = 0;
    this.#items.forEach((item, i) => this.#places.set(item!, this.#before + i));
  }
}
