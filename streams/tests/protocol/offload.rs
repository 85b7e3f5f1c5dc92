use std::time::Duration;

use anyhow::Result;
use peregrine_proto::{CameraId, DetectAnswer, DetectRequest, FrameId, SCHEMA};
use peregrine_streams::{Flow, Published};

use crate::{
    server::Server,
    support::{Chain, PIXELS, cam, write, writer},
};

fn request(camera: &CameraId, id: FrameId, ticket: u64) -> DetectRequest {
    DetectRequest {
        schema: SCHEMA,
        camera: camera.clone(),
        id,
        confidence: 0.1,
        nms_iou: 0.65,
        classes: None,
        ticket,
        answer_to: "owner.1".into(),
    }
}

fn answer(ticket: u64) -> DetectAnswer {
    DetectAnswer {
        schema: SCHEMA,
        ticket,
        detections: Some(Vec::new()),
        stages: Vec::new(),
        worker: "helper".into(),
    }
}

#[tokio::test]
async fn request_goes_to_two_helpers_or_to_one_with_another_model() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("a");
    for ticket in 1..=4 {
        redis.ask_to_detect("model", &request(&camera, FrameId::ZERO, ticket)).await?;
    }
    redis.ask_to_detect("another", &request(&camera, FrameId::ZERO, 5)).await?;
    let (mut one, mut two) = (redis.detect_requests("model"), redis.detect_requests("model"));
    let mut tickets = Vec::new();
    for _ in 0..2 {
        for queue in [&mut one, &mut two] {
            tickets.extend(queue.next().await?.map(|request| request.ticket));
        }
    }
    assert_eq!(tickets, [1, 2, 3, 4]);
    Ok(())
}

#[tokio::test]
async fn answer_comes_to_another_worker_or_does_not_wake_the_one_that_waits() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut answers = redis.detect_answers("owner.1");
    let waiting = tokio::spawn(async move { answers.next().await });
    server.until_blocked(1).await?;
    redis.answer_detect("owner.2", &answer(1)).await?;
    redis.answer_detect("owner.1", &answer(2)).await?;
    assert_eq!(waiting.await??, Some(answer(2)));
    Ok(())
}

#[tokio::test]
async fn requests_that_nobody_takes_pile_up() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    for ticket in 0..200 {
        redis.ask_to_detect("model", &request(&cam("a"), FrameId::ZERO, ticket)).await?;
    }
    let waiting: i64 = server.command(&["LLEN", "peregrine:detect:requests:model"]).await?;
    assert_eq!(waiting, 64);
    let goes_in_ms: i64 = server.command(&["PTTL", "peregrine:detect:requests:model"]).await?;
    assert!((1..=10_000).contains(&goes_in_ms), "{goes_in_ms}");
    let newest = redis.detect_requests("model").next().await?.map(|request| request.ticket);
    assert_eq!(newest, Some(200 - 64), "the oldest had to go");
    Ok(())
}

#[tokio::test]
async fn entry_that_is_no_request_ends_the_helping() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut requests = redis.detect_requests("model");
    let _: i64 = server.command(&["RPUSH", "peregrine:detect:requests:model", "garbage"]).await?;
    redis.ask_to_detect("model", &request(&cam("a"), FrameId::ZERO, 1)).await?;
    assert_eq!(requests.next().await?, None);
    assert_eq!(requests.next().await?.map(|request| request.ticket), Some(1));
    Ok(())
}

#[tokio::test]
async fn full_server_hides_that_nobody_was_asked() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let () = server.command(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    assert!(redis.ask_to_detect("model", &request(&cam("a"), FrameId::ZERO, 1)).await.is_err());
    Ok(())
}

#[tokio::test]
async fn frame_is_fetched_after_it_was_committed() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("a");
    let mut writer = writer(&redis, &camera, Flow::Live { queue: 8 }).await?;
    let Published::Written { id, .. } = write(&mut writer, 0).await? else { panic!("not written") };
    let frame = redis.frame(&camera, id).await?.unwrap();
    assert_eq!((frame.id, &frame.data[..]), (id, &PIXELS[..]));
    assert!(redis.frame(&camera, id.next()).await?.is_none());

    let mut chain = Chain::take(&redis, &camera, "worker").await?;
    let read = chain.read(Duration::from_secs(30)).await?;
    chain.commit(id, &read[0].header).await?;
    assert!(redis.frame(&camera, id).await?.is_none());
    Ok(())
}
