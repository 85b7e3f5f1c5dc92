use std::time::{Duration, Instant};

use anyhow::Result;
use peregrine_proto::{LossCount, LossReason, Size, Stage};
use peregrine_streams::{ModelAnnouncement, SourceHealth};

use crate::{
    server::Server,
    support::{Consumer, Producer, cam, is, positions, source_state, table, until},
};

const ROAD: &str = "synthetic:road?w=160&h=96&fps=25&frames=30";

#[tokio::test(flavor = "multi_thread")]
async fn file_is_published_once_in_order_and_closed() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let producer = Producer::start(&server, "p", &table("c", ROAD, "pace = \"fast\""))?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    let frames = consumer.next(31).await?;
    assert_eq!(positions(&frames), (0..30).collect::<Vec<_>>());
    assert_eq!(frames.iter().map(|f| f.header.n).collect::<Vec<_>>(), (1..=31).collect::<Vec<_>>());
    assert!(frames[30].header.end && frames[30].data.is_empty());
    for frame in &frames[..30] {
        let header = &frame.header;
        assert_eq!(header.media_time_us, header.position as i64 * 40_000);
        assert_eq!(header.source, Size { width: 160, height: 96 });
        assert_eq!(header.analysed, Size { width: 64, height: 36 });
        assert_eq!(header.scale, [2.5, 96.0 / 36.0]);
        assert_eq!(frame.data.len(), 64 * 36 * 3 / 2);
        assert_eq!(frame.id.ms as i64, header.captured_at_us / 1000);
        assert!(header.lossless && header.inc == 1 && header.lost.is_empty());
        assert_eq!(header.discontinuity, header.position == 0);
        let stages: Vec<Stage> = header.stages.iter().map(|time| time.stage).collect();
        assert_eq!(stages, [Stage::Capture, Stage::Decode, Stage::Hold, Stage::Resize, Stage::Credit]);
    }
    let state = source_state(&redis, &cam("c"), is(SourceHealth::Ended)).await?;
    assert_eq!(
        (state.published, state.position, state.fps, state.worker.as_str()),
        (30, Some(29), 25.0, "p")
    );
    assert_eq!(consumer.intake.lost.total(), 0);
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pace_changes_when_frames_come_and_nothing_else() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let tables = table("fast", ROAD, "pace = \"fast\"") + &table("real", ROAD, "pace = \"realtime\"");
    let producer = Producer::start(&server, "p", &tables)?;
    let (mut fast, mut real) =
        (Consumer::take(&redis, &cam("fast")).await?, Consumer::take(&redis, &cam("real")).await?);
    let (fast, real) = tokio::try_join!(fast.next(31), real.next(31))?;
    for (a, b) in fast.iter().zip(&real) {
        assert_eq!(
            (a.header.position, a.header.media_time_us, &a.data),
            (b.header.position, b.header.media_time_us, &b.data)
        );
    }
    let span_us = real[29].header.captured_at_us - real[0].header.captured_at_us;
    assert!(span_us >= 29 * 40_000 - 20_000, "30 frames at 25 fps in {span_us} us");
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn loop_starts_again_with_a_discontinuity() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let road = "synthetic:road?w=160&h=96&frames=10";
    let producer = Producer::start(&server, "p", &table("c", road, "pace = \"fast\"\nloop = true"))?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    let frames = consumer.next(35).await?;
    for (index, frame) in frames.iter().enumerate() {
        assert_eq!(frame.header.position, index as u64 % 10);
        assert_eq!(frame.header.discontinuity, index % 10 == 0, "frame {index}");
        assert!(!frame.header.end);
    }
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_left_out_on_purpose_are_counted() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let producer = Producer::start(&server, "p", &table("c", ROAD, "pace = \"fast\"\nevery = 4"))?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    let frames = consumer.next(9).await?;
    assert_eq!(positions(&frames), [0, 4, 8, 12, 16, 20, 24, 28]);
    let not_wanted = |count| vec![LossCount { reason: LossReason::NotWanted, count }];
    assert_eq!(frames[1].header.lost, not_wanted(3));
    assert_eq!(frames[8].header.lost, not_wanted(22));
    let state = source_state(&redis, &cam("c"), is(SourceHealth::Ended)).await?;
    assert_eq!((state.published, state.lost), (8, not_wanted(22)), "30 frames: 8 + 22");
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn source_ends_after_as_many_frames_as_wanted() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let producer = Producer::start(&server, "p", &table("c", ROAD, "pace = \"fast\"\nmax_frames = 7"))?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    let frames = consumer.next(8).await?;
    assert_eq!(positions(&frames), (0..7).collect::<Vec<_>>());
    assert!(frames[7].header.end);
    assert_eq!(source_state(&redis, &cam("c"), is(SourceHealth::Ended)).await?.published, 7);
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn analysed_size_follows_the_announced_model() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let road = "[producer]\nfile_queue = 1\n[[camera]]\nid = \"c\"\nsource = { uri = \"synthetic:road?w=320&h=240\", pace = \"fast\" }";
    let producer = Producer::start(&server, "p", road)?;
    let waiting =
        source_state(&redis, &cam("c"), |state| state.error.contains("waiting for a processor")).await?;
    assert_eq!(waiting.state, SourceHealth::Starting);
    let announce = |width, announced_at_us| ModelAnnouncement {
        name: format!("model{width}"),
        input: Size { width, height: width },
        classes: Vec::new(),
        default: true,
        announced_at_us,
    };
    redis.announce_model(&announce(160, 1)).await?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    assert_eq!(consumer.next(1).await?[0].header.analysed, Size { width: 160, height: 120 });
    redis.announce_model(&announce(64, 2)).await?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while consumer.next(1).await?[0].header.analysed != (Size { width: 64, height: 48 }) {
        assert!(Instant::now() < deadline, "the size never followed");
    }
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn usual_size_is_used_where_no_model_is_announced() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let road = "[producer]\nmodel_wait_ms = 0\n[[camera]]\nid = \"c\"\nsource = { uri = \"synthetic:road?w=1280&h=720\", pace = \"fast\" }";
    let producer = Producer::start(&server, "p", road)?;
    let mut consumer = Consumer::take(&redis, &cam("c")).await?;
    assert_eq!(consumer.next(1).await?[0].header.analysed, Size { width: 640, height: 360 });
    producer.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_made_only_while_somebody_watches_and_under_the_frames_ids() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let camera = cam("c");
    let producer = Producer::start(&server, "p", &table("c", "synthetic:road?w=320&h=180&fps=50", ""))?;
    let mut consumer = Consumer::take(&redis, &camera).await?;
    consumer.next(10).await?;
    assert!(redis.latest_preview(&camera).await?.is_none(), "nobody watches");
    redis.watch(&camera, 160, Duration::from_millis(1500)).await?;
    let mut ids = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let picture = loop {
        ids.extend(consumer.next(1).await?.into_iter().map(|frame| frame.id));
        if let Some(picture) = redis.latest_preview(&camera).await? {
            break picture;
        }
        assert!(Instant::now() < deadline, "no picture came");
    };
    ids.extend(consumer.next(20).await?.into_iter().map(|frame| frame.id));
    assert!(ids.contains(&picture.id), "{} is no frame's", picture.id);
    assert_eq!(picture.size, Size { width: 160, height: 90 });
    assert_eq!(&picture.jpeg[..3], [0xff, 0xd8, 0xff]);
    let consuming = async {
        let failed = loop {
            let Err(error) = consumer.next(1).await else { continue };
            break error;
        };
        Err::<(), _>(failed)
    };
    let stops = until("pictures stop when nobody watches", async || {
        let before = redis.latest_preview(&camera).await?.map(|picture| picture.id);
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(before == redis.latest_preview(&camera).await?.map(|picture| picture.id))
    });
    tokio::select! {
        failed = consuming => failed?,
        stopped = stops => stopped?,
    }
    producer.stop().await
}
