//! What a running stack says of itself: every stage where it is seen, series that end with their camera, a ledger that
//! balances, takeovers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use peregrine_e2e::{clips, results::*, system::*};
use peregrine_proto::CameraId;
use peregrine_stack::{Signal, Stack};

const LONGEST: Duration = Duration::from_secs(60);

/// The value of a series, by its name and all of these labels; none where there is no such series.
fn value(stack: &Stack, daemon: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    stack.metrics(daemon).ok()?.sum(name, labels)
}

/// Waits until something is so.
fn until(what: &str, longest: Duration, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + longest;
    while !is_so() {
        ensure!(Instant::now() < deadline, "not after {longest:?}: {what}");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// The account of a camera, as the gateway exports it: published, then all the ends.
fn ledger(stack: &Stack, camera: &str) -> Option<(f64, [f64; 4])> {
    let end =
        |end: &str| value(stack, "gateway", "peregrine_ledger_frames", &[("camera", camera), ("end", end)]);
    Some((end("published")?, [end("processed")?, end("skipped")?, end("lost")?, end("waiting")?]))
}

#[test]
fn stage_is_counted_nowhere_or_twice() -> Result<()> {
    let folder = folder("metrics-stages")?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", 60)?;
    let camera = camera("yard", &clip.display().to_string(), "pace = 'fast'")?;
    let stack = stack(&folder, vec![camera])?.start()?;
    each_frame_once(&results(&stack, "yard", usize::MAX, LONGEST)?, 60)?;
    let seen_by = [
        ("producer", &["capture", "decode", "hold", "resize", "credit", "publish"][..]),
        (
            "processor-1",
            &[
                "queue",
                "read",
                "wait",
                "preprocess",
                "infer",
                "postprocess",
                "track",
                "speed",
                "zones",
                "commit",
            ],
        ),
    ];
    for (daemon, stages) in seen_by {
        let counted = |stage: &str| {
            let name = "peregrine_stage_duration_seconds_count";
            value(&stack, daemon, name, &[("stage", stage), ("camera", "yard"), ("worker", daemon)])
        };
        for stage in stages {
            until(&format!("{daemon} counts {stage}: {:?}", counted(stage)), LONGEST, || {
                counted(stage) == Some(60.0)
            })?;
        }
        let name = "peregrine_stage_duration_seconds_count";
        let total = value(&stack, daemon, name, &[]);
        let expected = Some(60.0 * stages.len() as f64);
        assert_eq!(total, expected, "{daemon} counts others' stages:\n{}", stack.metrics_text(daemon)?);
    }
    Ok(())
}

#[test]
fn ledger_does_not_balance_after_a_kill_or_the_takeover_is_not_counted() -> Result<()> {
    const FRAMES: u32 = 200;
    let folder = folder("metrics-ledger")?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", FRAMES)?;
    let clip = clip.display().to_string();
    let cameras = vec![camera("one", &clip, "fps = 40")?, camera("two", &clip, "fps = 40")?];
    let stack = stack(&folder, cameras)?.processors(2).gateway(0).start()?;
    let (_, latest) = results(&stack, "one", 40, LONGEST)?.pop().expect("40 results");
    let killed = latest.worker.clone();
    stack.kill(&killed, Signal::KILL)?;
    for camera in ["one", "two"] {
        each_frame_once(&results(&stack, camera, usize::MAX, LONGEST)?, FRAMES.into())?;
        let whole = Some((f64::from(FRAMES), [f64::from(FRAMES), 0.0, 0.0, 0.0]));
        until(&format!("{camera} balances: {:?}", ledger(&stack, camera)), LONGEST, || {
            ledger(&stack, camera) == whole
        })?;
    }
    // It may be the one that was killed, started again.
    let (mut takeovers, mut durations, mut seconds) = (0.0, 0.0, 0.0);
    for daemon in ["processor-1", "processor-2"] {
        let of = |name: &str| value(&stack, daemon, name, &[("role", "processor")]).unwrap_or(0.0);
        takeovers += of("peregrine_takeovers_total");
        durations += of("peregrine_takeover_duration_seconds_count");
        seconds += of("peregrine_takeover_duration_seconds_sum");
    }
    assert!(takeovers >= 1.0 && durations == takeovers, "{takeovers} of {killed}, {durations} of them timed");
    // The lease lasts for three seconds; what was committed last may be a little older than the kill.
    assert!((2.9..10.0).contains(&(seconds / durations)), "{seconds} s for {durations}");
    Ok(())
}

#[test]
fn series_of_a_removed_camera_stay() -> Result<()> {
    let folder = folder("metrics-removed")?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", 100)?;
    let clip = clip.display().to_string();
    let cameras = vec![
        camera("stays", &clip, "fps = 20\nloop = true")?,
        camera("goes", &clip, "fps = 20\nloop = true")?,
    ];
    let stack = stack(&folder, cameras)?.gateway(0).start()?;
    results(&stack, "goes", 20, LONGEST)?;
    let daemons = ["producer", "processor-1", "gateway"];
    let lines = |daemon: &str, camera: &str| {
        let text = stack.metrics_text(daemon).unwrap();
        text.lines().filter(|line| line.contains(&format!("camera=\"{camera}\""))).count()
    };
    for daemon in daemons {
        until(&format!("{daemon} has both"), LONGEST, || {
            lines(daemon, "goes") > 0 && lines(daemon, "stays") > 0
        })?;
    }
    block_on(async { Ok(redis(&stack).await?.remove_camera(&CameraId::new("goes")?).await?) })?;
    for daemon in daemons {
        until(&format!("{daemon} forgets the camera"), LONGEST, || lines(daemon, "goes") == 0)?;
        assert!(lines(daemon, "stays") > 0, "{daemon} forgot both");
    }
    Ok(())
}
