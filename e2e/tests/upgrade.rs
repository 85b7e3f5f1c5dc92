//! From the release before to this one, while frames flow. Tests with daemons of the release before want a checkout of it with its
//! daemons built, named by PEREGRINE_BEFORE, and are left out without one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::BTreeSet,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peregrine_e2e::{
    chaos::{Plan, rollout::Rollout, run},
    clips,
    results::each_frame_once,
    system,
};
use peregrine_proto::{CameraId, FrameId, FrameResult, OLDEST_SCHEMA, SCHEMA};
use peregrine_stack::{Daemon, Stack};

const FPS: u32 = 20;
const LONGEST: Duration = Duration::from_secs(240);

fn before() -> Option<PathBuf> {
    let before = std::env::var_os("PEREGRINE_BEFORE").map(PathBuf::from);
    if before.is_none() {
        eprintln!("skipped: PEREGRINE_BEFORE names no checkout of the release before");
    }
    before
}

/// A file of so many seconds, read at its own pace.
fn camera(folder: &std::path::Path, seconds: u32) -> Result<(peregrine_proto::CameraConfig, u64)> {
    let frames = seconds * FPS;
    let clip = clips::test_picture(folder, "clip.mp4", "160x90", frames)?;
    let camera = system::camera("file", &clip.display().to_string(), &format!("fps = {FPS}"))?;
    Ok((camera, frames.into()))
}

fn last(stack: &Stack) -> Result<Option<FrameResult>> {
    let camera = CameraId::new("file")?;
    system::block_on(async {
        let redis = system::redis(stack).await?;
        let newest = redis.results_between(&camera, FrameId::ZERO, FrameId::MAX, 1_000_000).await?.pop();
        Ok(newest.map(|entry| entry.decode()).transpose()?)
    })
}

/// Waits until so many frames more have a result, and the last one is of this schema version.
fn until(stack: &Stack, more: u64, schema: u16) -> Result<()> {
    let n = |result: Option<FrameResult>| result.map_or(0, |result| result.n);
    let from = n(last(stack)?);
    let deadline = Instant::now() + LONGEST;
    loop {
        let now = last(stack)?;
        if now.as_ref().is_some_and(|now| now.schema == schema && now.n >= from + more) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "after n {from}: {:?}", now.map(|now| (now.n, now.schema)));
        thread::sleep(Duration::from_millis(100));
    }
}

/// Each frame once, and one epoch of tracks whose ids go on.
fn whole(stack: &Stack, frames: u64) -> Result<Vec<FrameResult>> {
    let found = system::results(stack, "file", usize::MAX, LONGEST)?;
    each_frame_once(&found, frames)?;
    let found: Vec<FrameResult> = found.into_iter().map(|(_, result)| result).collect();
    let epochs: BTreeSet<u32> = found.iter().map(|result| result.track_epoch).collect();
    ensure!(epochs.len() == 1, "epochs {epochs:?}");
    Ok(found)
}

#[test]
fn old_worker_that_leaves_costs_a_frame() -> Result<()> {
    let folder = system::folder("upgrade-fake")?;
    let (camera, frames) = camera(&folder, 40)?;
    let stack = system::stack(&folder, vec![camera])?.start()?;
    until(&stack, 20, SCHEMA)?;
    // A worker of the release before announces itself, and takes no camera.
    let key = "peregrine:{_}:workers";
    let announce = || -> Result<()> {
        let mut redis = redis::Client::open(stack.redis_urls().state)?.get_connection()?;
        let (seconds, _): (u64, u64) = redis::cmd("TIME").query(&mut redis)?;
        Ok(redis::cmd("ZADD").arg(key).arg(seconds * 1000).arg("old.0000000a").exec(&mut redis)?)
    };
    announce()?;
    system::command(&stack, &["DEL", "peregrine:{_}:schema"])?;
    until(&stack, 20, OLDEST_SCHEMA)?;
    // Its camera changes hands meanwhile, at a checkpoint of schema 2.
    stack.scale(2)?;
    stack.restart("processor-1")?;
    until(&stack, 20, OLDEST_SCHEMA)?;
    system::command(&stack, &["ZREM", key, "old.0000000a"])?;
    until(&stack, 20, SCHEMA)?;
    let found = whole(&stack, frames)?;
    let turns = found.windows(2).filter(|pair| pair[0].schema != pair[1].schema).count();
    assert_eq!(turns, 2, "3, then 2, then 3 again");
    Ok(())
}

#[test]
fn way_back_while_schema_2_is_written_costs_a_frame() -> Result<()> {
    let Some(before) = before() else { return Ok(()) };
    let folder = system::folder("upgrade-back")?;
    let (camera, frames) = camera(&folder, 60)?;
    let mut rollout = Rollout::new(&before, 2)?;
    let stack = system::stack(&folder, vec![camera])?
        .processors(2)
        .gateway(0)
        .set(Daemon::Processor, "model.threads=1")
        .executables(rollout.before())
        .start()?;
    until(&stack, 20, OLDEST_SCHEMA)?;
    // All but the last: with it there is no way back.
    for _ in 0..3 {
        rollout.go_on(&stack)?;
        until(&stack, 20, OLDEST_SCHEMA)?;
    }
    for _ in 0..3 {
        rollout.go_back(&stack)?;
        until(&stack, 20, OLDEST_SCHEMA)?;
    }
    // A producer that came before its turn, and goes again.
    for executables in [rollout.now(), rollout.before()] {
        stack.restart_from("producer", executables)?;
        until(&stack, 20, OLDEST_SCHEMA)?;
    }
    let found = whole(&stack, frames)?;
    ensure!(found.iter().all(|result| result.schema == OLDEST_SCHEMA));
    Ok(())
}

#[test]
fn promise_is_broken_by_an_upgrade() -> Result<()> {
    let Some(before) = before() else { return Ok(()) };
    let plan = Plan {
        seed: 3,
        lasts: Duration::from_secs(180),
        processors: 3,
        ttl: Duration::from_secs(1),
        control: false,
        before: Some(before),
        folder: system::folder("upgrade")?,
    };
    let outcome = run(&plan, &mut |text| eprintln!("{text}")).context("upgrade")?;
    assert!(outcome.broken.is_empty(), "{outcome}");
    assert!(outcome.owners_changed > 3 && outcome.frames > 3000, "hardly anything happened: {outcome}");
    Ok(())
}
