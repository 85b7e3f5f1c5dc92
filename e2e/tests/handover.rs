//! A processor goes, another one continues: the same frames, the same tracks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use peregrine_e2e::{clips, results::*, system::*};
use peregrine_stack::{Signal, Stack};

const FRAMES: u32 = 300;

#[test]
fn frame_is_lost_or_repeated_when_a_processor_is_told_to_end() -> Result<()> {
    hand_over("handover-sigterm", |stack, owner| stack.stop(owner))
}

#[test]
fn frame_is_lost_or_repeated_when_a_processor_is_killed() -> Result<()> {
    hand_over("handover-sigkill", |stack, owner| stack.kill(owner, Signal::KILL))
}

fn hand_over(name: &str, interrupt: impl Fn(&Stack, &str) -> Result<()>) -> Result<()> {
    let folder = folder(name)?;
    let clip = clips::test_picture(&folder, "clip.mp4", "320x180", FRAMES)?;
    let clip = clip.display().to_string();
    // 50 frames a second: there is something left to do when the processor goes. The second camera is its neighbour's.
    let cameras = vec![camera("one", &clip, "fps = 50")?, camera("two", &clip, "fps = 50")?];
    let stack = stack(&folder, cameras)?.processors(2).start()?;

    let longest = Duration::from_secs(180);
    let (_, latest) = results(&stack, "one", 60, longest)?.pop().expect("60 results");
    interrupt(&stack, &latest.worker)?;

    let one = results(&stack, "one", usize::MAX, longest)?;
    let two = results(&stack, "two", usize::MAX, longest)?;
    each_frame_once(&one, FRAMES.into())?;
    each_frame_once(&two, FRAMES.into())?;
    let workers: BTreeSet<_> = one.iter().map(|(_, result)| result.worker.as_str()).collect();
    let restarts: u32 = stack.processes().iter().map(|process| process.restarts).sum();
    assert!(workers.len() > 1 || restarts > 0, "{workers:?} did it all without a break");
    let same = |(_, result): (_, peregrine_proto::FrameResult)| result;
    assert_eq!(essence(one.into_iter().map(same)), essence(two.into_iter().map(same)), "tracks differ");
    Ok(())
}
