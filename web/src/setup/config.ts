// A camera's configuration as the gateway takes and gives it: the same words as in the configuration files.

import type { PictureShape } from "./shape";

/** Column and row in source pixels; pixel centres are at half-integers. On the ground: metres. */
export type Point = readonly [number, number];

export interface CameraConfig {
  id: string;
  name?: string;
  source: SourceConfig;
  analysis?: AnalysisConfig;
  calibration?: CalibrationConfig;
}

/** What this page does not know goes back as it came. */
export interface SourceConfig {
  uri: string;
  loop?: boolean;
  [other: string]: unknown;
}

export interface AnalysisConfig {
  /** Class names to keep; all where empty. */
  classes?: readonly string[];
  confidence?: number;
  /** Polygon in source pixels; empty for the whole picture. */
  region?: readonly Point[];
  /** The picture that the region was drawn on. */
  region_drawn_on?: PictureShape | undefined;
  [other: string]: unknown;
}

export interface CalibrationConfig {
  points?: readonly CalibrationPoint[];
  world_from_image?: readonly (readonly number[])[];
  /** The picture whose pixels these are. */
  drawn_on?: PictureShape | undefined;
}

export interface CalibrationPoint {
  image: Point;
  /** Metres: X to the right, Y away. */
  ground: Point;
}
