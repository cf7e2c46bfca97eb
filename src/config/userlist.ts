/** auth_file: one `"user" "password or secret"` per line. */
import type { Diagnostics } from './diagnostics.ts';

/** Characters between the two, such as a comma, are skipped, as in pgbouncer. */
const LINE = /^"((?:[^"]|"")*)"[^"]+"((?:[^"]|"")*)"/;

/** The second of two entries for one user replaces the first, as in pgbouncer. */
export function parseUserlist(
  text: string,
  file: string,
  diagnostics: Diagnostics,
): ReadonlyMap<string, string> {
  const users = new Map<string, string>();
  let number = 0;
  for (const raw of text.replace(/^\uFEFF/, '').split('\n')) {
    number += 1;
    const line = raw.trim();
    if (line === '' || line.startsWith(';') || line.startsWith('#')) continue;
    const match = LINE.exec(line);
    if (match === null) {
      diagnostics.add({ file, line: number }, 'broken auth file line', {
        hint: 'expected "user" "password"; a quote inside is written twice',
      });
      continue;
    }
    users.set(match[1]!.replaceAll('""', '"'), match[2]!.replaceAll('""', '"'));
  }
  return users;
}
