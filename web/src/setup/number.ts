// Numbers as people type them. What can mean two things is refused with both readings, never guessed.

/** What a typed text says. Neither a value nor a problem: nothing was typed yet. */
export interface TypedNumber {
  value?: number;
  /** Why it cannot be used, and what to type instead. */
  problem?: string;
  /** How it was read, where somebody may have meant it otherwise. */
  note?: string;
}

/** What a field takes. */
export interface NumberRange {
  /** Values must be greater than this. */
  above?: number;
  /** The largest value, and without the sign the smallest. */
  most: number;
}

const PLAIN = /^([-+]?)(\d*)(?:([.,])(\d*))?$/;
/** As a part of a number that has thousands marked: one to three digits that do not begin with 0. */
const FIRST_GROUP = /^[1-9]\d{0,2}$/;
/** The first of ten digits: Arabic, Persian, Devanagari, Bengali, full width. */
const ZEROS = [0x660, 0x6f0, 0x966, 0x9e6, 0xff10];
/** What keyboards and other pages give for a sign or a mark. U+066B is the Arabic decimal mark. */
const MARKS: Readonly<Record<string, string>> = {
  "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\uff0d": "-",
  "\uff0b": "+", "\uff0e": ".", "\u066b": ".", "\uff0c": ",",
}; // prettier-ignore
const INVISIBLE = /[\u200e\u200f\u061c\u2066-\u2069]/g;

/**
 * Reads a number with a decimal point or a decimal comma, in the digits of several scripts. A point is always a decimal
 * point. A comma before exactly three digits may stand between thousands: both readings are offered instead.
 */
export function readNumber(text: string, { above, most }: NumberRange): TypedNumber {
  const typed = simplified(text);
  if (typed === "") return {};
  const [matched, sign = "", whole = "", mark = "", decimals = ""] = PLAIN.exec(typed) ?? [];
  if (matched === undefined) return { problem: problemOf(typed) };
  if (whole === "" && decimals === "") return { problem: "Type a number." };
  // Adding 0 makes -0 a 0.
  const value = Number(`${sign}${whole || "0"}.${decimals || "0"}`) + 0;
  const thousands = FIRST_GROUP.test(whole) && decimals.length === 3;
  if (mark === "," && thousands) {
    const other = numberText(Number(`${sign}${whole}${decimals}`));
    return { problem: `“${typed}” can mean ${numberText(value)} or ${other}: type one of these.` };
  }
  if (above !== undefined && value <= above) return { problem: `Type a number above ${above}.` };
  if (Math.abs(value) > most) return { problem: `Type a number of at most ${numberText(most)}.` };
  // Round thousands are written like this in many countries.
  return thousands && decimals.endsWith("0") ? { value, note: `Read as ${numberText(value)}.` } : { value };
}

/** A number as a field shows it: {@link readNumber} reads the very same number from it. */
export function numberText(value: number | undefined): string {
  if (value === undefined) return "";
  const text = String(value);
  const [, sign = "", whole = "", decimals = "", exponent] = /^(-?)(\d)(?:\.(\d+))?e([-+]\d+)$/.exec(text) ?? [];
  if (exponent === undefined) return text;
  const by = Number(exponent);
  const digits = whole + decimals;
  return sign + (by < 0 ? `0.${"0".repeat(-by - 1)}${digits}` : digits.padEnd(by + 1, "0"));
}

/** With ASCII digits, signs and marks, and without what cannot be seen. */
function simplified(text: string): string {
  return text
    .replaceAll(INVISIBLE, "")
    .replaceAll(/\P{ASCII}/gu, (character) => MARKS[character] ?? asciiDigit(character))
    .trim();
}

function asciiDigit(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const zero = ZEROS.find((first) => code >= first && code < first + 10);
  return zero === undefined ? character : String(code - zero);
}

/** Why a text that is no plain number cannot be used. */
function problemOf(typed: string): string {
  if (/^[-+]?[\d.,]*\de[-+]?\d*$/i.test(typed)) return "Write the number out, without “e”.";
  if (/^[-+]?\d[\d.,'’\u066c\s]*$/.test(typed)) {
    return "Type nothing between thousands: 1234.5, not 1,234.5.";
  }
  return "Type digits only, with a decimal point or comma and without a unit.";
}
