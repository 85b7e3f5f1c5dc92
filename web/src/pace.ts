import type { Step } from "./wire";

/** Simulated over real time, by the clocks of whoever made the steps. */
export function realTimeFactor(steps: readonly Step[]): number | undefined {
  const [first, last] = [steps[0], steps.at(-1)];
  if (first === undefined || last === undefined || last.wall_time_us <= first.wall_time_us) return undefined;
  return (last.sim_time_us - first.sim_time_us) / (last.wall_time_us - first.wall_time_us);
}

/** The mean over the steps that name a component. */
export function meanTimings(steps: readonly Step[]): Map<string, number> {
  const sums = new Map<string, { sum: number; n: number }>();
  for (const { timings_us: timings } of steps) {
    for (const [name, us] of Object.entries(timings)) {
      const { sum, n } = sums.get(name) ?? { sum: 0, n: 0 };
      sums.set(name, { sum: sum + us, n: n + 1 });
    }
  }
  return new Map([...sums].map(([name, { sum, n }]) => [name, sum / n]));
}
