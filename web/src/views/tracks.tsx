import { classColour } from "../draw/colours";
import { className } from "../draw/overlay";
import { plural, speedWithError } from "../format";
import { speedUnit } from "../settings";
import type { Track } from "../wire";

interface TracksProps {
  tracks: readonly Track[];
  classes: readonly string[];
  calibrated: boolean;
}

/** The objects in the picture. The list has a fixed height: it scrolls, nothing below it moves. */
export function Tracks({ tracks, classes, calibrated }: TracksProps) {
  const unit = speedUnit.value;
  const sorted = [...tracks].sort((a, b) => a.track_id - b.track_id);
  return (
    <section class="card" aria-labelledby="tracks-title">
      <h2 id="tracks-title">
        Tracks
        <span class="card-figure">{plural(tracks.length, "track")}</span>
      </h2>
      <div class="tracks" tabIndex={0} role="region" aria-label="List of tracks">
        {sorted.length === 0 ? (
          <p class="nothing">Nothing is tracked right now.</p>
        ) : (
          <table>
            <thead>
              <tr>
                <th scope="col">Object</th>
                <th scope="col">State</th>
                <th scope="col" class="number">
                  Speed, {unit}
                </th>
              </tr>
            </thead>
            <tbody>
              {sorted.map((track) => {
                const name = className(classes, track.class_id);
                return (
                  <tr key={track.track_id} class={track.in_region ? "" : "outside"}>
                    <td>
                      <span class="swatch" style={{ background: classColour(name).line }} />
                      {name} {track.track_id}
                    </td>
                    <td>{track.in_region ? track.state : "outside"}</td>
                    <td class="number">
                      {track.speed === null
                        ? "–"
                        : speedWithError(track.speed.speed_mps, track.speed.std_error_mps, unit)}
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        )}
      </div>
      {!calibrated && (
        <p class="nothing">No speeds: this camera is not calibrated. “Set up” does it with four clicks.</p>
      )}
    </section>
  );
}
