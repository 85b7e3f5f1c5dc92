use std::time::{Duration, Instant};

use anyhow::Result;
use peregrine_proto::{FrameId, LossCount, LossReason};
use peregrine_streams::{
    Arrival, Flow, FrameReader, FrameWriter, Intake, Published, Redis, RedisUrls, Role, Seen, StreamError,
    WorkerId, wall_clock_us,
};
use redis::AsyncCommands;

use crate::{
    server::Server,
    support::{Chain, PIXELS, TTL, cam, grant, header, numbers, results, wire::Wire, write, writer},
};

/// For what is sure to come.
const BLOCK: Duration = Duration::from_secs(30);

#[tokio::test]
async fn live_drops_are_exactly_the_gaps_in_n() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    // Bursts of different lengths, one frame processed between them: the queue runs over again and again.
    let mut written = 0;
    for burst in [1, 3, 20, 8, 9, 50, 2, 2, 2] {
        for _ in 0..burst {
            assert!(matches!(write(&mut writer, written).await?, Published::Written { .. }));
            written += 1;
        }
        assert!(redis.backlog(&cam("c")).await? <= 8);
        chain.reader.follow(&cam("c"), chain.at, 1);
        chain.run(1, BLOCK).await?;
    }
    chain.reader.follow(&cam("c"), chain.at, usize::MAX);
    let left = usize::try_from(redis.backlog(&cam("c")).await?)?;
    chain.run(left, BLOCK).await?;
    let results = results(&redis, &cam("c")).await?.len() as u64;
    let added: Vec<redis::Value> = server.command(&["XINFO", "STREAM", "peregrine:{c}:frames"]).await?;
    let at = added.iter().position(|v| *v == redis::Value::BulkString(b"entries-added".to_vec())).unwrap();
    assert_eq!(added[at + 1], redis::Value::Int(written as i64));
    assert_eq!(chain.intake.lost.get(LossReason::QueueFull), written - results, "{results} results");
    assert_eq!(redis.checkpoint(&cam("c")).await?.lost.total(), written - results);
    Ok(())
}

#[tokio::test]
async fn lossless_source_waits_for_a_slow_consumer_and_loses_nothing() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Lossless { queue: 3 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let write_all = async {
        for position in 0..60 {
            write(&mut writer, position).await?;
            assert!(redis.backlog(&cam("c")).await? <= 3, "more than the queue holds");
        }
        anyhow::Ok(())
    };
    let process_slowly = async {
        let mut done = 0;
        while done < 60 {
            for frame in chain.read(BLOCK).await? {
                tokio::time::sleep(Duration::from_millis(3)).await;
                chain.commit(frame.id, &frame.header).await?;
                done += 1;
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(write_all, process_slowly)?;
    assert_eq!(numbers(&redis, &cam("c")).await?, (1..=60).collect::<Vec<_>>());
    assert_eq!(chain.intake.lost.total(), 0);
    Ok(())
}

#[tokio::test]
async fn new_lossless_producer_counts_what_the_last_one_left_waiting() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let p = WorkerId::new("p");
    let first = grant(&redis, Role::Producer, &cam("c"), &p, TTL).await?;
    let mut first = FrameWriter::open(&redis, &first.lease, Flow::Lossless { queue: 4 }).await?;
    for position in 0..4 {
        write(&mut first, position).await?;
    }
    let second = grant(&redis, Role::Producer, &cam("c"), &p, TTL).await?;
    let mut second = FrameWriter::open(&redis, &second.lease, Flow::Lossless { queue: 4 }).await?;
    let last = second.last_frame().unwrap();
    assert_eq!((last.n, last.position, last.end), (4, 3, false));
    let blocked = tokio::time::timeout(Duration::from_millis(200), write(&mut second, 4)).await;
    assert!(blocked.is_err(), "it must wait for room");
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let go_on = async {
        for position in 4..20 {
            write(&mut second, position).await?;
        }
        anyhow::Ok(())
    };
    let (written, done) = tokio::join!(go_on, chain.run(20, BLOCK));
    written?;
    assert_eq!(done?, 20);
    assert_eq!(numbers(&redis, &cam("c")).await?, (1..=20).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn new_producer_continues_after_the_last_result_when_the_stream_is_empty() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let p = WorkerId::new("p");
    let first = grant(&redis, Role::Producer, &cam("c"), &p, TTL).await?;
    let mut first = FrameWriter::open(&redis, &first.lease, Flow::Live { queue: 8 }).await?;
    write(&mut first, 7).await?;
    Chain::take(&redis, &cam("c"), "a").await?.run(1, BLOCK).await?;
    assert_eq!(redis.backlog(&cam("c")).await?, 0);
    let second = grant(&redis, Role::Producer, &cam("c"), &p, TTL).await?;
    let mut second = FrameWriter::open(&redis, &second.lease, Flow::Live { queue: 8 }).await?;
    let last = second.last_frame().unwrap();
    assert_eq!((last.n, last.position), (1, 7));
    assert!(matches!(write(&mut second, 8).await?, Published::Written { n: 2, .. }));
    Ok(())
}

#[test]
fn frames_of_a_succeeded_producer_are_left_out_and_counted() {
    let mut intake = Intake::default();
    let seen = |intake: &mut Intake, n, inc| {
        let mut header = header(0);
        (header.n, header.inc) = (n, inc);
        intake.see(&header)
    };
    assert_eq!(seen(&mut intake, 1, 1), Seen::Next { missed: 0 });
    assert_eq!(seen(&mut intake, 2, 2), Seen::Next { missed: 0 });
    assert_eq!(seen(&mut intake, 2, 1), Seen::StaleProducer);
    assert_eq!(seen(&mut intake, 5, 2), Seen::Next { missed: 2 });
    assert_eq!(intake.lost.get(LossReason::StaleProducer), 1);
    assert_eq!(intake.lost.get(LossReason::QueueFull), 2);
    intake.see_garbage();
    assert_eq!(seen(&mut intake, 8, 2), Seen::Next { missed: 2 });
    assert_eq!((intake.lost.get(LossReason::Malformed), intake.lost.total()), (1, 5));
}

#[tokio::test]
async fn succeeded_producer_is_told_when_it_writes_an_older_frame() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let p = WorkerId::new("p");
    for flow in [Flow::Live { queue: 8 }, Flow::Lossless { queue: 8 }] {
        let first = grant(&redis, Role::Producer, &cam("c"), &p, TTL).await?;
        let mut first = FrameWriter::open(&redis, &first.lease, flow).await?;
        let old = &mut header(0);
        let second = grant(&redis, Role::Producer, &cam("c"), &p, TTL).await?;
        let mut second = FrameWriter::open(&redis, &second.lease, flow).await?;
        tokio::time::sleep(Duration::from_millis(2)).await;
        write(&mut second, 1).await?;
        let error = first.publish(old, &PIXELS).await.unwrap_err();
        assert!(matches!(error, StreamError::Succeeded { .. }), "{error}");
    }
    Ok(())
}

#[tokio::test]
async fn header_carries_what_the_producer_lost_before() -> Result<()> {
    let server = Server::with(&["--save", "", "--maxmemory-policy", "noeviction"]).await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    let () = server.command(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    for position in 0..5 {
        assert_eq!(write(&mut writer, position).await?, Published::Dropped(LossReason::RedisFull));
    }
    let () = server.command(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    let mut head = header(5);
    head.lost = vec![LossCount { reason: LossReason::Undecodable, count: 2 }];
    let published = writer.publish(&mut head, &PIXELS).await?;
    assert!(
        matches!(published, Published::Written { n: 1, .. }),
        "dropped frames take no number: {published:?}"
    );
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    let frame = chain.read(BLOCK).await?.remove(0);
    let counts: Vec<_> = frame.header.lost.iter().map(|c| (c.reason, c.count)).collect();
    assert_eq!(counts, [(LossReason::RedisFull, 5), (LossReason::Undecodable, 2)]);
    Ok(())
}

#[tokio::test]
async fn full_redis_still_takes_commits_and_runs_free() -> Result<()> {
    let server = Server::with(&["--save", "", "--maxmemory-policy", "noeviction"]).await?;
    let redis = server.redis().await?;
    let mut live = writer(&redis, &cam("live"), Flow::Live { queue: 8 }).await?;
    let mut file = writer(&redis, &cam("file"), Flow::Lossless { queue: 8 }).await?;
    let mut live_chain = Chain::take(&redis, &cam("live"), "a").await?;
    let mut file_chain = Chain::take(&redis, &cam("file"), "a").await?;
    for position in 0..8 {
        write(&mut live, position).await?;
        write(&mut file, position).await?;
    }
    let () = server.command(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    assert_eq!(write(&mut live, 8).await?, Published::Dropped(LossReason::RedisFull));
    // Leases and commits go on, and so does the rest as soon as there is room.
    redis.renew(&live_chain.grant.lease).await?;
    assert_eq!(live_chain.run(7, BLOCK).await?, 7);
    assert_eq!(redis.backlog(&cam("live")).await?, 0, "the eighth made room for the one refused");
    assert_eq!(file_chain.run(8, BLOCK).await?, 8);
    let waiting = tokio::time::timeout(Duration::from_millis(300), write(&mut file, 8)).await;
    assert!(waiting.is_err(), "a file waits while redis is full");
    let () = server.command(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    write(&mut file, 9).await?;
    assert_eq!(file_chain.run(1, BLOCK).await?, 1);
    assert_eq!(
        file.lost().get(LossReason::RedisUnreachable),
        1,
        "only the call that was given up, as it was told"
    );
    Ok(())
}

#[tokio::test]
async fn garbage_in_a_stream_stops_nobody() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 100 }).await?;
    let mut raw = server.raw().await?;
    let key = "peregrine:{c}:frames";
    write(&mut writer, 0).await?;
    let _: String = raw.xadd(key, "*", &[("x", "y")]).await?;
    let _: String = raw.xadd(key, "*", &[("h", "not a header")]).await?;
    let _: String = raw.xadd(key, "*", &[(&b"\xff\xfe"[..], &b"\x00"[..])]).await?;
    let mut short = header(1);
    (short.n, short.inc) = (2, 1);
    let _: String =
        raw.xadd(key, "*", &[("h", peregrine_proto::encode(&short)), ("d", vec![1, 2, 3])]).await?;
    let mut reader = FrameReader::new(&redis);
    reader.follow(&cam("c"), FrameId::ZERO, usize::MAX);
    let arrivals = reader.read(BLOCK).await?;
    let kinds: Vec<_> = arrivals
        .iter()
        .map(|arrival| match arrival {
            Arrival::Frame(frame) => format!("frame {}", frame.header.n),
            Arrival::Malformed { header: Some(header), why, .. } => {
                format!("frame {} broken: {why}", header.n)
            }
            Arrival::Malformed { .. } => "garbage".into(),
            Arrival::Recreated { .. } => "anew".into(),
        })
        .collect();
    let broken = "frame 2 broken: 3 bytes of pixels where 4x2 need 12";
    assert_eq!(kinds, ["frame 1", "garbage", "garbage", "garbage", broken]);
    Ok(())
}

#[tokio::test]
async fn reader_goes_on_after_its_connection_was_killed_while_it_waited() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    let mut reader = FrameReader::new(&redis);
    reader.follow(&cam("c"), FrameId::ZERO, usize::MAX);
    let kill = async {
        server.until_blocked(1).await?;
        server.command::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await
    };
    let (read, killed) = tokio::join!(reader.read(Duration::from_secs(5)), kill);
    assert!(killed? >= 1);
    assert!(read.unwrap_err().is_transient());
    // The writer's connection was killed too: it says so once, and goes on.
    let mut written = 0;
    while written < 3 {
        written += usize::from(matches!(write(&mut writer, 0).await?, Published::Written { .. }));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let arrivals = reader.read(BLOCK).await?;
    assert!(matches!(&arrivals[0], Arrival::Frame(frame) if frame.header.n == 1), "{arrivals:?}");
    Ok(())
}

#[tokio::test]
async fn frame_read_just_before_the_connection_is_lost_is_handed_out() -> Result<()> {
    let server = Server::start().await?;
    let wire = Wire::to(&server.socket()).await?;
    let mut writer = writer(&server.redis().await?, &cam("c"), Flow::Live { queue: 8 }).await?;
    let mut reader = FrameReader::new(&Redis::open(&RedisUrls::single(wire.url())).await?);
    reader.follow(&cam("c"), FrameId::ZERO, usize::MAX);
    assert!(reader.read(Duration::from_millis(10)).await?.is_empty());
    // The answer with the frame comes; that of the look for more behind it does not.
    wire.cut_after(1);
    write(&mut writer, 0).await?;
    let arrivals = reader.read(BLOCK).await?;
    assert!(matches!(&arrivals[..], [Arrival::Frame(frame)] if frame.header.n == 1), "{arrivals:?}");
    wire.pass();
    write(&mut writer, 1).await?;
    loop {
        match reader.read(BLOCK).await {
            Ok(arrivals) => {
                assert!(
                    matches!(&arrivals[..], [Arrival::Frame(frame)] if frame.header.n == 2),
                    "{arrivals:?}"
                );
                return Ok(());
            }
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
    }
}

#[tokio::test]
async fn waker_ends_a_wait_at_once() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut reader = FrameReader::new(&redis);
    for allowance in [0, 1] {
        reader.follow(&cam("c"), FrameId::ZERO, allowance);
        for delay_ms in [0, 50] {
            let waker = reader.waker();
            let began = Instant::now();
            let wake = async {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
                waker.wake();
            };
            let (read, ()) = tokio::join!(reader.read(Duration::from_secs(5)), wake);
            assert!(read?.is_empty());
            assert!(began.elapsed() < Duration::from_millis(4500), "{:?}", began.elapsed());
        }
    }
    Ok(())
}

#[tokio::test]
async fn dropped_read_loses_nothing() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    let mut reader = FrameReader::new(&redis);
    reader.follow(&cam("c"), FrameId::ZERO, usize::MAX);
    let dropped = tokio::time::timeout(Duration::from_millis(50), reader.read(Duration::from_secs(5))).await;
    assert!(dropped.is_err());
    write(&mut writer, 0).await?;
    let began = Instant::now();
    assert_eq!(reader.read(BLOCK).await?.len(), 1);
    assert!(began.elapsed() < Duration::from_millis(4500), "the abandoned wait must not be waited out");
    Ok(())
}

#[tokio::test]
async fn camera_without_allowance_is_left_out() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut reader = FrameReader::new(&redis);
    for (name, allowance) in [("a", 2), ("b", 0), ("c", 5)] {
        let mut writer = writer(&redis, &cam(name), Flow::Live { queue: 100 }).await?;
        for position in 0..10 {
            write(&mut writer, position).await?;
        }
        reader.follow(&cam(name), FrameId::ZERO, allowance);
    }
    let mut counts = std::collections::BTreeMap::new();
    let mut arrivals = reader.read(BLOCK).await?;
    while !arrivals.is_empty() {
        for arrival in &arrivals {
            let Arrival::Frame(frame) = arrival else { panic!("{arrival:?}") };
            *counts.entry(frame.camera.to_string()).or_insert(0) += 1;
        }
        arrivals = reader.read(Duration::from_millis(50)).await?;
    }
    assert_eq!(counts, [("a".into(), 2), ("c".into(), 5)].into());
    reader.allow(&cam("b"), 1);
    assert_eq!(reader.read(BLOCK).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn stream_made_anew_behind_the_cursor_is_noticed() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut reader = FrameReader::new(&redis);
    reader.follow(&cam("c"), FrameId { ms: u64::MAX / 2, seq: 0 }, usize::MAX);
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    let began = Instant::now();
    loop {
        let arrivals = reader.read(Duration::from_millis(200)).await?;
        if let Some(arrival) = arrivals.first() {
            assert!(matches!(arrival, Arrival::Recreated { .. }), "{arrival:?}");
            return Ok(());
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it was never noticed");
    }
}

#[tokio::test]
async fn ids_are_capture_times_and_rise_whatever_the_clock_does() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    let now_us = wall_clock_us();
    let mut ids = Vec::new();
    for captured_at_us in [now_us, now_us + 2_000_000, now_us + 1_000_000, now_us + 2_000_000] {
        let mut header = header(0);
        header.captured_at_us = captured_at_us;
        let Published::Written { id, .. } = writer.publish(&mut header, &PIXELS).await? else { panic!() };
        ids.push((id.ms as i64 - now_us / 1000, id.seq));
    }
    assert_eq!(ids, [(0, 0), (2000, 0), (2000, 1), (2000, 2)]);
    Ok(())
}

#[tokio::test]
async fn clock_far_from_the_servers_is_refused() -> Result<()> {
    let server = Server::start().await?;
    let wire = fake::server_with_clock(wall_clock_us() / 1_000_000 + 60).await?;
    let redis = Redis::open(&RedisUrls { state: server.url(), frames: Some(wire.1.clone()) }).await?;
    let lease = grant(&redis, Role::Processor, &cam("c"), &WorkerId::new("p"), TTL).await?.lease;
    let error = FrameWriter::open(&redis, &lease, Flow::Live { queue: 8 }).await.err().unwrap();
    assert!(matches!(error, StreamError::Clock { .. }), "{error}");
    assert!(error.to_string().contains("s behind the clock of Redis"), "{error}");
    Ok(())
}

#[tokio::test]
async fn unanswered_frame_is_counted_only_if_it_never_arrived() -> Result<()> {
    let server = Server::start().await?;
    let wire = Wire::to(&server.socket()).await?;
    let direct = server.redis().await?;
    let redis = Redis::open(&RedisUrls::single(wire.url())).await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    write(&mut writer, 0).await?;
    wire.cut_after(0);
    assert_eq!(write(&mut writer, 1).await?, Published::Unanswered);
    wire.pass();
    let mut written = Vec::new();
    while written.is_empty() {
        if let Published::Written { n, .. } = write(&mut writer, 2).await? {
            written.push(n);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(written, [3], "the frame whose answer was lost arrived, and has the number 2");
    let mut chain = Chain::take(&direct, &cam("c"), "a").await?;
    chain.run(3, BLOCK).await?;
    assert_eq!(chain.intake.lost.total(), 0);
    assert_eq!(numbers(&direct, &cam("c")).await?, [1, 2, 3]);
    Ok(())
}

/// A server with a clock of its own, which real ones do not have.
mod fake {
    use anyhow::Result;
    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
        net::UnixListener,
    };

    pub(crate) async fn server_with_clock(seconds: i64) -> Result<(tempfile::TempDir, String)> {
        let dir = tempfile::TempDir::new()?;
        let path = dir.path().join("fake.sock");
        let listener = UnixListener::bind(&path)?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (read, mut write) = stream.into_split();
                    let mut read = BufReader::new(read);
                    while let Ok(words) = command(&mut read).await {
                        let answer = match words[0].to_uppercase().as_str() {
                            "TIME" => format!("*2\r\n$10\r\n{seconds}\r\n$1\r\n0\r\n"),
                            "INFO" => "$22\r\nredis_version:7.0.15\r\n\r\n".to_owned(),
                            _ => "+OK\r\n".to_owned(),
                        };
                        if write.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok((dir, format!("redis+unix://{}", path.display())))
    }

    async fn command(read: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Vec<String>> {
        let count = number(read).await?;
        let mut words = Vec::new();
        for _ in 0..count {
            let mut word = vec![0; number(read).await? + 2];
            read.read_exact(&mut word).await?;
            words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
        }
        anyhow::ensure!(!words.is_empty());
        Ok(words)
    }

    async fn number(read: &mut (impl AsyncBufReadExt + Unpin)) -> Result<usize> {
        let mut line = String::new();
        read.read_line(&mut line).await?;
        Ok(line.trim().get(1..).unwrap_or_default().parse()?)
    }
}
