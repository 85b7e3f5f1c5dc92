// Numbers as people read them. Everything inside is SI; units exist only here.

export type SpeedUnit = "km/h" | "mph";

const PER_MPS: Record<SpeedUnit, number> = { "km/h": 3.6, mph: 2.236_936_292_054_402_3 };

/** `4.9 ± 0.3`: as many decimals as the error gives meaning to. Without the unit. */
export function speedWithError(speedMps: number, errorMps: number, unit: SpeedUnit): string {
  const speed = speedMps * PER_MPS[unit];
  const error = errorMps * PER_MPS[unit];
  if (!Number.isFinite(speed) || !Number.isFinite(error)) return "–";
  const decimals = error < 9.95 ? 1 : 0;
  const shown = error < 0.05 ? "<0.1" : error.toFixed(decimals);
  return `${plain(speed, decimals)} ± ${shown}`;
}

/** `49`: a speed that is known exactly. Without the unit. */
export function speed(speedMps: number, unit: SpeedUnit): string {
  return plain(speedMps * PER_MPS[unit], 0);
}

/** Like `toFixed`, without the minus of a rounded zero. */
function plain(value: number, decimals: number): string {
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? (0).toFixed(decimals) : text;
}

/** An age as a person says it: `84 ms`, `3.2 s`, `2 min`, `3 h`. */
export function age(ms: number): string {
  const value = Math.max(0, ms);
  if (value < 999.5) return `${value.toFixed(0)} ms`;
  if (value < 59_950) return `${(value / 1000).toFixed(1)} s`;
  if (value < 3_570_000) return `${Math.round(value / 60_000)} min`;
  if (value < 48 * 3_600_000) return `${Math.round(value / 3_600_000)} h`;
  return `${Math.round(value / 86_400_000)} days`;
}

/** The time of day, local, to the millisecond: `14:03:07.250`. */
export function timeOfDay(ms: number): string {
  const at = new Date(ms);
  const two = (value: number): string => value.toString().padStart(2, "0");
  const millis = at.getMilliseconds().toString().padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${millis}`;
}

/** A stage's duration in milliseconds, without the unit, for a column of them. */
export function stageMs(us: number): string {
  const ms = us / 1000;
  if (ms < 0.05) return "0.0";
  return ms < 99.95 ? ms.toFixed(1) : ms.toFixed(0);
}

/** A rate: `7.0`, `29.97` → `30.0`. */
export function rate(perSecond: number): string {
  return perSecond < 99.95 ? plain(perSecond, 1) : perSecond.toFixed(0);
}

/** Any number, with as many digits as a person takes in: `0.0123`, `12.3`, `12 345`. */
export function number(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 10_000) return size < 1e12 ? (value < 0 ? `−${count(size)}` : count(value)) : value.toExponential(2);
  if (size < 0.001) return value.toExponential(2);
  return plain(value, size < 1 ? 4 : size < 100 ? 2 : 1);
}

/** A count with thin groups: `12 345`. */
export function count(value: number): string {
  return Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** `1 object`, `2 objects`. */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** `queue_full` → `queue full`. */
export function words(name: string): string {
  return name.replaceAll("_", " ");
}
