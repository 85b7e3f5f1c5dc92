import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

import type { OverlayOptions } from "../draw/overlay";
import { sentence } from "../notices";
import { session } from "../session";
import { speedUnit } from "../settings";
import { aspectOf } from "../setup/shape";
import { badgeWords, type Situation } from "../situation";
import type { CameraState } from "../wire";
import { State } from "./shapes";

interface PictureProps {
  camera: CameraState;
  situation: Situation;
  /** With labels at the boxes and the full text of what to do; tiles have no room for it. */
  large: boolean;
  /** What lies on the picture, as wide and high as it. */
  children?: ComponentChildren;
}

/** The live picture of a camera with its overlay; asks for frames only while it is on the screen. */
export function Picture({ camera, situation, large, children }: PictureProps) {
  const frame = useRef<HTMLDivElement>(null);
  const picture = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLCanvasElement>(null);
  const options = useRef<OverlayOptions>(NO_OPTIONS);
  const id = camera.camera;
  const feed = session.feed(id);
  const { seen, notices, picture: shape } = feed.numbers.value;
  const [notice] = notices;
  const classes = session.models.classes(camera.model);

  useEffect(() => {
    options.current = { classes, region: camera.region, regionOn: camera.source, unit: speedUnit.value, labels: large };
    feed.redraw();
  }, [classes, camera.region, camera.source, speedUnit.value, large, feed]);

  useEffect(() => {
    const elements = { frame: frame.current, picture: picture.current, overlay: overlay.current };
    if (elements.frame === null || elements.picture === null || elements.overlay === null) return undefined;
    const box = elements.frame;
    const detach = feed.attach({
      picture: elements.picture,
      overlay: elements.overlay,
      options: () => options.current,
    });
    let visible = false;
    const watch = (): void => {
      // A camera that fills the page is watched also while its picture is scrolled off: the timeline below it is not.
      if (visible || large) session.watch(id, box.clientWidth * window.devicePixelRatio);
      else session.unwatch(id);
    };
    const onScreen = new IntersectionObserver(
      (entries) => {
        visible = entries.at(-1)?.isIntersecting ?? false;
        watch();
      },
      { rootMargin: "100px" },
    );
    onScreen.observe(box);
    const resized = new ResizeObserver(() => {
      watch();
      feed.redraw();
    });
    resized.observe(box);
    return () => {
      onScreen.disconnect();
      resized.disconnect();
      detach();
      session.unwatch(id);
    };
  }, [feed, id, large]);

  const known = shape ?? camera.source;
  const ratio = known === null ? 16 / 9 : aspectOf(known);
  const has = seen.pictureAgeMs !== undefined;
  return (
    <div
      class={`picture ${large ? "large" : "small"} ${situation.old && has ? "old" : ""}`}
      style={{ "--ratio": ratio }}
    >
      <div class="frame" ref={frame}>
        <canvas
          ref={picture}
          class="pixels"
          width="16"
          height="9"
          role="img"
          aria-label={`Picture of ${camera.name || id}`}
        />
        <canvas ref={overlay} class="overlay" width="16" height="9" aria-hidden="true" />
        {situation.help !== undefined && (
          <div class={`advice ${has ? "below" : "middle"}`}>
            <strong>{situation.help.title}</strong>
            {(large || !has) && <span>{situation.help.next}</span>}
            {(large || !has) && situation.help.command !== undefined && <code>{situation.help.command}</code>}
          </div>
        )}
        {!large && situation.help === undefined && notice !== undefined && (
          <div class="advice below" data-testid="tile-notice">
            <strong>{sentence(notice).title}</strong>
          </div>
        )}
        {!large && (
          <span class="badge top-left">
            <State situation={situation} />
          </span>
        )}
        {has && (
          <span class={`badge top-right age ${situation.old ? "warn" : ""}`} data-testid="age">
            {badgeWords(seen)}
          </span>
        )}
        {children}
      </div>
    </div>
  );
}

const NO_OPTIONS: OverlayOptions = { classes: [], region: [], regionOn: null, unit: "km/h", labels: false };
