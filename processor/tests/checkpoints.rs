//! Checkpoints in both forms: bytes that this release wrote, and bytes that the one before wrote (commit 726795a, by the same
//! scene). `UPDATE_GENERATED=1` writes this release's anew.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::{collections::BTreeMap, path::PathBuf};

use peregrine_processor::camera_analysis::CameraAnalysis;
use peregrine_proto::{CameraConfig, Detection, PictureShape, TrackState};
use serde::{Deserialize, de::IgnoredAny};
use serde_bytes::ByteBuf;

const PICTURE: PictureShape = PictureShape { width: 768, height: 576, pixel_aspect: 1.0 };
/// The checkpoint is the one after so many frames.
const FRAMES: i64 = 30;
const CONFIG: &str = r#"
id = "gate"
source = { uri = "gate.mp4" }
[calibration]
points = [
  { image = [211.0, 115.0], ground = [-25.0, 30.0] },
  { image = [533.0, 118.0], ground = [5.0, 30.0] },
  { image = [721.0, 501.0], ground = [5.0, 0.0] },
  { image = [92.0, 489.0], ground = [-25.0, 0.0] },
]
"#;

/// Twelve objects that walk apart from one another; one is hidden for a while when the checkpoint is written, one has just come.
fn scene(frame: i64) -> Vec<Detection> {
    let object = |index: i64| {
        let (column, row) = ((index % 4) as f32, (index / 4) as f32);
        let x = 90.0 + 170.0 * column + (0.7 + 0.2 * row) * frame as f32;
        let y = 180.0 + 130.0 * row + 0.3 * frame as f32;
        let (w, h) = (24.0 + 4.0 * row, 60.0 + 8.0 * row);
        let confidence = 0.75 + 0.01 * index as f32;
        Detection {
            xyxy: [x - w / 2.0, y - h, x + w / 2.0, y],
            confidence,
            class_id: [0, 0, 2][row as usize],
        }
    };
    let seen = |index: &i64| match index {
        3 => !(26..33).contains(&frame),
        7 => frame >= FRAMES - 2,
        _ => true,
    };
    (0..12).filter(seen).map(object).collect()
}

fn analysis() -> CameraAnalysis {
    let config: CameraConfig = toml::from_str(CONFIG).unwrap();
    let names = ["person", "bicycle", "car"].map(str::to_owned);
    CameraAnalysis::new(&config, &names).unwrap()
}

/// Ids and classes of those that are followed, and whose speed is known, in the frames from one to another.
fn run(analysis: &mut CameraAnalysis, from: i64, to: i64) -> Vec<Vec<(u32, u16, bool)>> {
    let frame = |frame: i64| {
        let found = analysis.update(frame * 100_000, false, PICTURE, &scene(frame), |_| {});
        assert_eq!(found.track_epoch, 0, "frame {frame}");
        let followed = found.tracks.iter().filter(|track| track.state == TrackState::Tracked);
        followed.map(|track| (track.track_id, track.class_id, track.speed.is_some())).collect()
    };
    (from..to).map(frame).collect()
}

fn bytes_of(schema: u16) -> Vec<u8> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/checkpoints/schema-{schema}.bin"));
    if schema == 3 && std::env::var_os("UPDATE_GENERATED").is_some() {
        let mut analysis = analysis();
        run(&mut analysis, 0, FRAMES);
        std::fs::write(&path, analysis.state()).unwrap();
    }
    std::fs::read(&path).unwrap()
}

#[test]
fn tracks_of_another_form_of_checkpoint_go_on_under_other_ids() {
    let mut undisturbed = analysis();
    run(&mut undisturbed, 0, FRAMES);
    let expected = run(&mut undisturbed, FRAMES, FRAMES + 20);
    assert_eq!(expected[19].len(), 12, "{:?}", expected[19]);
    assert!(expected[0].iter().filter(|(_, _, has_speed)| *has_speed).count() >= 10);
    for schema in [2, 3] {
        let mut restored = analysis();
        restored.restore(&bytes_of(schema)).unwrap();
        assert_eq!(run(&mut restored, FRAMES, FRAMES + 20), expected, "schema {schema}");
    }
}

/// Bytes of the tracker's state, which is the first element of the checkpoint.
fn tracker_in(checkpoint: &[u8]) -> &[u8] {
    let mut rest = &checkpoint[1..];
    IgnoredAny::deserialize(&mut rmp_serde::Deserializer::new(&mut rest)).unwrap();
    &checkpoint[..checkpoint.len() - rest.len()]
}

/// Metres per second, by track, as the release before reads them.
fn velocities_in(checkpoint: &[u8]) -> BTreeMap<u32, [f32; 2]> {
    type Filter = ([f64; 2], ByteBuf, ByteBuf, ByteBuf, f32, f32, i64, i64, u16);
    type Checkpoint = (IgnoredAny, (BTreeMap<u32, Filter>,), IgnoredAny);
    let (_, (filters,), _): Checkpoint = rmp_serde::from_slice(checkpoint).unwrap();
    let velocity = |filter: Filter| {
        let numbers = filter.1.as_chunks::<4>().0;
        [0, 1].map(|axis| f32::from_le_bytes(numbers[axis]))
    };
    filters.into_iter().map(|(id, filter)| (id, velocity(filter))).collect()
}

#[test]
fn release_before_would_have_written_another_checkpoint() {
    let old = bytes_of(2);
    let mut restored = analysis();
    restored.restore(&old).unwrap();
    let again = restored.state_for(2);
    assert_eq!(tracker_in(&again), tracker_in(&old));
    let (speeds, old) = (velocities_in(&again), velocities_in(&old));
    assert!(old.len() >= 10 && speeds.keys().eq(old.keys()), "{speeds:?}");
    for (id, velocity) in &speeds {
        let apart = [0, 1].map(|axis| (velocity[axis] - old[id][axis]).abs());
        assert!(apart.iter().all(|apart| *apart < 1e-3), "{id}: {velocity:?}, not {:?}", old[id]);
    }
    // And after some frames, from the form of now.
    let mut whole = analysis();
    run(&mut whole, 0, FRAMES);
    let mut again = analysis();
    again.restore(&whole.state_for(2)).unwrap();
    assert_eq!(tracker_in(&again.state_for(2)), tracker_in(&whole.state_for(2)));
}

#[test]
fn bytes_of_this_release_have_changed() {
    let now = bytes_of(3);
    let mut restored = analysis();
    restored.restore(&now).unwrap();
    assert_eq!(restored.state(), now);
}
