//! Several cameras in one call of the model: each gets its own results, in order.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{fs, time::Duration};

use anyhow::Result;
use peregrine_e2e::{clips, onnx::Model, programs, results::*, system::*};
use peregrine_proto::FrameResult;
use peregrine_stack::Daemon;

const FRAMES: u32 = 200;
const CAMERAS: [&str; 3] = ["one", "two", "three"];

#[test]
fn cameras_that_are_inferred_together_get_each_others_results() -> Result<()> {
    let folder = folder("batches")?;
    let model = folder.join("batches.onnx");
    Model::watcher_of_batches(WATCHER_INPUT.0, WATCHER_INPUT.1).write(&model)?;
    let clip = clips::test_picture(&folder, "clip.mp4", "160x90", FRAMES)?;
    let uri = clip.display().to_string();
    // The same file from different frames on, so that a result in the wrong place is another one.
    let cameras = CAMERAS
        .iter()
        .zip([1, 2, 3])
        .map(|(id, every)| camera(id, &uri, &format!("pace = 'fast'\nevery = {every}")));
    let cameras = cameras.collect::<Result<Vec<_>>>()?;
    let stack =
        stack(&folder, cameras.clone())?.model(&model).set(Daemon::Processor, "model.batch=4").start()?;
    for config in &cameras {
        let out = folder.join(format!("{}.jsonl", config.id));
        let file = folder.join(format!("{}.toml", config.id));
        fs::write(&file, toml::to_string(config)?)?;
        let arguments = ["--camera", file.to_str().unwrap(), "--set", "model.batch=1"];
        programs::analyze(&clip, &model, &out, &arguments)?.map_err(anyhow::Error::msg)?;
        let expected = essence(of_file(&out)?);
        let found = results(&stack, config.id.as_str(), usize::MAX, Duration::from_secs(180))?;
        let found = essence(found.into_iter().map(|(_, result)| result));
        assert_eq!(found.len(), expected.len(), "{}", config.id);
        for (found, expected) in found.iter().zip(&expected) {
            assert!(same(found, expected), "{}: {found:?} instead of {expected:?}", config.id);
        }
    }
    let metrics = stack.metrics("processor-1")?;
    let value = |name: &str| metrics.sum(name, &[]).unwrap_or(f64::NAN);
    let (calls, frames) = (value("peregrine_batch_frames_count"), value("peregrine_batch_frames_sum"));
    assert!(frames > calls, "{frames} frames in {calls} calls: none went together");
    Ok(())
}

/// Equal but for the last bits, which depend on how many frames went together.
fn same(found: &FrameResult, expected: &FrameResult) -> bool {
    let near = |a: [f32; 4], b: [f32; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 0.01);
    found.position == expected.position
        && found.detections.len() == expected.detections.len()
        && found.detections.iter().zip(&expected.detections).all(|(a, b)| near(a.xyxy, b.xyxy))
        && found
            .tracks
            .iter()
            .map(|track| track.track_id)
            .eq(expected.tracks.iter().map(|track| track.track_id))
}
