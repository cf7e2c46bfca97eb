/** Numbers for clients, servers, cancel requests and versions. A number is never used again. */
export class IdCounter {
  #last = 0;

  next(): number {
    return ++this.#last;
  }
}
