use std::time::Duration;

use anyhow::{Context, Result};
use peregrine_proto::CameraId;
use peregrine_streams::{IngestReader, Offered, Redis, keys};

use crate::{server::Server, support::cam};

async fn taken(redis: &Redis, camera: &CameraId, jpeg: &[u8]) -> Result<bool> {
    Ok(redis.offer_frame(camera, jpeg).await? != Offered::NotAsked)
}

#[tokio::test]
async fn who_brings_frames_is_not_told_that_one_was_refused() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("phone");
    let mut reader = IngestReader::new(&redis, &camera, Duration::from_millis(20));
    reader.next().await?;
    assert_eq!(redis.offer_frame(&camera, b"broken").await?, Offered::Taken { refused: None });
    reader.next().await?.context("no frame")?;
    reader.refuse("it is no picture".into());
    // However often it asks until the next one comes.
    for _ in 0..2 {
        assert!(reader.next().await?.is_none());
    }
    let refused = Some("it is no picture".into());
    assert_eq!(redis.offer_frame(&camera, b"whole").await?, Offered::Taken { refused });
    reader.next().await?.context("no frame")?;
    reader.next().await?;
    assert_eq!(redis.offer_frame(&camera, b"whole").await?, Offered::Taken { refused: None }, "told once");
    Ok(())
}

#[tokio::test]
async fn frames_queue_up_while_the_producer_is_busy() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("phone");
    assert!(!taken(&redis, &camera, b"nobody asked").await?);
    let mut reader = IngestReader::new(&redis, &camera, Duration::from_secs(20));
    let reading = tokio::spawn(async move {
        let first = reader.next().await;
        (reader, first)
    });
    server.until_blocked(1).await?;
    assert!(taken(&redis, &camera, b"wanted").await?);
    for _ in 0..5 {
        assert!(!taken(&redis, &camera, b"too early").await?);
    }
    let (mut reader, first) = reading.await?;
    assert_eq!(first?.context("no frame")?.jpeg, &b"wanted"[..]);
    let next = tokio::spawn(async move { reader.next().await });
    server.until_blocked(1).await?;
    assert!(taken(&redis, &camera, b"newest").await?);
    assert_eq!(next.await??.context("no frame")?.jpeg, &b"newest"[..]);
    let kept: usize = server.command(&["XLEN", &keys::ingest(&camera)]).await?;
    assert_eq!(kept, 1);
    Ok(())
}

#[tokio::test]
async fn frame_is_taken_for_a_producer_that_is_gone() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("phone");
    let mut reader = IngestReader::new(&redis, &camera, Duration::from_millis(20));
    assert!(reader.next().await?.is_none(), "nothing came in time");
    drop(reader);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(!taken(&redis, &camera, b"late").await?);
    Ok(())
}
