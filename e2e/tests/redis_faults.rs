//! Redis stops or dies under a file that is read as fast as possible: nothing is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{thread, time::Duration};

use anyhow::Result;
use peregrine_e2e::{clips, results::*, system::*};
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
    endure("redis-killed", |stack| stack.kill("redis", Signal::KILL))
}

fn endure(name: &str, disturb: impl Fn(&Stack) -> Result<()>) -> Result<()> {
    let folder = folder(name)?;
    let clip = clips::test_picture(&folder, "clip.mp4", "160x90", FRAMES)?;
    let camera = camera("file", &clip.display().to_string(), "pace = 'fast'")?;
    let redis = RedisOptions { append_only: true, ..RedisOptions::default() };
    let stack = stack(&folder, vec![camera])?.redis(redis).start()?;

    let before = results(&stack, "file", 50, Duration::from_secs(30))?.len();
    disturb(&stack)?;
    assert!(before < FRAMES as usize, "everything was done before the disturbance");
    let all = results(&stack, "file", usize::MAX, Duration::from_secs(90))?;
    each_frame_once(&all, FRAMES.into())
}
