// A camera's configuration as the gateway takes and gives it: the same words as in the configuration files.

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
  [other: string]: unknown;
}

export interface CalibrationConfig {
  points?: readonly CalibrationPoint[];
  world_from_image?: readonly (readonly number[])[];
}

export interface CalibrationPoint {
  image: Point;
  /** Metres: X to the right, Y away. */
  ground: Point;
}
