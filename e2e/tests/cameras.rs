//! Cameras come, change and go while everything runs: nobody is started again, and the others notice nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use peregrine_e2e::system::*;
use peregrine_proto::{CameraConfig, CameraId, FrameId, FrameResult, ResultStatus, Size};
use peregrine_stack::{Daemon, Stack};
use peregrine_streams::{Redis, ResultReader};

const LONGEST: Duration = Duration::from_secs(60);

#[test]
fn others_are_disturbed_when_cameras_are_added_changed_and_removed() -> Result<()> {
    let folder = folder("cameras")?;
    let stack = stack(&folder, vec![road("stays", 1)?])?
        // A machine that is busy with other tests loses no frame of it.
        .set(Daemon::Producer, "producer.live_queue=500")
        .set(Daemon::Processor, "processor.deadline_ms=60000")
        .processors(2)
        .start()?;
    results(&stack, "stays", 10, LONGEST)?;
    let (added, changed, removed) = block_on(change(&stack))?;
    eprintln!("added after {added:.2?}, changed after {changed:.2?}, removed after {removed:.2?}");

    let stays = results(&stack, "stays", 60, LONGEST)?;
    let epochs = block_on(epochs(&stack, "stays"))?;
    assert!(epochs.windows(2).all(|pair| pair[0] == pair[1]), "its owner changed: {epochs:?}");
    for pair in stays.windows(2) {
        assert_eq!(pair[1].1.n, pair[0].1.n + 1, "a frame is missing");
    }
    assert!(stays.iter().all(|(_, result)| result.status == ResultStatus::Ok));
    assert!(stack.processes().iter().all(|process| process.restarts == 0), "a daemon was started again");
    Ok(())
}

/// Adds a camera, changes its source and its thresholds, and removes it: what each took until it showed in the results.
async fn change(stack: &Stack) -> Result<(Duration, Duration, Duration)> {
    let redis = redis(stack).await?;
    let camera = CameraId::new("guest")?;
    let mut config = road("guest", 2)?;
    let mut reader = ResultReader::new(&redis);
    reader.follow(&camera, FrameId::ZERO);

    let began = Instant::now();
    redis.put_camera(&config).await?;
    next(&mut reader, |result| result.status == ResultStatus::Ok).await?;
    let added = began.elapsed();

    config.source.uri = config.source.uri.to_string().replace("w=160&h=96", "w=192&h=112").into();
    config.analysis.confidence = 0.99;
    let began = Instant::now();
    redis.put_camera(&config).await?;
    let other = |result: &FrameResult| {
        result.source == Size { width: 192, height: 112 } && result.detections.is_empty()
    };
    next(&mut reader, other).await?;
    let changed = began.elapsed();

    let began = Instant::now();
    redis.remove_camera(&camera).await?;
    silence(&redis, &camera).await?;
    Ok((added, changed, began.elapsed()))
}

async fn next(reader: &mut ResultReader, wanted: impl Fn(&FrameResult) -> bool) -> Result<FrameResult> {
    let deadline = Instant::now() + LONGEST;
    loop {
        ensure!(Instant::now() < deadline, "no such result");
        for entry in reader.read(Duration::from_millis(500)).await? {
            let result = entry.decode()?;
            if wanted(&result) {
                return Ok(result);
            }
        }
    }
}

/// Waits until nobody holds the camera any more.
async fn silence(redis: &Redis, camera: &CameraId) -> Result<()> {
    use peregrine_streams::Role::{Processor, Producer};
    let deadline = Instant::now() + LONGEST;
    let cameras = std::slice::from_ref(camera);
    while redis.holders(Processor, cameras).await? != [None]
        || redis.holders(Producer, cameras).await? != [None]
    {
        ensure!(Instant::now() < deadline, "the removed camera is still held");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

async fn epochs(stack: &Stack, camera: &str) -> Result<Vec<u64>> {
    let redis = redis(stack).await?;
    let last = FrameId { ms: u64::MAX, seq: 0 };
    let entries = redis.results_between(&CameraId::new(camera)?, FrameId::ZERO, last, 1000).await?;
    Ok(entries.into_iter().map(|entry| entry.epoch).collect())
}

fn road(id: &str, seed: u32) -> Result<CameraConfig> {
    camera(id, &format!("synthetic:road?w=160&h=96&fps=20&seed={seed}"), "")
}
