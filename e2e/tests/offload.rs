//! A camera that is too much for one processor: idle ones detect for it, and nobody can tell from the results.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peregrine_e2e::{clips, programs, results::*, system::*};
use peregrine_proto::{CameraConfig, FrameResult, ResultStatus, Size, Stage};
use peregrine_stack::{Daemon, Signal, Stack};

const FRAMES: u32 = 400;
/// What is "seen" depends on the picture alone; 20 ms a frame are more than one processor can do of a file that waits for nothing.
const MODEL: &str = "simulated:20";
const LONGEST: Duration = Duration::from_secs(120);

#[test]
fn frames_are_lost_repeated_or_changed_by_helpers() -> Result<()> {
    let folder = folder("offload")?;
    let camera = hot_camera(&folder)?;
    let expected = undisturbed(&folder, &camera)?;
    let stack = stack(&folder, vec![camera])?.model(MODEL).processors(3).start()?;
    let results = results(&stack, "hot", usize::MAX, LONGEST)?;
    each_frame_once(&results, FRAMES.into())?;
    assert!(answered(&stack) > 0.0, "nobody helped");
    // Wherever it was done, its time has its name.
    for (id, result) in results.iter().filter(|(_, result)| result.status == ResultStatus::Ok) {
        let infer = result.stages.iter().find(|time| time.stage == Stage::Infer);
        assert!(infer.is_some_and(|time| time.us >= 20_000), "{id}: {:?}", result.stages);
    }
    assert!(essence(results.into_iter().map(|(_, result)| result)) == expected, "results differ");
    Ok(())
}

#[test]
fn frames_are_lost_when_a_helper_or_the_owner_dies() -> Result<()> {
    let folder = folder("offload-killed")?;
    let camera = hot_camera(&folder)?;
    let expected = undisturbed(&folder, &camera)?;
    let stack = stack(&folder, vec![camera])?.model(MODEL).processors(3).start()?;

    let owner = || -> Result<String> {
        let (_, last) = results(&stack, "hot", 20, LONGEST)?.pop().context("20 results")?;
        Ok(last.worker)
    };
    let first_owner = owner()?;
    let deadline = Instant::now() + LONGEST;
    while answered(&stack) < 10.0 {
        ensure!(Instant::now() < deadline, "nobody helped");
    }
    for helper in
        ["processor-1", "processor-2", "processor-3"].into_iter().filter(|name| *name != first_owner)
    {
        stack.kill(helper, Signal::KILL)?;
    }
    let so_far = results(&stack, "hot", 100, LONGEST)?;
    ensure!(so_far.len() < FRAMES as usize, "there was nothing left to do for another owner");
    stack.kill(&first_owner, Signal::KILL)?;

    let results = results(&stack, "hot", usize::MAX, LONGEST)?;
    each_frame_once(&results, FRAMES.into())?;
    assert!(essence(results.into_iter().map(|(_, result)| result)) == expected, "results differ");
    Ok(())
}

#[test]
fn others_are_asked_although_that_is_switched_off() -> Result<()> {
    let folder = folder("offload-off")?;
    let stack = stack(&folder, vec![hot_camera(&folder)?])?
        .model(MODEL)
        .set(Daemon::Processor, "processor.offload=false")
        .processors(2)
        .start()?;
    let results = results(&stack, "hot", 100, LONGEST)?;
    assert!(results.len() >= 100);
    assert_eq!(answered(&stack), 0.0);
    Ok(())
}

fn hot_camera(folder: &Path) -> Result<CameraConfig> {
    let clip = clips::test_picture(folder, "clip.mp4", "160x90", FRAMES)?;
    let mut camera = camera("hot", &clip.display().to_string(), "pace = 'fast'")?;
    camera.analysis.size = Some(Size { width: 96, height: 54 });
    Ok(camera)
}

/// What one process makes of the same frames.
fn undisturbed(folder: &Path, camera: &CameraConfig) -> Result<Vec<FrameResult>> {
    let (out, file) = (folder.join("undisturbed.jsonl"), folder.join("camera.toml"));
    fs::write(&file, toml::to_string(camera)?)?;
    let arguments = ["--camera", file.to_str().unwrap()];
    let clip = camera.source.uri.to_string();
    programs::analyze(Path::new(&clip), Path::new("simulated:0"), &out, &arguments)?
        .map_err(anyhow::Error::msg)?;
    Ok(essence(of_file(&out)?))
}

/// Frames that other processors detected for an owner.
fn answered(stack: &Stack) -> f64 {
    let mut answered = 0.0;
    for processor in stack.processes().iter().filter(|process| process.name.starts_with("processor")) {
        // One that was just killed has none.
        let metrics = stack.metrics(&processor.name).unwrap_or_default();
        let more = metrics.sum("peregrine_offloaded_frames_total", &[("outcome", "answered")]);
        answered += more.unwrap_or(0.0);
    }
    answered
}
