import { batch, computed, effect, signal } from "@preact/signals";

import { addCamera, ApiError, changeCamera, errorWords, getCamera, removeCamera } from "../api";
import { browserNow } from "../link/clock";
import type { CameraConfig } from "./config";
import { type CalibrationDraft, configOf, type Draft, draftOf, matrixOn, NEW_DRAFT, problemsOf } from "./draft";
import { begin, edit, type History, redo, settle, undo } from "./history";
import type { PictureShape } from "./shape";
import { numberText } from "./number";

export type Doing = "loading" | "ready" | "failed" | "saving";

/** What the gateway has. */
interface Saved {
  config: CameraConfig;
  etag: string | undefined;
}

/** One camera, or a new one, while it is set up: what is saved, what is not, and the way back. */
export class Setup {
  readonly doing = signal<Doing>("loading");
  /** Why it could not be read, saved or removed. */
  readonly error = signal<ApiError | undefined>(undefined);
  /** When it was last saved, by the browser's clock. */
  readonly savedAtMs = signal<number | undefined>(undefined);
  /** The address that was typed is gone: this browser keeps none, because it may hold a password. */
  readonly addressLost = signal(false);
  readonly history = signal<History<Draft>>(begin(NEW_DRAFT));
  readonly draft = computed(() => this.history.value.present);
  readonly problems = computed(() => problemsOf(this.draft.value));
  readonly changed = computed(() => JSON.stringify(this.draft.value) !== JSON.stringify(this.asSaved.value));

  /** Whether the calibration is the saved one: whoever saved it answers for it. */
  readonly calibrationSaved = computed(() => {
    const before = this.saved.value?.config;
    const now = configOf(this.draft.value, before).calibration;
    return JSON.stringify(now) === JSON.stringify(before?.calibration);
  });

  private readonly saved = signal<Saved | undefined>(undefined);
  private readonly asSaved = computed(() =>
    this.saved.value === undefined ? NEW_DRAFT : draftOf(this.saved.value.config),
  );

  /** `camera` is undefined for one that is to be added. */
  constructor(readonly camera: string | undefined) {}

  /** Reads what the gateway has and what this browser kept. Returns how to stop keeping. */
  start(): () => void {
    const giveUp = new AbortController();
    void this.load(giveUp.signal);
    const stopKeeping = effect(() => {
      if (this.doing.value === "ready") {
        if (this.changed.value) keep(this.camera, this.draft.value, this.asSaved.value.uri);
        else forget(this.camera);
      }
    });
    return () => {
      giveUp.abort();
      stopKeeping();
    };
  }

  async load(signal?: AbortSignal): Promise<void> {
    const { camera } = this;
    this.doing.value = "loading";
    try {
      const answer = camera === undefined ? undefined : await getCamera(camera, signal);
      if (answer?.config === null) {
        throw new ApiError(
          0,
          "This camera's configuration cannot be read: correct it where it was written, or add it anew.",
        );
      }
      batch(() => {
        if (answer !== undefined && answer.config !== null)
          this.saved.value = { config: answer.config, etag: answer.etag };
        const saved = this.asSaved.value;
        const kept = recall(camera, saved.uri);
        this.history.value = kept === undefined ? begin(saved) : edit(begin(saved), kept.draft);
        this.addressLost.value = kept?.addressTyped ?? false;
        this.error.value = undefined;
        this.doing.value = "ready";
      });
    } catch (error) {
      if (signal?.aborted !== true) this.fail(error, "failed");
    }
  }

  /** Edits that follow each other and are `about` the same thing are undone at once. */
  change(part: Partial<Draft>, about?: string): void {
    if (part.uri !== undefined) this.addressLost.value = false;
    this.history.value = edit(this.history.value, { ...this.draft.value, ...part }, about);
  }

  /** The next edit is a step of its own. */
  settle(): void {
    this.history.value = settle(this.history.value);
  }

  undo(): void {
    this.history.value = undo(this.history.value);
  }

  redo(): void {
    this.history.value = redo(this.history.value);
  }

  /** Back to what is saved; that can be undone. */
  discard(): void {
    this.error.value = undefined;
    this.addressLost.value = false;
    this.history.value = edit(this.history.value, this.asSaved.value);
  }

  /** Whether it is saved now. `overwrite`: also what somebody else changed meanwhile. */
  async save(overwrite = false): Promise<boolean> {
    const { camera } = this;
    const saved = this.saved.value;
    const sent = this.draft.value;
    const config = configOf(sent, saved?.config);
    this.doing.value = "saving";
    try {
      if (camera === undefined) {
        await addCamera(config);
        forget(camera);
        return true;
      }
      const answer = await changeCamera(config, overwrite ? undefined : saved?.etag);
      batch(() => {
        this.saved.value = { config: answer.config ?? config, etag: answer.etag };
        // What somebody changed while it was saved stays.
        if (this.draft.value === sent) {
          // An address stands here as the gateway shows it from now on, also on the way back.
          const typed = sent.uri !== this.asSaved.value.uri;
          this.history.value = typed ? begin(this.asSaved.value) : edit(this.history.value, this.asSaved.value);
        }
        this.addressLost.value = false;
        this.savedAtMs.value = browserNow();
        this.error.value = undefined;
        this.doing.value = "ready";
      });
      return true;
    } catch (error) {
      this.fail(error, "ready");
      return false;
    }
  }

  /** Whether the camera is gone. */
  async remove(): Promise<boolean> {
    if (this.camera === undefined) return false;
    this.doing.value = "saving";
    try {
      await removeCamera(this.camera);
      forget(this.camera);
      return true;
    } catch (error) {
      this.fail(error, "ready");
      return false;
    }
  }

  /** A calibration that was given as a matrix, which this page only shows: as it lies on a picture. */
  savedMatrix(picture?: PictureShape): readonly (readonly number[])[] | undefined {
    return matrixOn(this.saved.value?.config.calibration, picture)?.world_from_image;
  }

  private fail(error: unknown, doing: Doing): void {
    batch(() => {
      this.error.value = error instanceof ApiError ? error : new ApiError(0, errorWords(error));
      this.doing.value = doing;
    });
  }
}

// ---- what this browser keeps until it is saved ----

const keyOf = (camera: string | undefined): string => `peregrine.draft.${camera ?? ""}`;

/** A draft without its address, which may hold a password. */
interface Kept extends Omit<Draft, "uri"> {
  /** It had another address than the one that is saved. */
  addressTyped: boolean;
}

function keep(camera: string | undefined, draft: Draft, savedUri: string): void {
  const { uri, ...rest } = draft;
  const kept: Kept = { ...rest, addressTyped: uri !== savedUri };
  store((to) => {
    to.setItem(keyOf(camera), JSON.stringify(kept));
  });
}

function forget(camera: string | undefined): void {
  store((to) => {
    to.removeItem(keyOf(camera));
  });
}

/** Storage can be forbidden or full: then a reload begins with what is saved. */
function store(change: (to: Storage) => void): void {
  try {
    change(sessionStorage);
  } catch {
    // See above.
  }
}

/** The draft that was kept, with the saved address; and whether another one was typed. */
function recall(camera: string | undefined, uri: string): { draft: Draft; addressTyped: boolean } | undefined {
  try {
    const text = sessionStorage.getItem(keyOf(camera));
    if (text === null) return undefined;
    const { addressTyped = false, ...kept } = JSON.parse(text) as Partial<Kept>;
    // Of another release of this page: what is missing has its default.
    const calibration = { ...NEW_DRAFT.calibration, ...kept.calibration };
    return { draft: { ...NEW_DRAFT, ...kept, calibration: withTexts(calibration), uri }, addressTyped };
  } catch {
    return undefined;
  }
}

/** Earlier releases of this page kept the metres as numbers. */
function withTexts(calibration: CalibrationDraft): CalibrationDraft {
  const text = (kept: unknown): string =>
    typeof kept === "string" ? kept : numberText(typeof kept === "number" ? kept : undefined);
  return {
    ...calibration,
    widthM: text(calibration.widthM),
    lengthM: text(calibration.lengthM),
    points: calibration.points.map(({ image, x, y }) => ({ image, x: text(x), y: text(y) })),
  };
}
