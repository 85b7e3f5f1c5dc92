use std::time::Duration;

use anyhow::Result;
use peregrine_proto::{FrameId, LossReason};
use peregrine_streams::{CommitOutcome, Flow, Redis, RedisUrls, StreamError};

use crate::{
    server::Server,
    support::{Chain, cam, link, numbers, result, results, wire::Wire, write, writer},
};

/// For what is sure to come.
const BLOCK: Duration = Duration::from_secs(30);
const DONE: CommitOutcome = CommitOutcome::Committed { wanted_by: None };

#[tokio::test]
async fn commit_writes_result_checkpoint_and_progress_together() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    write(&mut writer, 1).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let frames = chain.read(BLOCK).await?;
    assert_eq!(redis.backlog(&cam("c")).await?, 2);
    assert_eq!(chain.commit(frames[0].id, &frames[0].header).await?, DONE);
    assert_eq!(redis.backlog(&cam("c")).await?, 1, "a committed frame frees its memory");
    let (entry, result) = results(&redis, &cam("c")).await?.remove(0);
    assert_eq!((entry.id, entry.epoch, result.n), (frames[0].id, 1, 1));
    let checkpoint = redis.checkpoint(&cam("c")).await?;
    assert_eq!((checkpoint.id, &checkpoint.state[..]), (frames[0].id, &link(&[], 1)[..]));
    Ok(())
}

#[tokio::test]
async fn commit_of_a_fenced_holder_writes_nothing() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    let mut zombie = Chain::take_for(&redis, &cam("c"), "a", Duration::from_millis(50)).await?;
    let frame = zombie.read(BLOCK).await?.remove(0);
    // Stopped longer than its lease; a successor takes over and commits the same frame.
    let mut successor = Chain::take(&redis, &cam("c"), "b").await?;
    assert_eq!(zombie.commit(frame.id, &frame.header).await?, CommitOutcome::Fenced);
    assert_eq!(successor.run(1, BLOCK).await?, 1);
    assert_eq!(zombie.commit(frame.id, &frame.header).await?, CommitOutcome::Fenced);
    assert_eq!(numbers(&redis, &cam("c")).await?, [1]);
    Ok(())
}

#[tokio::test]
async fn commit_that_skips_the_checkpoint_is_stale() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    for position in 0..3 {
        write(&mut writer, position).await?;
    }
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let frames = chain.read(BLOCK).await?;
    chain.commit(frames[0].id, &frames[0].header).await?;
    let outcome = chain.try_commit(frames[2].id, frames[1].id, b"", &result(&frames[2].header)).await?;
    assert_eq!(outcome, CommitOutcome::Stale { found: frames[0].id });
    assert_eq!(numbers(&redis, &cam("c")).await?, [1]);
    assert_eq!(redis.backlog(&cam("c")).await?, 2);
    Ok(())
}

#[tokio::test]
async fn commit_whose_answer_was_lost_is_retried_and_written_once() -> Result<()> {
    let server = Server::start().await?;
    let wire = Wire::to(&server.socket()).await?;
    let direct = server.redis().await?;
    let redis = Redis::open(&RedisUrls::single(wire.url())).await?;
    let mut writer = writer(&direct, &cam("c"), Flow::Live { queue: 8 }).await?;
    for position in 0..3 {
        write(&mut writer, position).await?;
    }
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let frames = chain.read(BLOCK).await?;
    assert_eq!(chain.commit(frames[0].id, &frames[0].header).await?, DONE);
    wire.cut_after(0);
    let mend = async {
        // The result is there and its answer is lost: what is answered from now on can only be the retry.
        while wire.cuts() == 0 || numbers(&direct, &cam("c")).await?.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        wire.pass();
        anyhow::Ok(())
    };
    let (outcome, mended) = tokio::join!(chain.commit(frames[1].id, &frames[1].header), mend);
    mended?;
    assert_eq!(outcome?, CommitOutcome::AlreadyDone { wanted_by: None });
    assert_eq!(chain.commit(frames[2].id, &frames[2].header).await?, DONE);
    assert_eq!(numbers(&direct, &cam("c")).await?, [1, 2, 3]);
    Ok(())
}

#[tokio::test]
async fn lost_checkpoint_is_advanced_without_a_second_result() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    for position in 0..2 {
        write(&mut writer, position).await?;
    }
    let frames = chain.read(BLOCK).await?;
    for frame in &frames {
        chain.commit(frame.id, &frame.header).await?;
    }
    let () = server.command(&["DEL", "peregrine:{c}:checkpoint"]).await?;
    // As a holder that starts from nothing would: it meets the frames again, then goes on.
    chain.at = FrameId::ZERO;
    chain.state.clear();
    for frame in &frames {
        let outcome = chain.commit(frame.id, &frame.header).await?;
        assert_eq!(outcome, CommitOutcome::CheckpointLost { wanted_by: None });
    }
    write(&mut writer, 2).await?;
    let frame = chain.read(BLOCK).await?.remove(0);
    assert_eq!(chain.commit(frame.id, &frame.header).await?, DONE);
    assert_eq!(numbers(&redis, &cam("c")).await?, [1, 2, 3]);
    let counted: u64 = server.command(&["HGET", "peregrine:{c}:checkpoint", "duplicates"]).await?;
    assert_eq!(counted, 2);
    Ok(())
}

#[tokio::test]
async fn result_that_cannot_be_written_changes_nothing() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let frame = chain.read(BLOCK).await?.remove(0);
    let () = server.command(&["SET", "peregrine:{c}:results", "in the way"]).await?;
    let error = chain.commit(frame.id, &frame.header).await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(StreamError::Refused { .. })), "{error}");
    assert_eq!(redis.checkpoint(&cam("c")).await?.id, FrameId::ZERO);
    assert_eq!(redis.backlog(&cam("c")).await?, 1);
    Ok(())
}

#[tokio::test]
async fn commit_tells_who_wants_the_camera() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let holder = chain.grant.lease.fence.split_once(':').unwrap().1.to_owned();
    let other = peregrine_streams::WorkerId::new("b");
    assert!(redis.want(peregrine_streams::Role::Processor, &cam("c"), &holder, &other, BLOCK).await?);
    let frame = chain.read(BLOCK).await?.remove(0);
    let outcome = chain.commit(frame.id, &frame.header).await?;
    assert_eq!(outcome, CommitOutcome::Committed { wanted_by: Some("b".into()) });
    Ok(())
}

#[tokio::test]
async fn next_holder_continues_state_and_losses() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 2 }).await?;
    for position in 0..5 {
        write(&mut writer, position).await?;
    }
    let mut first = Chain::take(&redis, &cam("c"), "a").await?;
    let frame = first.read(BLOCK).await?.remove(0);
    first.intake.n = frame.header.n;
    first.commit(frame.id, &frame.header).await?;
    redis.release(&first.grant.lease).await?;
    let second = Chain::take(&redis, &cam("c"), "b").await?;
    assert_eq!(second.grant.checkpoint.lost.get(LossReason::QueueFull), 3);
    assert_eq!(second.grant.checkpoint.n, 4);
    assert_eq!(second.state, link(&[], 4));
    Ok(())
}

#[tokio::test]
async fn frames_on_a_server_of_their_own_are_trimmed_after_the_commit() -> Result<()> {
    let (state, pixels) = (Server::start().await?, Server::start().await?);
    let redis = Redis::open(&RedisUrls { state: state.url(), frames: Some(pixels.url()) }).await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Lossless { queue: 4 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let write_all = async {
        for position in 0..40 {
            write(&mut writer, position).await?;
        }
        anyhow::Ok(())
    };
    let (written, done) = tokio::join!(write_all, chain.run(40, BLOCK));
    written?;
    assert_eq!(done?, 40);
    assert_eq!(numbers(&redis, &cam("c")).await?, (1..=40).collect::<Vec<_>>());
    assert_eq!(pixels.command::<u64>(&["XLEN", "peregrine:{c}:frames"]).await?, 0);
    assert!(!state.command::<bool>(&["EXISTS", "peregrine:{c}:frames"]).await?);
    Ok(())
}
