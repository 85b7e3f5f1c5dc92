//! `processor speed`: tracks of image points to one speed a track.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context;
use peregrine_geometry::Calibration;
use peregrine_proto::CalibrationConfig;
use serde::{Deserialize, Serialize};

use crate::{
    speed::FASTEST_MPS,
    straight_line::{LineSpeed, PointNoise, line_speed},
};

/// Measures the speed of each track of a file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON with `fps`, `width`, `height` (pixels), `homography_px_to_m` (3x3, row by row) and `tracks`, each with
    /// `id`, `frames` (indices, rising), `x` and `y` (pixels, one for each frame, of a point on the road).
    /// `scale_spread`, the least and the largest true length of known distances over that by the homography, is
    /// optional and widens the standard errors.
    #[arg(long, value_name = "FILE")]
    pub tracks: PathBuf,
    /// Where to write one JSON object a track, one a line: `id`, `speed_kmh`, `std_error_kmh`. Both are null where no
    /// speed is known: fewer than three usable points, fewer than nine in a file that shows too little of the points'
    /// noise, or faster than 300 km/h.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Session {
    fps: f64,
    width: f64,
    height: f64,
    homography_px_to_m: [[f64; 3]; 3],
    #[serde(default)]
    scale_spread: Option<[f64; 2]>,
    tracks: Vec<Track>,
}

#[derive(Debug, Deserialize)]
struct Track {
    id: i64,
    frames: Vec<i64>,
    x: Vec<f64>,
    y: Vec<f64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Line {
    id: i64,
    speed_kmh: Option<f64>,
    std_error_kmh: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// When a file cannot be read or written, or is not of this form.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let path = &args.tracks;
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let session: Session = serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("{} is no session of tracks (see --help for its form)", path.display()))?;
    let lines = measure(&session).with_context(|| format!("{} cannot be used", path.display()))?;
    let out = &args.out;
    let mut writer =
        BufWriter::new(File::create(out).with_context(|| format!("cannot write {}", out.display()))?);
    for line in lines {
        serde_json::to_writer(&mut writer, &line)?;
        writer.write_all(b"\n").with_context(|| format!("cannot write {}", out.display()))?;
    }
    writer.flush().with_context(|| format!("cannot write {}", out.display()))
}

fn measure(session: &Session) -> anyhow::Result<Vec<Line>> {
    let Session { fps, width, height, homography_px_to_m, scale_spread, tracks } = session;
    anyhow::ensure!(fps.is_finite() && *fps > 0.0, "fps is {fps}: it must be above 0");
    let config =
        CalibrationConfig { points: Vec::new(), world_from_image: Some(*homography_px_to_m), drawn_on: None };
    let homography = Calibration::new(&config)?.homography([*width, *height]).context(
        "homography_px_to_m has its horizon at the picture's lower edge: is it from pixels to metres?",
    )?;
    // The scale anywhere along the road is anywhere in the spread: a uniform distribution.
    let scale_error = scale_spread.map_or(0.0, |[least, most]| (most - least).abs() / 12.0_f64.sqrt());
    let mut noise = PointNoise::default();
    for Track { id, frames, x, y } in tracks {
        let n = frames.len();
        anyhow::ensure!(
            x.len() == n && y.len() == n,
            "track {id} has {n} frames, {} x and {} y: there must be one of each for a frame",
            x.len(),
            y.len()
        );
        anyhow::ensure!(
            frames.is_sorted_by(|a, b| a < b),
            "track {id} has frames out of order or twice: sort them"
        );
        noise.add(&in_picture(*fps, frames, x, y));
    }
    let noise = noise.covariance();
    let mut lines = Vec::with_capacity(tracks.len());
    for Track { id, frames, x, y } in tracks {
        let seen = in_picture(*fps, frames, x, y);
        let points: Vec<(f64, [f64; 2])> =
            seen.iter().filter_map(|(time, at)| Some((*time, homography.ground(*at)?))).collect();
        // The noise is even in the picture; on the ground it is what it is around the track's middle.
        let noise = noise.and_then(|noise| {
            let metres_by_pixel = homography.ground_by_image(seen.get(seen.len() / 2)?.1)?;
            Some(metres_by_pixel * noise * metres_by_pixel.transpose())
        });
        let speed = line_speed(&points, noise.as_ref()).filter(|speed| speed.speed_mps <= FASTEST_MPS);
        let kmh = |mps: f64| (mps * 3.6 * 1e4).round() / 1e4;
        lines.push(match speed {
            None => Line { id: *id, speed_kmh: None, std_error_kmh: None },
            Some(LineSpeed { speed_mps, std_error_mps }) => Line {
                id: *id,
                speed_kmh: Some(kmh(speed_mps)),
                std_error_kmh: Some(kmh(std_error_mps.hypot(scale_error * speed_mps))),
            },
        });
    }
    Ok(lines)
}

/// Seconds and pixels of a track's points.
fn in_picture(fps: f64, frames: &[i64], x: &[f64], y: &[f64]) -> Vec<(f64, [f64; 2])> {
    frames.iter().zip(x.iter().zip(y)).map(|(frame, (x, y))| (*frame as f64 / fps, [*x, *y])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(tracks: &str) -> serde_json::Result<Session> {
        let rest = r#""fps": 50, "width": 1920, "height": 1080, "homography_px_to_m": [[0.01,0,0],[0,0.01,0],[0,0,1]]"#;
        serde_json::from_str(&format!(
            r#"{{{rest}, "scale_spread": [0.9, 1.1], "note": 1, "tracks": [{tracks}]}}"#
        ))
    }

    #[test]
    fn each_track_has_one_line_and_none_is_faster_than_300_kmh() {
        let tracks = r#"{"id": 4, "frames": [0,1,2,3,4,5,6,7,8], "x": [0,20,40,60,80,100,120,140,160], "y": [5,5,5,5,5,5,5,5,5]},
            {"id": 5, "frames": [0,1,2,3,4,5,6,7,8], "x": [0,200,400,600,800,1000,1200,1400,1600], "y": [5,5,5,5,5,5,5,5,5]},
            {"id": 6, "frames": [10], "x": [0], "y": [5]}"#;
        let lines = measure(&session(tracks).unwrap()).unwrap();
        assert_eq!(
            lines.iter().map(|line| (line.id, line.speed_kmh)).collect::<Vec<_>>(),
            [(4, Some(36.0)), (5, None), (6, None)]
        );
        // The line is exact; what is left is the scale: 0.2 / √12 of 36 km/h.
        assert!((lines[0].std_error_kmh.unwrap() - 2.0785).abs() < 1e-3);
    }

    #[test]
    fn unusable_tracks_are_refused_by_name() {
        let said = |tracks| format!("{:#}", measure(&session(tracks).unwrap()).unwrap_err());
        let uneven = said(r#"{"id": 9, "frames": [1, 2], "x": [0], "y": [5, 5]}"#);
        assert_eq!(uneven, "track 9 has 2 frames, 1 x and 2 y: there must be one of each for a frame");
        assert!(
            said(r#"{"id": 9, "frames": [2, 2], "x": [0, 1], "y": [5, 5]}"#)
                .contains("track 9 has frames out of order")
        );
    }

    /// Deterministic noise: normal enough, standard deviation 1.
    struct Noise(u64);

    impl Noise {
        fn normal(&mut self) -> f64 {
            let uniform = || {
                self.0 =
                    self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.0 >> 11) as f64 / (1_u64 << 53) as f64
            };
            std::iter::repeat_with(uniform).take(12).sum::<f64>() - 6.0
        }
    }

    #[test]
    fn short_tracks_are_as_far_off_as_their_errors_say() {
        // A camera 6 m above the ground that looks along +Y, 25° down, as in `Scene`; a point of 1 px of jitter.
        let (sin, cos) = 25.0_f64.to_radians().sin_cos();
        let (focal, height) = (600.0, 6.0);
        let picture = |x: f64, y: f64| {
            let (depth, down) = (y * cos + height * sin, height * cos - y * sin);
            [320.0 + focal * x / depth, 240.0 + focal * down / depth]
        };
        let homography_px_to_m = [
            [height, 0.0, -height * 320.0],
            [0.0, -height * sin, height * (focal * cos + 240.0 * sin)],
            [0.0, cos, focal * sin - 240.0 * cos],
        ];
        let mut noise = Noise(5);
        for kmh in [0.0, 50.0] {
            for n in [3, 4, 5, 6, 8] {
                let track = |id| {
                    let mut track = Track { id, frames: (0..n).collect(), x: Vec::new(), y: Vec::new() };
                    for frame in 0..n {
                        let [x, y] = picture(-3.0 + kmh / 3.6 * frame as f64 / 25.0, 18.0);
                        track.x.push(x + noise.normal());
                        track.y.push(y + noise.normal());
                    }
                    track
                };
                let tracks: Vec<Track> = (0..600).map(track).collect();
                let session = Session {
                    fps: 25.0,
                    width: 640.0,
                    height: 480.0,
                    homography_px_to_m,
                    scale_spread: None,
                    tracks,
                };
                let off: Vec<f64> = measure(&session)
                    .unwrap()
                    .iter()
                    .map(|line| (line.speed_kmh.unwrap() - kmh).abs() / line.std_error_kmh.unwrap())
                    .collect();
                let within = |errors: f64| off.iter().filter(|off| **off <= errors).count() as f64 / 600.0;
                let (one, two, three) = (within(1.0), within(2.0), within(3.0));
                assert!((0.62..=0.74).contains(&one), "{kmh} km/h, {n} points: {one} within one error");
                assert!(two > 0.93 && three >= 0.98, "{kmh} km/h, {n} points: {two} and {three}");
            }
        }
    }
}
