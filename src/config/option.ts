/** The parts of an option. The options themselves are in options.ts. */

/** A piece of JSON Schema (draft 2020-12). */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** A value that a kind refuses; `hint` is the advice for a valid one. */
export class ValueError extends Error {
  readonly hint: string | null;

  constructor(message: string, hint: string | null = null) {
    super(message);
    this.name = 'ValueError';
    this.hint = hint;
  }
}

/** The conversion of an option's text to a value and back. The kind knows the unit, the option's name never does. */
export interface Kind<T> {
  /** Its name in the manual, with its unit. */
  readonly label: string;
  readonly schema: JsonSchema;
  /** @throws {ValueError} if the text is not such a value. */
  parse(text: string): T;
  show(value: T): string;
}

/** The sections other than [pgbouncer] whose entries may override an option. */
export type Scope = 'database' | 'user';
export type Origin = 'pgbouncer' | 'fast-switchover' | 'pgswitchyard';
/** applied: has an effect; accepted: can have no effect here, by nature. */
export type Effect = 'applied' | 'accepted';

export interface Option<T> {
  readonly kind: Kind<NonNullable<T>>;
  /** The default as text, as SHOW CONFIG prints it; null: pgbouncer's "not set". */
  readonly default: string | null;
  /** The value if the file does not name the option. */
  readonly initial: T;
  readonly reload: boolean;
  readonly scope: readonly Scope[];
  readonly origin: Origin;
  readonly effect: Effect;
  readonly secret: boolean;
  /** False: not in SHOW CONFIG (pgbouncer has it on other systems only). */
  readonly shown: boolean;
  readonly doc: string;
}

interface Row<T> {
  readonly kind: Kind<T>;
  /** Whether RELOAD and SET can change it. Default: yes. */
  readonly reload?: boolean;
  readonly scope?: readonly Scope[];
  /** Default: pgbouncer. */
  readonly origin?: Origin;
  /** Default: applied. */
  readonly effect?: Effect;
  readonly secret?: boolean;
  readonly shown?: boolean;
  readonly doc: string;
}

export function option<T>(row: Row<T> & { readonly default: string }): Option<T>;
export function option<T>(row: Row<T> & { readonly default: null; readonly initial: T }): Option<T>;
export function option<T>(row: Row<T> & { readonly default: null }): Option<T | null>;
export function option<T>(
  row: Row<T> & { readonly default: string | null; readonly initial?: T },
): Option<T | null> {
  return {
    kind: row.kind as Kind<NonNullable<T>>,
    default: row.default,
    initial: row.default === null ? (row.initial ?? null) : row.kind.parse(row.default),
    reload: row.reload ?? true,
    scope: row.scope ?? [],
    origin: row.origin ?? 'pgbouncer',
    effect: row.effect ?? 'applied',
    secret: row.secret ?? false,
    shown: row.shown ?? true,
    doc: row.doc,
  };
}

const INT = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/;

/** strtol(text, 0): decimal, `0x` hexadecimal, leading `0` octal; null if anything is left over. */
function strtol(text: string): number | null {
  const match = INT.exec(text);
  if (match === null) return null;
  const digits = match[2]!;
  const magnitude = /^0[0-7]/.test(digits) ? Number.parseInt(digits, 8) : Number(digits);
  return match[1] === '-' ? 0 - magnitude : magnitude;
}

/** printf's %g, which is what SHOW CONFIG prints seconds with: six significant digits. */
function formatG(value: number): string {
  if (value === 0) return '0';
  const [mantissa, exponent] = value.toExponential(5).split('e') as [string, string];
  const power = Number(exponent);
  if (power >= -4 && power < 6) return String(Number(value.toPrecision(6)));
  const sign = power < 0 ? '-' : '+';
  return `${Number(mantissa)}e${sign}${String(Math.abs(power)).padStart(2, '0')}`;
}

const INT_MAX = 2147483647;

function parseInteger(text: string, min: number, max: number): number {
  const value = strtol(text);
  if (value === null) throw new ValueError(`invalid integer: "${text}"`, integerHint(text));
  if (value < min || value > max) {
    throw new ValueError(`${text.trim()} is out of range`, `allowed: ${min} to ${max}`);
  }
  return value;
}

function integerHint(text: string): string {
  if (/^[+-]?\d+\s*[a-zA-Z]+$/.test(text.trim())) return 'no unit suffix';
  return 'digits; a leading 0 means octal, 0x hexadecimal';
}

/** An integer as strtol(…, 0) reads it. */
export function int(min = 0, max = INT_MAX): Kind<number> {
  return {
    label: 'integer',
    schema: { type: 'integer', minimum: min, maximum: max },
    parse: (text) => parseInteger(text, min, max),
    show: String,
  };
}

/** An integer number of bytes, 0 to 2^32-1 by default. */
export function size(min = 0, max = 4294967295): Kind<number> {
  return { ...int(min, max), label: 'bytes' };
}

/** Text: an integer number of milliseconds. Value: the same. */
export function milliseconds(min = 0, max = INT_MAX): Kind<number> {
  return { ...int(min, max), label: 'milliseconds' };
}

/** Text: seconds as strtod reads them, with a dot. Value: milliseconds. */
export function seconds(): Kind<number> {
  return {
    label: 'seconds',
    schema: { type: 'number', minimum: 0 },
    parse(text) {
      if (!/^\s*[+-]?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(text)) {
        throw new ValueError(
          `invalid number of seconds: "${text}"`,
          'seconds without a unit, such as 30 or 0.5',
        );
      }
      const value = Number(text);
      if (value < 0) throw new ValueError(`${text.trim()} is out of range`, 'a time cannot be negative');
      return value * 1000;
    },
    show: (value) => formatG(value / 1000),
  };
}

/** Whole seconds, for the times that pgbouncer reads as integers. Value: seconds too, unlike that of `seconds`. */
export function wholeSeconds(min = 0): Kind<number> {
  return { ...int(min), label: 'whole seconds' };
}

/**
 * 0 or 1. pgbouncer's own are integers, for which any number but 0 is true and `yes` or `on` is an error. `words`: `true` and
 * `false` are accepted as well; with `'shown'` SHOW CONFIG also prints them.
 */
export function flag(words: 'none' | 'accepted' | 'shown' = 'none'): Kind<boolean> {
  return {
    label: words === 'none' ? '0 or 1' : 'true (1) or false (0)',
    schema: words === 'none' ? { type: 'integer', enum: [0, 1] } : { enum: [0, 1, true, false] },
    parse(text) {
      if (words !== 'none') {
        const word = text.trim().toLowerCase();
        if (word === 'true') return true;
        if (word === 'false') return false;
      }
      const value = strtol(text);
      if (value !== null) return value !== 0;
      const meant = /^(yes|on|true|y|t)$/i.test(text) ? '1' : /^(no|off|false|n|f)$/i.test(text) ? '0' : null;
      throw new ValueError(`invalid value "${text}"`, meant === null ? 'write 0 or 1' : `write ${meant}`);
    },
    show(value) {
      if (words === 'shown') return value ? 'true' : 'false';
      return value ? '1' : '0';
    },
  };
}

/** One of the given words, exactly. */
export function oneOf<const W extends string>(...words: W[]): Kind<W> {
  return {
    label: words.map((word) => `\`${word}\``).join(', '),
    schema: { type: 'string', enum: words },
    parse(text) {
      const found = words.find((word) => word === text);
      if (found === undefined) {
        throw new ValueError(`invalid value "${text}"`, `one of ${words.join(', ')}`);
      }
      return found;
    },
    show: (value) => value,
  };
}

/** Any text. */
export function text(): Kind<string> {
  return { label: 'text', schema: { type: 'string' }, parse: (value) => value, show: (value) => value };
}

/** A file or folder. load.ts knows what it is relative to. */
export function path(): Kind<string> {
  return { ...text(), label: 'path' };
}

/** Text separated by commas; blanks around the items and empty items are ignored. */
export function list(): Kind<readonly string[]> {
  return {
    label: 'comma-separated list',
    schema: { type: 'string' },
    parse: splitList,
    show: (value) => value.join(', '),
  };
}

/** A list of these words only. */
export function words<const T extends string>(...allowed: readonly T[]): Kind<readonly T[]> {
  return {
    label: `list of ${allowed.map((word) => `\`${word}\``).join(', ')}`,
    schema: { type: 'string' },
    parse(value) {
      const all = splitList(value);
      for (const word of all) {
        if (!(allowed as readonly string[]).includes(word))
          throw new ValueError(`invalid value "${word}"`, `one or more of ${allowed.join(', ')}`);
      }
      return all as readonly T[];
    },
    show: (value) => value.join(', '),
  };
}

export function splitList(value: string): readonly string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** `secure`, `all`, `legacy` or a list of tlsv1.0 … tlsv1.3, separated by commas or colons; `!` excludes. */
export function tlsProtocols(): Kind<string> {
  return {
    label: 'list of TLS protocols',
    schema: { type: 'string' },
    parse(value) {
      for (const word of value.split(/[,:]/)) {
        if (!/^!?(secure|default|all|legacy|tlsv1(\.[0-3])?)$/i.test(word.trim())) {
          throw new ValueError(
            `invalid TLS protocol "${word.trim()}"`,
            'secure, all, legacy, or a list of tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3',
          );
        }
      }
      return value;
    },
    show: (value) => value,
  };
}

/** A number from 0 to 1. */
export function share(): Kind<number> {
  return {
    label: 'number from 0 to 1',
    schema: { type: 'number', minimum: 0, maximum: 1 },
    parse(text) {
      const isNumber = /^\s*\+?(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$/.test(text);
      if (!isNumber || Number(text) > 1)
        throw new ValueError(`invalid share "${text}"`, 'a number from 0 to 1, such as 0.01');
      return Number(text);
    },
    show: (value) => String(value),
  };
}

/** Address of an HTTP service; ''. */
export function httpUrl(): Kind<string> {
  return checkedText((value) => {
    if (value === '') return null;
    const url = URL.parse(value);
    // the URL is shown on the console and in the log, and so are these texts: none has a secret
    if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
      return 'a URL must begin with http:// or https://, and a host';
    if (url.username !== '' || url.password !== '') return 'a URL must not contain a user or password';
    // paths are added at its end
    if (/[?#]/.test(value)) return 'a URL must not contain a query or a fragment';
    return null;
  });
}

/** Text with a rule of its own: `check` returns the error, or null. */
export function checkedText(check: (value: string) => string | null): Kind<string> {
  return {
    ...text(),
    parse(value) {
      const wrong = check(value);
      if (wrong !== null) throw new ValueError(wrong);
      return value;
    },
  };
}

/** A Python module of the fast-switchover fork: only `not_enabled` is possible here. */
export function pythonModule(replacement: string): Kind<string> {
  return {
    label: '`not_enabled`',
    schema: { type: 'string', const: 'not_enabled' },
    parse(value) {
      if (value !== 'not_enabled') {
        throw new ValueError(
          'Python modules are not supported',
          `write the function in TypeScript and set ${replacement}; docs/porting-python-rules.md shows how to port a Python rule`,
        );
      }
      return value;
    },
    show: (value) => value,
  };
}
