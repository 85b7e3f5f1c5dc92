import { stageMs } from "../format";
import { type Journey, STAGES } from "../journey";

/** Where the milliseconds of the frame on the screen went, from capture to paint. */
export function Waterfall({ journey }: { journey: Journey | undefined }) {
  let end = Math.max(1, journey?.totalUs ?? 0);
  for (const [stage, { startUs, us }] of journey?.steps ?? [])
    if (stage !== "capture") end = Math.max(end, startUs + us);
  return (
    <section class="card" aria-labelledby="waterfall-title">
      <h2 id="waterfall-title">
        Capture to paint
        <span class="card-figure">{journey === undefined ? "–" : `${stageMs(journey.totalUs)} ms`}</span>
      </h2>
      <ol class="waterfall" aria-label="Stages with their milliseconds">
        {STAGES.map(({ stage, doer, about }) => {
          const step = journey?.steps.get(stage);
          const before = stage === "capture";
          // A frame cannot carry how long its own writing took: its header is part of what is written.
          const within = stage === "publish" && journey !== undefined && step === undefined;
          return (
            <li key={stage} class={`${doer} ${step === undefined ? "absent" : ""}`} title={about}>
              <span class="stage">{stage}</span>
              <span class="track" aria-hidden="true">
                {step !== undefined && !before && (
                  <span class="bar" style={{ clipPath: between(step.startUs / end, (step.startUs + step.us) / end) }} />
                )}
                {before && <span class="before">before the frame</span>}
                {within && <span class="before">within queue</span>}
              </span>
              <span class="ms">{step === undefined ? "–" : stageMs(step.us)}</span>
            </li>
          );
        })}
      </ol>
      <p class="legend" aria-hidden="true">
        <span class="producer">producer</span>
        <span class="stream">stream</span>
        <span class="processor">processor</span>
        <span class="delivery">to the screen</span>
      </p>
    </section>
  );
}

/** The part of a full bar that is shown: clipping moves nothing. At least two pixels, so that no stage vanishes. */
function between(start: number, end: number): string {
  const percent = (share: number): string => `${(Math.min(1, Math.max(0, share)) * 100).toFixed(2)}%`;
  return `inset(0 max(0%, ${percent(1 - end)} - 2px) 0 ${percent(start)} round 3px)`;
}
