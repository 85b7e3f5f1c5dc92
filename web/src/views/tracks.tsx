import { classColour } from "../draw/colours";
import { className } from "../draw/overlay";
import { speedWithError } from "../format";
import { speedUnit } from "../settings";
import type { Track } from "../wire";
import { Objects } from "./objects";

interface TracksProps {
  tracks: readonly Track[];
  classes: readonly string[];
  calibrated: boolean;
}

/** The objects in the picture. */
export function Tracks({ tracks, classes, calibrated }: TracksProps) {
  const unit = speedUnit.value;
  const sorted = [...tracks].sort((a, b) => a.track_id - b.track_id);
  const rows = sorted.map((track) => {
    const name = className(classes, track.class_id);
    return (
      <tr key={track.track_id} class={track.in_region ? "" : "outside"}>
        <td>
          <span class="swatch" style={{ background: classColour(name).line }} />
          {name} {track.track_id}
        </td>
        <td>{track.in_region ? track.state : "outside"}</td>
        <td class="number">
          {track.speed === null ? "–" : speedWithError(track.speed.speed_mps, track.speed.std_error_mps, unit)}
        </td>
      </tr>
    );
  });
  return (
    <Objects one="track" title="Tracks" second="State" nothing="Nothing is tracked right now." rows={rows}>
      {!calibrated && (
        <p class="nothing">No speeds: this camera is not calibrated. “Set up” does it with four clicks.</p>
      )}
    </Objects>
  );
}
