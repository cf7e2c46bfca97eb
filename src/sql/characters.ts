/** The characters that PostgreSQL's lexical rules distinguish. Those from U+0080 on all belong to names. */

/** Classes of characters, to be combined as bits. */
export const SPACE = 1;
export const DIGIT = 2;
export const HEX = 4;
export const NAME_START = 8;
/** all but the first one of a name */
export const NAME = 16;

/** Both cases of an ASCII letter differ in this bit. */
const LOWER = 0x20;

const CLASSES = new Uint8Array(0x80);
for (let code = 0; code < CLASSES.length; code++) {
  const character = String.fromCharCode(code);
  CLASSES[code] =
    (/[ \t\n\v\f\r]/.test(character) ? SPACE : 0) |
    (/[0-9]/.test(character) ? DIGIT : 0) |
    (/[0-9A-Fa-f]/.test(character) ? HEX : 0) |
    (/[A-Za-z_]/.test(character) ? NAME_START : 0) |
    (/[A-Za-z_0-9$]/.test(character) ? NAME : 0);
}

/** Whether a character belongs to one of these classes. @param code of UTF-16, or NaN past the end of a text */
export function isA(classes: number, code: number): boolean {
  return ((code < 0x80 ? CLASSES[code]! : code >= 0x80 ? NAME_START | NAME : 0) & classes) !== 0;
}

/** Whether it is an ASCII letter or an underscore. */
export function isLetter(code: number): boolean {
  return code < 0x80 && isA(NAME_START, code);
}

/** The code of an ASCII letter in lower case; of anything else, some other number. */
export function lowered(code: number): number {
  return code | LOWER;
}
