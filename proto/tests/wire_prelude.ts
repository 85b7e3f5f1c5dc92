
/** What came over the wire is not what it should be. */
export class WireError extends Error {}

function readArray(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new WireError(`a ${what} should be an array`);
  return value;
}
function readNumber(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  throw new WireError(`expected a number, found ${typeof value}`);
}
function readBoolean(value: unknown): boolean {
  if (typeof value !== "boolean") throw new WireError(`expected a boolean, found ${typeof value}`);
  return value;
}
function readText(value: unknown): string {
  if (typeof value !== "string") throw new WireError(`expected text, found ${typeof value}`);
  return value;
}
function readBytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new WireError(`expected binary, found ${typeof value}`);
  return value;
}
function readList<T>(value: unknown, read: (value: unknown) => T, length?: number): T[] {
  const list = readArray(value, "list");
  if (length !== undefined && list.length !== length) throw new WireError(`expected ${String(length)} values, found ${String(list.length)}`);
  return list.map(read);
}
function readMap<T>(value: unknown, read: (value: unknown) => T): Record<string, T> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new WireError("expected a map");
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, read(inner)]));
}
/** A value of a later release, by its code. */
export type Other = `other:${number}`;
function readEnum<T>(codes: ReadonlyMap<number, T>, value: unknown): T | Other {
  const code = readNumber(value);
  return codes.get(code) ?? `other:${code}`;
}
function readVariant(value: unknown, what: string): [string, unknown] {
  const entries = typeof value === "object" && value !== null ? Object.entries(value) : [];
  const [entry] = entries;
  if (entries.length !== 1 || entry === undefined) throw new WireError(`a ${what} should be a map with one entry`);
  return entry;
}
