use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::Result;
use peregrine_media::{
    Jpeg,
    synthetic::{Scene, SceneConfig},
};
use peregrine_proto::{CameraConfig, LossCount, LossReason, Size};
use peregrine_streams::{Offered, SourceHealth};

use crate::{
    server::Server,
    support::{Consumer, Producer, cam, camera, is, positions, source_state, table, until},
};

const ROAD: &str = "synthetic:road?w=160&h=96&fps=25&frames=200";

#[tokio::test(flavor = "multi_thread")]
async fn restarted_producer_continues_after_the_last_published_frame() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let road = table("c", ROAD, "pace = \"fast\"\nevery = 2");
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    let mut frames = Vec::new();
    for taken in [20, 20, 30] {
        let producer = Producer::start(&server, "p", &road)?;
        frames.extend(consumer.next(taken).await?);
        producer.stop().await?;
    }
    let producer = Producer::start(&server, "p", &road)?;
    while !frames.last().unwrap().header.end {
        frames.extend(consumer.next(1).await?);
    }
    assert_eq!(positions(&frames), (0..200).step_by(2).collect::<Vec<_>>(), "every wanted frame once");
    assert_eq!(frames.iter().map(|f| f.header.n).collect::<Vec<_>>(), (1..=101).collect::<Vec<_>>());
    let jumps = frames.iter().filter(|frame| frame.header.discontinuity).count();
    assert_eq!(jumps, 1, "only the first frame does not continue anything");
    assert_eq!(consumer.intake.lost.total(), 0);
    assert_eq!(source_state(&redis, &cam("c"), is(SourceHealth::Ended)).await?.published, 100);
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn frame_on_its_way_while_the_producer_stops_is_counted() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let live = table("c", "synthetic:road?w=160&h=96&fps=50", "");
    let producer = Producer::start(&server, "p", &live)?;
    until("a frame is waiting", || async { Ok(redis.backlog(&cam("c")).await? > 3) }).await?;
    // Writes wait on the server: the next frame is sent, and its answer is not there yet when the producer is stopped.
    server.command::<String>(&["CLIENT", "PAUSE", "500", "WRITE"]).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    producer.stop().await?;
    let state = source_state(&redis, &cam("c"), |_| true).await?;
    assert_eq!(state.published, redis.backlog(&cam("c")).await?, "{state:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_file_stays_ended_until_its_source_changes() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let road = |frames| table("c", &format!("synthetic:road?w=160&h=96&frames={frames}"), "pace = \"fast\"");
    let producer = Producer::start(&server, "p", &road(5))?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    assert_eq!(consumer.next(6).await?.len(), 6);
    source_state(&redis, &cam("c"), is(SourceHealth::Ended)).await?;
    producer.stop().await?;
    let producer = Producer::start(&server, "q", &road(5))?;
    source_state(&redis, &cam("c"), |state| state.worker == "q" && state.state == SourceHealth::Ended)
        .await?;
    assert_eq!(redis.backlog(&cam("c")).await?, 0, "nothing is published again");
    // While it runs: another file under the same camera.
    let CameraConfig { source, .. } = camera("c", "synthetic:road?w=160&h=96&frames=6");
    let mut changed = redis.camera(&cam("c")).await?.unwrap();
    changed.source = source;
    redis.put_camera(&changed).await?;
    let frames = consumer.next(7).await?;
    assert_eq!(positions(&frames), (0..6).collect::<Vec<_>>());
    assert_eq!((frames[0].header.n, frames[0].header.discontinuity), (7, true));
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_come_and_go_while_it_runs() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let producer = Producer::start(&server, "p", "")?;
    redis.put_camera(&camera("c", ROAD)).await?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    assert_eq!(consumer.next(1).await?[0].header.position, 0);
    redis.remove_camera(&cam("c")).await?;
    let holder = async || Ok(redis.holders(peregrine_streams::Role::Producer, &[cam("c")]).await? == [None]);
    crate::support::until("the removed camera is released", holder).await?;
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn source_outside_the_allow_list_is_refused_and_its_password_hidden() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let producer = Producer::start(&server, "p", "[allow]\nhosts = [\"camera.local\"]")?;
    redis.put_camera(&camera("rtsp", "rtsp://user:secret@elsewhere.local/stream")).await?;
    redis.put_camera(&camera("file", "/etc/passwd")).await?;
    redis.put_camera(&camera("good", ROAD)).await?;
    let rtsp = source_state(&redis, &cam("rtsp"), is(SourceHealth::Failed)).await?;
    assert!(rtsp.error.contains("rtsp://***@elsewhere.local/stream is not allowed"), "{}", rtsp.error);
    assert!(
        rtsp.error.contains("hosts = [\"elsewhere.local\"]") && rtsp.error.contains("[allow]"),
        "{}",
        rtsp.error
    );
    assert!(!format!("{rtsp:?}").contains("secret"));
    let file = source_state(&redis, &cam("file"), is(SourceHealth::Failed)).await?;
    assert!(file.error.contains("folders = [\"/etc\"]"), "{}", file.error);
    assert!(!Consumer::take(&redis, &cam("good")).await?.next(1).await?.is_empty(), "others run");
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_file_is_named_and_not_tried_again() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let producer = Producer::start(&server, "p", &table("c", "/nowhere/clip.mp4", ""))?;
    let state = source_state(&redis, &cam("c"), is(SourceHealth::Failed)).await?;
    assert!(state.error.contains("/nowhere/clip.mp4"), "{}", state.error);
    // Configured anew, it runs.
    redis.put_camera(&camera("c", ROAD)).await?;
    assert!(!Consumer::take(&redis, &cam("c")).await?.next(1).await?.is_empty());
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn live_source_that_is_away_is_tried_again_and_seen_to_be() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    // Nobody listens on port 1.
    let producer = Producer::start(&server, "p", &table("c", "rtsp://user:secret@127.0.0.1:1/stream", ""))?;
    let state = source_state(&redis, &cam("c"), is(SourceHealth::Reconnecting)).await?;
    assert!(state.error.contains("rtsp://***@127.0.0.1:1/stream"), "{}", state.error);
    let first = state.updated_us;
    source_state(&redis, &cam("c"), |state| state.updated_us > first).await?;
    tokio::time::timeout(Duration::from_secs(10), producer.stop()).await?
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_a_client_are_queued_while_the_processor_is_busy() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let phone = cam("phone");
    let producer = Producer::start(&server, "p", &table("phone", "ingest:", ""))?;
    let scene = Scene::new(SceneConfig::parse("road?w=160&h=96").map_err(anyhow::Error::msg)?)
        .map_err(anyhow::Error::msg)?;
    let mut jpeg = Jpeg::new()?;
    let offer = async |jpeg: &[u8]| -> Result<Option<String>> {
        let refused = std::cell::Cell::default();
        until("the producer asks", || async {
            let Offered::Taken { refused: before } = redis.offer_frame(&phone, jpeg).await? else {
                return Ok(false);
            };
            refused.set(before);
            Ok(true)
        })
        .await?;
        Ok(refused.into_inner())
    };
    let mut bring = async |n: u64| -> Result<Option<String>> {
        offer(&jpeg.encode(&scene.render(n), 160, 80)?.bytes).await
    };
    assert_eq!(bring(0).await?, None);
    // This one is undecodable: counted, and said of the camera and to whoever brings the next.
    assert_eq!(offer(b"\xff\xd8 no more").await?, None);
    source_state(&redis, &phone, |state| state.error.contains("frames that cannot be decoded")).await?;
    let refused = bring(1).await?;
    assert!(refused.is_some_and(|why| why.contains("could not be decoded")));
    source_state(&redis, &phone, |state| state.error.is_empty()).await?;
    // Two wait for the processor now, so no third is asked for.
    until("both wait", || async { Ok(redis.backlog(&phone).await? == 2) }).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(redis.offer_frame(&phone, b"too early").await?, Offered::NotAsked);
    let mut consumer = Consumer::take(&redis, &phone).await?;
    let mut frames = consumer.next(2).await?;
    assert_eq!(bring(2).await?, None);
    frames.extend(consumer.next(1).await?);
    assert_eq!(positions(&frames), [0, 2, 3]);
    assert!(frames.iter().all(|frame| frame.header.source == Size { width: 160, height: 96 }));
    let one = LossCount { reason: LossReason::Undecodable, count: 1 };
    source_state(&redis, &phone, |state| state.lost == [one]).await?;
    producer.stop().await
}

/// A clip of so many frames, 25 a second, with these arguments of ffmpeg's; none where ffmpeg is not installed.
fn clip(folder: &tempfile::TempDir, frames: u32, arguments: &[&str]) -> Result<Option<PathBuf>> {
    let clip = folder.path().join("clip.mkv");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25"])
        .args(["-frames:v", &frames.to_string(), "-c:v", "libx264", "-bf", "0"])
        .args(arguments)
        .arg(&clip)
        .status();
    let Ok(status) = made else {
        eprintln!("skipped: no ffmpeg program is installed (apt-get install ffmpeg)");
        return Ok(None);
    };
    anyhow::ensure!(status.success(), "ffmpeg {arguments:?}: {status}");
    Ok(Some(clip))
}

#[tokio::test(flavor = "multi_thread")]
async fn paced_file_with_a_gap_of_hours_says_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let later = ["-bsf:v", "setts=ts=TS+if(gte(N\\,10)\\,7200*1000\\,0)"];
    let Some(clip) = clip(&folder, 20, &later)? else { return Ok(()) };
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let producer = Producer::start(&server, "p", &table("c", clip.to_str().unwrap(), "pace = \"realtime\""))?;
    let waits =
        source_state(&redis, &cam("c"), |state| state.published == 10 && !state.error.is_empty()).await?;
    assert_eq!(waits.state, SourceHealth::Live);
    assert_eq!(waits.error, "the file has a gap of 7200 s: it goes on after 10 s");
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_pictures_take_numbers_or_are_not_counted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Noise in one picture, so that the container is whole.
    let noisy = ["-g", "10", "-bsf:v", "noise=amount=eq(n\\,15)*50"];
    let Some(clip) = clip(&folder, 30, &noisy)? else { return Ok(()) };
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let source = clip.to_str().unwrap();
    let tables = table("drop", source, "pace = \"fast\"")
        + &table("keep", source, "pace = \"fast\"\ndamaged = \"keep\"");
    let producer = Producer::start(&server, "p", &tables)?;
    let frames = Consumer::take(&redis, &cam("drop")).await?.next(31).await?;
    let lost = source_state(&redis, &cam("drop"), is(SourceHealth::Ended)).await?.lost;
    let count = |reason| lost.iter().find(|loss| loss.reason == reason).map_or(0, |loss| loss.count);
    let (damaged, undecodable) = (count(LossReason::Damaged), count(LossReason::Undecodable));
    assert!(damaged > 0, "{lost:?}");
    assert!(frames.iter().map(|frame| frame.header.n).eq(1..=frames.len() as u64));
    let ended = positions(&frames).len() as u64 + damaged + undecodable;
    assert_eq!(ended, 30, "each picture ends in exactly one place: {:?} and {lost:?}", positions(&frames));
    assert!(frames.iter().all(|frame| !frame.header.damaged));
    let kept = Consumer::take(&redis, &cam("keep")).await?.next(31).await?;
    assert_eq!(kept.iter().filter(|frame| frame.header.damaged).count() as u64, damaged);
    assert_eq!(positions(&kept).len() as u64 + undecodable, 30);
    producer.stop().await
}
