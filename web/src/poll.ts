import { useEffect, useState } from "preact/hooks";

import { ApiError, errorWords } from "./api";

/** What was answered last, and why the newest question was not answered, if it was not. */
export interface Polled<T> {
  value: T | undefined;
  error: ApiError | undefined;
}

/** Asks again and again while the page is visible; the next question waits for the last answer. */
export function usePolled<T>(ask: (signal: AbortSignal) => Promise<T>, everyMs: number): Polled<T> {
  const [polled, setPolled] = useState<Polled<T>>({ value: undefined, error: undefined });
  useEffect(() => {
    const giveUp = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const turn = async (): Promise<void> => {
      clearTimeout(timer);
      if (!document.hidden) {
        try {
          const value = await ask(giveUp.signal);
          setPolled({ value, error: undefined });
        } catch (thrown) {
          if (giveUp.signal.aborted) return;
          const error = thrown instanceof ApiError ? thrown : new ApiError(0, errorWords(thrown));
          setPolled(({ value }) => ({ value, error }));
        }
      }
      timer = setTimeout(() => void turn(), everyMs);
    };
    void turn();
    return () => {
      giveUp.abort();
      clearTimeout(timer);
    };
  }, [ask, everyMs]);
  return polled;
}
