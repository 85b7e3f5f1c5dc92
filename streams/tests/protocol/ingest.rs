use std::time::Duration;

use anyhow::{Context, Result};
use peregrine_streams::{IngestReader, keys};

use crate::{server::Server, support::cam};

#[tokio::test]
async fn frames_queue_up_while_the_producer_is_busy() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("phone");
    assert!(!redis.offer_frame(&camera, b"nobody asked").await?);
    let mut reader = IngestReader::new(&redis, &camera, Duration::from_secs(20));
    let reading = tokio::spawn(async move {
        let first = reader.next().await;
        (reader, first)
    });
    server.until_blocked(1).await?;
    assert!(redis.offer_frame(&camera, b"wanted").await?);
    for _ in 0..5 {
        assert!(!redis.offer_frame(&camera, b"too early").await?);
    }
    let (mut reader, first) = reading.await?;
    assert_eq!(first?.context("no frame")?.jpeg, &b"wanted"[..]);
    let next = tokio::spawn(async move { reader.next().await });
    server.until_blocked(1).await?;
    assert!(redis.offer_frame(&camera, b"newest").await?);
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
    assert!(!redis.offer_frame(&camera, b"late").await?);
    Ok(())
}
