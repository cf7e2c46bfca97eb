/** A first-in, first-out queue that items may also leave from the middle. */

/**
 * Each operation takes constant time on average, however long the queue is. (A Set would step over all items that have left
 * its front each time that the first one is read.)
 */
export class Fifo<T extends object> {
  /** in order; null: has left */
  #items: (T | null)[] = [];
  #head = 0;
  /** the position of each item, counted from the first item that was ever added */
  readonly #places = new Map<object, number>();
  /** the position of `#items[0]` */
  #before = 0;

  get size(): number {
    return this.#places.size;
  }

  has(item: object): boolean {
    return this.#places.has(item);
  }

  /** Adds an item at the end; has no effect if the item is already in the queue. */
  add(item: T): void {
    if (this.#places.has(item)) return;
    this.#places.set(item, this.#before + this.#items.length);
    this.#items.push(item);
  }

  /** @returns false if the item was not in the queue */
  delete(item: object): boolean {
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

  /** The items in order. The queue may change during the iteration: items that leave are skipped, new ones are not visited. */
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
