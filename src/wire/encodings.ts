/** Names of encodings, as PostgreSQL accepts and reports them ("Supported Character Sets" in its manual). */

/** The canonical name, then its other spellings in lower case and without punctuation. */
const ENCODINGS: readonly (readonly [string, ...string[]])[] = [
  ['SQL_ASCII'],
  ['EUC_JP'],
  ['EUC_CN'],
  ['EUC_KR'],
  ['EUC_TW'],
  ['EUC_JIS_2004'],
  ['UTF8', 'unicode'],
  ['MULE_INTERNAL'],
  ['LATIN1', 'iso88591'],
  ['LATIN2', 'iso88592'],
  ['LATIN3', 'iso88593'],
  ['LATIN4', 'iso88594'],
  ['LATIN5', 'iso88599'],
  ['LATIN6', 'iso885910'],
  ['LATIN7', 'iso885913'],
  ['LATIN8', 'iso885914'],
  ['LATIN9', 'iso885915'],
  ['LATIN10', 'iso885916'],
  ['WIN1256', 'windows1256'],
  ['WIN1258', 'windows1258', 'abc', 'tcvn', 'tcvn5712', 'vscii'],
  ['WIN866', 'windows866', 'alt'],
  ['WIN874', 'windows874'],
  ['KOI8R', 'koi8'],
  ['WIN1251', 'windows1251', 'win'],
  ['WIN1252', 'windows1252'],
  ['ISO_8859_5'],
  ['ISO_8859_6'],
  ['ISO_8859_7'],
  ['ISO_8859_8'],
  ['WIN1250', 'windows1250'],
  ['WIN1253', 'windows1253'],
  ['WIN1254', 'windows1254'],
  ['WIN1255', 'windows1255'],
  ['WIN1257', 'windows1257'],
  ['KOI8U'],
  ['SJIS', 'mskanji', 'shiftjis', 'win932', 'windows932'],
  ['BIG5', 'win950', 'windows950'],
  ['GBK', 'win936', 'windows936'],
  ['UHC', 'win949', 'windows949'],
  ['GB18030'],
  ['JOHAB'],
  ['SHIFT_JIS_2004'],
];

const canonicalNames = new Map(
  ENCODINGS.flatMap(([name, ...others]) => [plain(name), ...others].map((each) => [each, name] as const)),
);

/** PostgreSQL's name of an encoding: `UTF8` for `utf-8`. A name that is not in the table is returned as it is. */
export function canonicalEncoding(name: string): string {
  return canonicalNames.get(plain(name)) ?? name;
}

/** PostgreSQL compares only letters and digits, in any case. */
function plain(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '');
}
