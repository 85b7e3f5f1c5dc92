//! Whether speeds are as far off as their standard errors say: tracks and speeds of an intersection whose truth is known.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Result, anyhow};
use peregrine_media::synthetic::{Scene, SceneConfig, TruthObject};
use peregrine_processor::camera_analysis::CameraAnalysis;
use peregrine_proto::{CameraConfig, Detection, PictureShape, Track};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::Report;

/// Follows the vehicles of `synthetic:road?signals=1` from their true boxes with jitter, by the processor's tracker and
/// speed filters, and compares their speeds with the truth: of each vehicle nearer than 50 m one speed a second.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Vehicles of each kind of motion, at least.
    #[arg(long, default_value_t = 300)]
    vehicles: usize,
    /// Standard deviation of each edge of a box, pixels.
    #[arg(long, default_value_t = 1.0)]
    jitter: f64,
    /// Seed of the first scene and of the jitter.
    #[arg(long, default_value_t = 1000)]
    seed: u64,
    /// Print all figures as JSON.
    #[arg(long)]
    json: bool,
}

const CLASSES: [&str; 4] = ["person", "car", "bus", "truck"];
const FPS: f64 = 25.0;
/// Frames of one scene: four cycles of its signals.
const FRAMES: u64 = 4400;
const NEAR_M: f64 = 50.0;
/// Of speeds that are told: least share within one and two standard errors, most within one, most beyond three.
const WITHIN_ONE: (f64, f64) = (0.62, 0.74);
const WITHIN_TWO: f64 = 0.93;
const BEYOND_THREE: f64 = 0.02;
/// Least share of frames with a speed, from a second of steady motion on.
const TOLD: f64 = 0.9;

/// How a vehicle moves while it is near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Motion {
    Constant,
    Accelerating,
    Braking,
    StopAndGo,
    Turning,
}

const MOTIONS: [(Motion, &str); 5] = [
    (Motion::Constant, "constant"),
    (Motion::Accelerating, "accelerating"),
    (Motion::Braking, "braking"),
    (Motion::StopAndGo, "stop and go"),
    (Motion::Turning, "turning"),
];

/// The true and the measured speed of a vehicle in a frame.
struct Moment {
    frame: u64,
    speed: f64,
    heading: f64,
    said: Option<[f64; 2]>,
}

#[derive(Debug, Default, serde::Serialize)]
struct Shares {
    vehicles: usize,
    /// Speeds that were compared.
    speeds: usize,
    within_one: usize,
    within_two: usize,
    beyond_three: usize,
    /// Root mean squares, metres per second.
    said: f64,
    made: f64,
    /// Frames after a second of steady motion, and those of them with a speed.
    steady: usize,
    told: usize,
}

pub(crate) fn run(args: &Args) -> Result<Report> {
    let shares = measure(args)?;
    let text = if args.json { serde_json::to_string_pretty(&shares)? } else { table(&shares) };
    Ok(Report { text, broken: shares.iter().flat_map(|(motion, shares)| broken(*motion, shares)).collect() })
}

fn measure(args: &Args) -> Result<BTreeMap<Motion, Shares>> {
    let mut found: BTreeMap<Motion, Shares> =
        MOTIONS.iter().map(|(motion, _)| (*motion, Shares::default())).collect();
    for seed in args.seed.. {
        let mut draw = StdRng::seed_from_u64(seed);
        for life in lives(seed, args.jitter, &mut draw)?.values() {
            if let Some(shares) = motion(life).and_then(|motion| found.get_mut(&motion)) {
                shares.add(life, &mut draw);
            }
        }
        if found.values().all(|shares| shares.vehicles >= args.vehicles) {
            break;
        }
    }
    for shares in found.values_mut() {
        [shares.said, shares.made] =
            [shares.said, shares.made].map(|sum| (sum / shares.speeds as f64).sqrt());
    }
    Ok(found)
}

/// All vehicles of a scene by id, while they are near.
fn lives(seed: u64, jitter: f64, draw: &mut StdRng) -> Result<BTreeMap<u64, Vec<Moment>>> {
    let config = SceneConfig {
        seed,
        frames: FRAMES,
        fps: FPS,
        vehicles: 12,
        people: 0,
        signals: true,
        ..SceneConfig::default()
    };
    let scene = Scene::new(config).map_err(anyhow::Error::msg)?;
    let mut camera: CameraConfig = serde_json::from_value(
        serde_json::json!({ "id": "scene", "source": { "uri": "synthetic:road?signals=1" } }),
    )?;
    camera.calibration = Some(scene.calibration());
    let mut analysis = CameraAnalysis::new(&camera, &CLASSES.map(str::to_owned))
        .map_err(|problems| anyhow!("the scene's camera cannot be used: {}", problems.join(", ")))?;
    let mut lives: BTreeMap<u64, Vec<Moment>> = BTreeMap::new();
    for frame in 0..FRAMES {
        let truth = scene.truth(frame);
        let detections: Vec<Detection> = truth
            .objects
            .iter()
            .enumerate()
            .map(|(nth, object)| detected(nth, object, jitter, draw))
            .collect();
        let picture = PictureShape::new(scene.config().size, 1.0);
        let analysed = analysis.update(truth.media_time_us, false, picture, &detections, |_| {});
        for (nth, object) in
            truth.objects.iter().enumerate().filter(|(_, object)| object.ground_m[1] < NEAR_M)
        {
            let of_object = |track: &&Track| track.detection == u16::try_from(nth).ok();
            let speed = analysed.tracks.iter().find(of_object).and_then(|track| track.speed);
            lives.entry(object.id).or_default().push(Moment {
                frame,
                speed: object.speed_mps,
                heading: object.heading_rad,
                said: speed.map(|speed| [speed.speed_mps, speed.std_error_mps].map(f64::from)),
            });
        }
    }
    Ok(lives)
}

/// Detections as a detector gives them. Scores fall, so that the detections keep their order.
fn detected(nth: usize, object: &TruthObject, jitter: f64, draw: &mut StdRng) -> Detection {
    // The sum of twelve even draws is normal enough.
    let mut normal = || (0..12).map(|_| draw.random::<f64>()).sum::<f64>() - 6.0;
    Detection {
        xyxy: object.xyxy.map(|edge| (edge + jitter * normal()) as f32),
        confidence: 0.95 - 0.001 * nth as f32,
        class_id: CLASSES.iter().position(|name| *name == object.class).unwrap_or_default() as u16,
    }
}

/// None for what is near for less than a second, and for what both accelerates and brakes.
fn motion(life: &[Moment]) -> Option<Motion> {
    let (Some(first), Some(last)) = (life.first(), life.last()) else { return None };
    let range = |of: fn(&Moment) -> f64| {
        life.iter()
            .map(of)
            .fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)))
    };
    let ((slowest, fastest), (from, to)) = (range(|m| m.speed), range(|m| m.heading));
    if (life.len() as f64) < FPS {
        return None;
    }
    Some(match last.speed - first.speed {
        _ if to - from > 0.35 => Motion::Turning,
        _ if slowest < 0.3 => Motion::StopAndGo,
        _ if fastest - slowest < 0.5 => Motion::Constant,
        faster if faster > 1.0 => Motion::Accelerating,
        faster if faster < -1.0 => Motion::Braking,
        _ => return None,
    })
}

impl Shares {
    fn add(&mut self, life: &[Moment], draw: &mut StdRng) {
        let second = FPS as usize;
        self.vehicles += 1;
        for last in second..life.len() {
            let steady = life[last - second..=last].windows(2).all(|pair| {
                (pair[1].speed - pair[0].speed).abs() * FPS < 0.3 && pair[1].heading == pair[0].heading
            });
            self.steady += usize::from(steady);
            self.told += usize::from(steady && life[last].said.is_some());
        }
        let mut by_second: BTreeMap<u64, Vec<(f64, [f64; 2])>> = BTreeMap::new();
        for moment in life {
            by_second
                .entry(moment.frame / second as u64)
                .or_default()
                .extend(moment.said.map(|said| (moment.speed, said)));
        }
        for speeds in by_second.values().filter(|speeds| !speeds.is_empty()) {
            let (truth, [speed, error]) = speeds[draw.random_range(0..speeds.len())];
            let off = (speed - truth).abs();
            self.speeds += 1;
            self.within_one += usize::from(off <= error);
            self.within_two += usize::from(off <= 2.0 * error);
            self.beyond_three += usize::from(off > 3.0 * error);
            self.said += error * error;
            self.made += off * off;
        }
    }

    fn of(&self, speeds: usize) -> f64 {
        speeds as f64 / self.speeds as f64
    }
}

fn broken(motion: Motion, shares: &Shares) -> Vec<String> {
    let name = MOTIONS.iter().find(|(known, _)| *known == motion).map_or("", |(_, name)| name);
    let [one, two, three] =
        [shares.within_one, shares.within_two, shares.beyond_three].map(|speeds| shares.of(speeds));
    let told = shares.told as f64 / shares.steady as f64;
    [
        (one < WITHIN_ONE.0, format!("{one:.3} within one standard error, less than {}", WITHIN_ONE.0)),
        (one > WITHIN_ONE.1, format!("{one:.3} within one standard error, more than {}", WITHIN_ONE.1)),
        (two <= WITHIN_TWO, format!("{two:.3} within two standard errors, not above {WITHIN_TWO}")),
        (three > BEYOND_THREE, format!("{three:.3} beyond three standard errors, more than {BEYOND_THREE}")),
        (
            told < TOLD,
            format!("a speed in {told:.3} of the frames after a second of steady motion, less than {TOLD}"),
        ),
    ]
    .into_iter()
    .filter(|(broken, _)| *broken)
    .map(|(_, what)| format!("{name}: {what}"))
    .collect()
}

fn table(shares: &BTreeMap<Motion, Shares>) -> String {
    let mut out = String::from(
        "motion         vehicles  speeds   within 1   within 2   beyond 3   said rms   made rms   told when steady\n",
    );
    for (motion, name) in MOTIONS {
        let Some(shares) = shares.get(&motion) else { continue };
        let percent = |speeds: usize| format!("{:.1}%", 100.0 * shares.of(speeds));
        let told = match shares.steady {
            0 => "-".to_owned(),
            steady => format!("{:.1}% of {steady}", 100.0 * shares.told as f64 / steady as f64),
        };
        let _ = writeln!(
            out,
            "{name:<14} {:8} {:7} {:>10} {:>10} {:>10} {:10.3} {:10.3}   {told}",
            shares.vehicles,
            shares.speeds,
            percent(shares.within_one),
            percent(shares.within_two),
            percent(shares.beyond_three),
            shares.said,
            shares.made,
        );
    }
    out + "\nspeeds in m/s; frames are steady after a second of constant speed and heading"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_as_far_off_as_their_errors_say() {
        let args = Args { vehicles: 60, jitter: 1.0, seed: 5000, json: false };
        for (motion, shares) in measure(&args).unwrap() {
            // Fewer vehicles than a measurement has: the shares may be off by chance, a share of few frames by two of its
            // standard errors.
            let [one, two, three] =
                [shares.within_one, shares.within_two, shares.beyond_three].map(|speeds| shares.of(speeds));
            assert!((0.56..0.80).contains(&one), "{motion:?}: {shares:?}");
            assert!(two > 0.91 && three < 0.03, "{motion:?}: {shares:?}");
            let chance = (TOLD * (1.0 - TOLD) * shares.steady as f64).sqrt();
            assert!(
                shares.told as f64 >= TOLD * shares.steady as f64 - 2.0 * chance,
                "{motion:?}: {shares:?}"
            );
        }
    }
}
