import { useEffect, useState } from "preact/hooks";

import { type Calibrated, calibrate, errorWords } from "../api";
import type { CalibrationPoint } from "./config";

/** Points move with each pixel of a drag; the gateway is asked when they rest for so long, milliseconds. */
const REST_MS = 150;

/** What the gateway makes of the points. While it is asked anew, the last answer stays. */
export interface Fit {
  calibrated: Calibrated | undefined;
  /** Why there is none. */
  error: string | undefined;
}

const NO_FIT: Fit = { calibrated: undefined, error: undefined };

export function useFit(points: readonly CalibrationPoint[] | undefined): Fit {
  const [fit, setFit] = useState(NO_FIT);
  const asked = JSON.stringify(points);
  useEffect(() => {
    if (points === undefined) {
      setFit(NO_FIT);
      return undefined;
    }
    const giveUp = new AbortController();
    const timer = setTimeout(() => {
      calibrate(points, giveUp.signal).then(
        (calibrated) => {
          setFit({ calibrated, error: undefined });
        },
        (error: unknown) => {
          if (!giveUp.signal.aborted) setFit({ calibrated: undefined, error: errorWords(error) });
        },
      );
    }, REST_MS);
    return () => {
      clearTimeout(timer);
      giveUp.abort();
    };
  }, [asked]);
  return fit;
}
