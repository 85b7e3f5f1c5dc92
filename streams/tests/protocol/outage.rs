use std::time::Duration;

use anyhow::{Context, Result};
use peregrine_proto::LossReason;
use peregrine_streams::{CommitOutcome, Flow, Published, Redis, RedisUrls, StreamError};

use crate::{
    server::Server,
    support::{Chain, cam, link, results, wire::Wire, write, writer},
};

const BLOCK: Duration = Duration::from_secs(5);

/// Runs a file through a processor while something happens to the server; every frame must come out once.
pub(crate) async fn file_survives(redis: &Redis, outage: impl Future<Output = Result<()>>) -> Result<()> {
    let frames = 300;
    let mut writer = writer(redis, &cam("c"), Flow::Lossless { queue: 8 }).await?;
    let mut chain = Chain::take(redis, &cam("c"), "a").await?;
    let write_all = async {
        for position in 0..frames {
            write(&mut writer, position).await?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        anyhow::Ok(())
    };
    let process = async {
        let mut done = 0;
        while done < frames {
            let arrived = match chain.read(Duration::from_millis(200)).await {
                Err(error) if error.downcast_ref::<StreamError>().is_some_and(StreamError::is_transient) => {
                    continue;
                }
                other => other?,
            };
            for frame in arrived {
                match chain.commit(frame.id, &frame.header).await? {
                    CommitOutcome::Committed { .. } | CommitOutcome::AlreadyDone { .. } => done += 1,
                    other => anyhow::bail!("frame {}: {other:?}", frame.header.n),
                }
            }
        }
        anyhow::Ok(())
    };
    let all = async { tokio::try_join!(write_all, process, outage) };
    tokio::time::timeout(Duration::from_secs(60), all).await.context("some frame never came out")??;
    let results = results(redis, &cam("c")).await?;
    let positions: Vec<u64> = results.iter().map(|(_, result)| result.position).collect();
    assert_eq!(positions, (0..frames).collect::<Vec<_>>(), "every frame of the file once, in order");
    let chain = (1..=frames).fold(Vec::new(), |state, n| link(&state, n));
    assert_eq!(redis.checkpoint(&cam("c")).await?.state, chain, "the state is that of all frames in order");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn file_survives_a_paused_redis() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let pause = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Longer than any answer is waited for.
        server.signal("STOP")?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        server.signal("CONT")
    };
    file_survives(&redis, pause).await
}

#[tokio::test(flavor = "multi_thread")]
async fn file_survives_lost_connections() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let kill = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            server.command::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await?;
        }
        Ok(())
    };
    file_survives(&redis, kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn file_survives_answers_that_never_come() -> Result<()> {
    let server = Server::start().await?;
    let wire = Wire::to(&server.socket()).await?;
    let redis = Redis::open(&RedisUrls::single(wire.url())).await?;
    let blackhole = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        wire.swallow_answers();
        tokio::time::sleep(Duration::from_secs(1)).await;
        wire.pass();
        Ok(())
    };
    file_survives(&redis, blackhole).await
}

#[tokio::test(flavor = "multi_thread")]
async fn file_survives_a_killed_redis_that_keeps_an_append_only_file() -> Result<()> {
    let mut server =
        // With `everysec`, Redis answers before it writes while a sync takes its time: a busy disk loses what was acknowledged.
        Server::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]).await?;
    let redis = server.redis().await?;
    let restart = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.kill()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.run().await
    };
    file_survives(&redis, restart).await
}

#[tokio::test(flavor = "multi_thread")]
async fn live_source_drops_and_counts_while_redis_is_away_and_comes_back() -> Result<()> {
    let mut server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 1000 }).await?;
    let mut outcomes = (0_u64, 0_u64, 0_u64);
    let mut tell = |published| match published {
        Published::Written { .. } => outcomes.0 += 1,
        Published::Dropped(reason) => {
            assert_eq!(reason, LossReason::RedisUnreachable);
            outcomes.1 += 1;
        }
        Published::Unanswered => outcomes.2 += 1,
    };
    for position in 0..10 {
        tell(write(&mut writer, position).await?);
    }
    server.kill()?;
    for position in 10..30 {
        let began = std::time::Instant::now();
        tell(write(&mut writer, position).await?);
        assert!(began.elapsed() < Duration::from_secs(1), "a live source must not be held up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.run().await?;
    let mut position = 30;
    loop {
        let published = write(&mut writer, position).await?;
        tell(published);
        position += 1;
        if let Published::Written { n, .. } = published {
            // The server kept nothing; numbers go on all the same.
            assert_eq!(n, 11);
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (written, dropped, unanswered) = outcomes;
    assert_eq!(written + dropped + unanswered, position);
    assert_eq!(writer.lost().get(LossReason::RedisUnreachable), dropped + unanswered);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn live_source_waits_for_a_paused_redis() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 1000 }).await?;
    write(&mut writer, 0).await?;
    server.signal("STOP")?;
    let (paused, mut waited) = (std::time::Instant::now(), Duration::ZERO);
    let mut position = 1;
    // Longer than an answer is waited for, so that the connection is given up as well.
    while paused.elapsed() < Duration::from_secs(8) {
        let began = std::time::Instant::now();
        assert!(!matches!(write(&mut writer, position).await?, Published::Written { .. }));
        waited += began.elapsed();
        position += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(waited < Duration::from_secs(4), "it waited for {waited:?} of 8 s");
    server.signal("CONT")?;
    while !matches!(write(&mut writer, position).await?, Published::Written { .. }) {
        assert!(paused.elapsed() < Duration::from_secs(40), "it never comes back");
        position += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(writer.published() + writer.lost().total(), position + 1, "a frame is in no account");
    Ok(())
}

#[tokio::test]
async fn flushed_server_is_started_over() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    write(&mut writer, 1).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let frames = chain.read(BLOCK).await?;
    chain.commit(frames[0].id, &frames[0].header).await?;
    let () = server.command(&["FLUSHALL"]).await?;
    let outcome = chain.commit(frames[1].id, &frames[1].header).await?;
    assert_eq!(outcome, CommitOutcome::Fenced, "the lease is gone");
    let mut again = Chain::take(&redis, &cam("c"), "a").await?;
    write(&mut writer, 2).await?;
    assert_eq!(again.run(1, BLOCK).await?, 1);
    Ok(())
}

#[tokio::test]
async fn absent_redis_is_named_without_its_password() -> Result<()> {
    let error = Redis::open(&RedisUrls::single("redis://user:secret@127.0.0.1:1/")).await.err().unwrap();
    let text = format!("{error} {error:?}");
    assert!(text.contains("cannot reach Redis at redis://***@127.0.0.1:1/"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let error = Redis::open(&RedisUrls::single("http://user:secret@host/")).await.err().unwrap();
    let text = format!("{error} {error:?}");
    assert!(text.contains("no Redis address") && !text.contains("secret"), "{text}");
    Ok(())
}
