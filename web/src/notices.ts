import type { Notice, Other } from "./wire";

/** What a notice says of a camera, and the next step. */
export interface Sentence {
  title: string;
  next: string;
}

const SENTENCES: Record<Exclude<Notice, Other>, Sentence> = {
  region_off: {
    title: "The region is off: it was drawn on a picture of another shape",
    next: "Draw it again under “Set up”, or say there that it is still right.",
  },
  calibration_off: {
    title: "Speeds are off: the calibration was made on a picture of another shape",
    next: "Calibrate again under “Set up”, or say there that it is still right.",
  },
  scores_out_of_range: {
    title: "The model gives scores that are not between 0 and 1",
    next: "What it finds cannot be trusted. Export the model with its last activation (sigmoid or softmax).",
  },
  boxes_under_a_pixel: {
    title: "Most of the model's boxes are smaller than a pixel",
    next: "Export the model with boxes in pixels of its input, not in shares of it.",
  },
  boxes_outside: {
    title: "Most of the model's boxes lie far outside the picture",
    next: "The model's output has another layout than it was taken for. Describe it in a file beside the model.",
  },
  classes_not_whole: {
    title: "The model gives class numbers that are not whole",
    next: "The model's output has another layout than it was taken for. Describe it in a file beside the model.",
  },
  outputs_ambiguous: {
    title: "Several of the model's outputs could be its detections",
    next: "Export the model with one of them only, or name it in a file beside the model.",
  },
  doubtful: {
    title: "Objects are seen, but too doubtfully to be tracked",
    next: "Lower `track_activation_threshold` in the camera's configuration, or use a stronger model.",
  },
  damaged_kept: {
    title: "This picture is damaged and was analysed all the same",
    next: 'The camera has `source.damaged = "keep"`. Check its network.',
  },
  damage_analysed: {
    title: "Most pictures are damaged, so all of them are analysed",
    next: "Boxes may be wrong. Check the camera's network and bit rate.",
  },
};

/** A notice as a sentence; one of a later release has its number. */
export function sentence(notice: Notice): Sentence {
  // A code of a later release is not in the table.
  const known: Partial<Record<Notice, Sentence>> = SENTENCES;
  return (
    known[notice] ?? {
      title: `The analysis has a notice that this page does not know (${notice})`,
      next: "Reload the page: it may be older than the system.",
    }
  );
}
