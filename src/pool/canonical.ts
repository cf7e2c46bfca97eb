/**
 * Settings in the spelling in which PostgreSQL reports them, as far as that is known without a server: a client that names one
 * in its StartupMessage is welcomed with it before it has a server.
 */
import { canonicalEncoding } from '../wire/encodings.ts';

/**
 * @param value in the client's spelling
 * @param own the server's own value, for parts that the client left out
 * @returns PostgreSQL's spelling; `value` itself if PostgreSQL does not accept it, or for a time zone
 */
export function canonicalValue(name: string, value: string, own: string): string {
  switch (name.toLowerCase()) {
    case 'client_encoding':
      return canonicalEncoding(value);
    case 'standard_conforming_strings':
    case 'default_transaction_read_only':
      return canonicalBoolean(value);
    case 'intervalstyle':
      return /^(postgres|postgres_verbose|sql_standard|iso_8601)$/i.test(value) ? value.toLowerCase() : value;
    case 'datestyle':
      return canonicalDateStyle(value, own);
    default:
      return value;
  }
}

function canonicalBoolean(value: string): string {
  if (/^(on|t|tr|tru|true|y|ye|yes|1)$/i.test(value)) return 'on';
  return /^(of|off|f|fa|fal|fals|false|n|no|0)$/i.test(value) ? 'off' : value;
}

const STYLES: readonly (readonly [RegExp, string])[] = [
  [/^iso$/i, 'ISO'],
  [/^sql$/i, 'SQL'],
  [/^postgres/i, 'Postgres'],
  [/^german/i, 'German'],
];
const ORDERS: readonly (readonly [RegExp, string])[] = [
  [/^ymd$/i, 'YMD'],
  [/^(dmy$|euro)/i, 'DMY'],
  [/^(mdy|us|noneuro.*)$/i, 'MDY'],
];

/** `style, order`; either may be missing. German without an order means day first. */
function canonicalDateStyle(value: string, own: string): string {
  const [ownStyle, ownOrder] = own.split(', ');
  let style: string | undefined;
  let order: string | undefined;
  for (const word of value.split(',').map((each) => each.trim())) {
    const named = STYLES.find(([pattern]) => pattern.test(word))?.[1];
    const ordered = ORDERS.find(([pattern]) => pattern.test(word))?.[1];
    if (named === undefined && ordered === undefined) return value;
    // PostgreSQL refuses two different styles or orders
    if ((named ?? style) !== (style ?? named) || (ordered ?? order) !== (order ?? ordered)) return value;
    style ??= named;
    order ??= ordered;
  }
  order ??= style === 'German' ? 'DMY' : ownOrder;
  return `${style ?? ownStyle}, ${order}`;
}
