/** `key=value`, separated by blanks or commas; either may be in double quotes, with doubled quotes inside. */
const PAIR = /[\s,]*(?:"((?:[^"]|"")*)"|([^\s,="]+))=(?:"((?:[^"]|"")*)"|([^\s,"]*))(?=[\s,]|$)/y;
/** the two in one pair of quotes, as PostgreSQL's HBA files may have them */
const QUOTED_PAIR = /[\s,]*"([^"=]+)=((?:[^"]|"")*)"(?=[\s,]|$)/y;
/** nothing more; in an HBA file a comment may follow */
const END = /[\s,]*(?:#.*)?$/y;

/**
 * Options of LDAP authentication, as in auth_ldap_options and after the method in an HBA line.
 * @param comments whether `#` begins a comment where an option would begin
 * @returns the values by name in their order, or the rest of the text, which is not an option
 */
export function parseLdapPairs(
  text: string,
  { comments = false } = {},
): ReadonlyMap<string, string> | { readonly malformed: string } {
  const pairs = new Map<string, string>();
  const end = comments ? text.length : text.trimEnd().length;
  let at = 0;
  while (at < end) {
    END.lastIndex = at;
    if (comments && END.test(text)) return pairs;
    const [pattern, match] = matchAt(text, at);
    if (match === null) return { malformed: text.slice(at).trim() };
    const [, quotedKey, key, quotedValue, value] = match;
    if (pattern === QUOTED_PAIR) pairs.set(quotedKey!, unquote(key!));
    else pairs.set(key ?? unquote(quotedKey!), value ?? unquote(quotedValue!));
    at = pattern.lastIndex;
  }
  return pairs;
}

function matchAt(text: string, at: number): [RegExp, RegExpExecArray | null] {
  PAIR.lastIndex = at;
  const match = PAIR.exec(text);
  if (match !== null) return [PAIR, match];
  QUOTED_PAIR.lastIndex = at;
  return [QUOTED_PAIR, QUOTED_PAIR.exec(text)];
}

function unquote(text: string): string {
  return text.replaceAll('""', '"');
}
