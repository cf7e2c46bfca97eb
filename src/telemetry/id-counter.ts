/** Numbers for what comes and goes: clients, servers, cancel requests, versions. A number is never used again. */
export class IdCounter {
  #last = 0;

  next(): number {
    return ++this.#last;
  }
}
