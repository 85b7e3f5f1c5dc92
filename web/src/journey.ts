import type { FrameResult, Stage } from "./wire";

/** Who does a stage: the groups of the waterfall. */
export type Doer = "producer" | "stream" | "processor" | "delivery";

/** Every stage in the order of the journey. `capture` is the wait for the source to have a frame: it ends where age begins. */
export const STAGES: readonly { stage: Stage; doer: Doer; about: string }[] = [
  { stage: "capture", doer: "producer", about: "Wait for the source to have the frame. Not part of its age." },
  { stage: "decode", doer: "producer", about: "Packet to picture." },
  {
    stage: "hold",
    doer: "producer",
    about: "Held for the frames shown before it (B-frames), or for the camera's thread.",
  },
  { stage: "resize", doer: "producer", about: "Source size to analysis size." },
  { stage: "credit", doer: "producer", about: "A file waits for the stream to have room." },
  { stage: "publish", doer: "producer", about: "Write the frame into its stream." },
  { stage: "queue", doer: "stream", about: "Lie in the stream until a processor takes it." },
  { stage: "read", doer: "processor", about: "Read the frame from the stream." },
  { stage: "wait", doer: "processor", about: "Wait for a batch or a worker thread." },
  { stage: "preprocess", doer: "processor", about: "Pixels to the model's input." },
  { stage: "infer", doer: "processor", about: "The model." },
  { stage: "postprocess", doer: "processor", about: "The model's output to boxes." },
  { stage: "track", doer: "processor", about: "Boxes to tracks." },
  { stage: "speed", doer: "processor", about: "Tracks to speeds." },
  { stage: "zones", doer: "processor", about: "Tracks to zones." },
  { stage: "commit", doer: "processor", about: "Write the result, until the gateway sees it." },
  { stage: "deliver", doer: "delivery", about: "Gateway to browser, picture decoded; relay included." },
  { stage: "paint", doer: "delivery", about: "Decoded to painted." },
];

export interface Step {
  /** Offset from capture, microseconds. */
  startUs: number;
  us: number;
}

export interface Journey {
  steps: ReadonlyMap<Stage, Step>;
  /** From capture to paint by the clock, microseconds. */
  totalUs: number;
}

/**
 * Lays a painted frame's stages end to end from capture to paint. The processor's stamps end at `zones`; the time from
 * there until the gateway saw the commit, then until decoded and painted, is told from wall clocks (all by the gateway's).
 * A frame that was read back later has no such times: its journey ends with its stamps.
 */
export function journey(
  result: Pick<FrameResult, "captured_at_us" | "stages">,
  at: { seenUs: number; decodedUs: number; paintedUs: number } | undefined,
): Journey {
  const stamped = new Map<Stage, number>();
  for (const { stage, us } of result.stages) stamped.set(stage, (stamped.get(stage) ?? 0) + us);
  const steps = new Map<Stage, Step>();
  let cursor = 0;
  for (const { stage } of STAGES) {
    const us = stamped.get(stage);
    if (us === undefined) continue;
    steps.set(stage, { startUs: stage === "capture" ? 0 : cursor, us });
    if (stage !== "capture") cursor += us;
  }
  if (at === undefined) return { steps, totalUs: cursor };
  const clocks = { seen: at.seenUs, decoded: at.decodedUs, painted: at.paintedUs };
  const append = (stage: Stage, until: number): void => {
    const us = Math.max(0, until - result.captured_at_us - cursor);
    steps.set(stage, { startUs: cursor, us });
    cursor += us;
  };
  if (!stamped.has("commit")) append("commit", clocks.seen);
  append("deliver", clocks.decoded);
  append("paint", clocks.painted);
  return { steps, totalUs: Math.max(0, at.paintedUs - result.captured_at_us) };
}
