import { useEffect, useState } from "preact/hooks";

import { type Calibrated, calibrate, errorWords, type Trial } from "../api";

/** Points move with each pixel of a drag; the gateway is asked when they rest for so long, milliseconds. */
const REST_MS = 150;

/** What the gateway makes of a calibration. While it is asked anew, the last answer stays. */
export interface Fit {
  calibrated: Calibrated | undefined;
  /** Why there is none. */
  error: string | undefined;
  /** Whether what is here is about an earlier calibration. */
  asking: boolean;
  /** Names the calibration that was asked about. */
  asked: string | undefined;
}

const NO_FIT = { calibrated: undefined, error: undefined, answered: undefined };

export function useFit(trial: Trial | undefined): Fit {
  const [{ answered, ...fit }, setFit] = useState<Pick<Fit, "calibrated" | "error"> & { answered: string | undefined }>(
    NO_FIT,
  );
  const asked = JSON.stringify(trial) as string | undefined;
  useEffect(() => {
    if (trial === undefined) {
      setFit(NO_FIT);
      return undefined;
    }
    const giveUp = new AbortController();
    const timer = setTimeout(() => {
      calibrate(trial, giveUp.signal).then(
        (calibrated) => {
          setFit({ calibrated, error: undefined, answered: asked });
        },
        (error: unknown) => {
          if (!giveUp.signal.aborted) setFit({ calibrated: undefined, error: errorWords(error), answered: asked });
        },
      );
    }, REST_MS);
    return () => {
      clearTimeout(timer);
      giveUp.abort();
    };
  }, [asked]);
  return { ...fit, asking: asked !== answered, asked };
}
