/** The bearer token that `/metrics` asks for. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';

export class MetricsToken {
  #key = '';
  #token: string | null = null;

  /**
   * @param file null: no token is needed
   * @param authorization the request's header
   * @returns `no token`: the file can't be read, or is empty, so nobody gets in
   */
  check(file: string | null, authorization: string): 'granted' | 'refused' | 'no token' {
    if (file === null || file === '') return 'granted';
    const token = this.#read(file);
    if (token === null) return 'no token';
    const [, given] = /^Bearer +([^\s]+)$/i.exec(authorization) ?? [];
    return given !== undefined && isSame(given, token) ? 'granted' : 'refused';
  }

  /** Reads the file again whenever it has changed. */
  #read(file: string): string | null {
    try {
      const { ino, mtimeMs, size } = statSync(file);
      const key = `${file} ${ino} ${mtimeMs} ${size}`;
      if (key !== this.#key) {
        this.#token = readFileSync(file, 'utf8').trim() || null;
        this.#key = key;
      }
    } catch {
      this.#key = '';
      this.#token = null;
    }
    return this.#token;
  }
}

/** Compares digests, so that the time tells nothing about the token. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
