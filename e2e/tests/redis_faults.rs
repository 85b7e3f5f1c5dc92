//! Redis stops, dies, or loses or is given wrong data under a camera: what can survive does, and nothing hangs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use peregrine_e2e::{clips, results::*, system::*};
use peregrine_proto::{CameraId, FrameId};
use peregrine_stack::{RedisOptions, Signal, Stack};

const FRAMES: u32 = 1500;

#[test]
fn frame_is_lost_while_redis_is_paused_for_ten_seconds() -> Result<()> {
    endure("redis-paused", |stack| {
        stack.kill("redis", Signal::STOP)?;
        thread::sleep(Duration::from_secs(10));
        stack.kill("redis", Signal::CONT)
    })
}

#[test]
fn frame_is_lost_when_redis_is_killed_and_restarted_with_its_append_only_file() -> Result<()> {
    // It is started again by itself.
    endure("redis-killed", |stack| {
        stack.kill("redis", Signal::KILL)?;
        // What operators look at.
        let deadline = Instant::now() + Duration::from_secs(90);
        for metric in ["peregrine_redis_errors_total", "peregrine_redis_reconnects_total"] {
            while stack.metrics("processor-1")?.sum(metric, &[]).is_none() {
                ensure!(Instant::now() < deadline, "{metric} does not show it");
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    })
}

fn endure(name: &str, disturb: impl Fn(&Stack) -> Result<()>) -> Result<()> {
    let folder = folder(name)?;
    let clip = clips::test_picture(&folder, "clip.mp4", "160x90", FRAMES)?;
    let camera = camera("file", &clip.display().to_string(), "pace = 'fast'")?;
    let redis = RedisOptions { append_only: true, ..RedisOptions::default() };
    let stack = stack(&folder, vec![camera])?.redis(redis).start()?;

    let before = results(&stack, "file", 50, Duration::from_secs(90))?.len();
    disturb(&stack)?;
    assert!(before < FRAMES as usize, "everything was done before the disturbance");
    let all = results(&stack, "file", usize::MAX, Duration::from_secs(240))?;
    each_frame_once(&all, FRAMES.into())
}

#[test]
fn camera_stands_still_after_redis_was_restarted_empty() -> Result<()> {
    recover("redis-emptied", false, |stack| stack.kill("redis", Signal::KILL))
}

#[test]
fn camera_stands_still_after_its_checkpoint_was_lost() -> Result<()> {
    recover("redis-checkpoint", true, |stack| command(stack, &["DEL", "peregrine:{road}:checkpoint"]))
}

#[test]
fn camera_stands_still_after_its_results_were_of_a_wrong_type() -> Result<()> {
    recover("redis-wrongtype", true, |stack| {
        command(stack, &["DEL", "peregrine:{road}:results"])?;
        command(stack, &["SET", "peregrine:{road}:results", "what is this"])?;
        thread::sleep(Duration::from_secs(3));
        command(stack, &["DEL", "peregrine:{road}:results"])
    })
}

/// Disturbs a camera that goes on for ever, and waits for what it gives afterwards.
fn recover(name: &str, append_only: bool, disturb: impl Fn(&Stack) -> Result<()>) -> Result<()> {
    let folder = folder(name)?;
    let camera = camera("road", "synthetic:road?w=160&h=96&fps=20", "")?;
    let redis = RedisOptions { append_only, ..RedisOptions::default() };
    let stack = stack(&folder, vec![camera])?.redis(redis).start()?;
    results(&stack, "road", 30, Duration::from_secs(120))?;
    disturb(&stack)?;
    let (began, since) = (Instant::now(), FrameId { ms: now_ms(), seq: 0 });
    let road = CameraId::new("road")?;
    let deadline = Duration::from_secs(180);
    loop {
        let newer = block_on(async {
            let last = FrameId { ms: u64::MAX, seq: 0 };
            Ok(peregrine_e2e::system::redis(&stack)
                .await?
                .results_between(&road, since, last, 100)
                .await
                .unwrap_or_default())
        })?;
        if newer.len() >= 20 {
            eprintln!("{name}: twenty results {:.1} s after it was over", began.elapsed().as_secs_f64());
            return Ok(());
        }
        assert!(began.elapsed() < deadline, "{} new results after {deadline:?}", newer.len());
        thread::sleep(Duration::from_millis(50));
    }
}

fn now_ms() -> u64 {
    u64::try_from(peregrine_streams::wall_clock_us() / 1000).unwrap()
}
