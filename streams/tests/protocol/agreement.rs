//! Daemons of this release beside those of the one before, whose scripts lie in `before`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use peregrine_proto::{
    CameraConfig, CameraId, FrameHeader, FrameId, LossCount, LossReason, Notice, OLDEST_SCHEMA, SCHEMA,
    decode,
};
use peregrine_streams::{
    Acquired, Agreement, Arrival, Balance, CommitOutcome, Flow, FrameReader, Losses, QUIET, Redis, Role,
    SourceState, Unfit, WorkerId, keys,
};

use crate::{
    server::Server,
    support::{Chain, TTL, cam, header, result, write, writer},
};

const ACQUIRE: &str = include_str!("before/acquire.lua");
const WANT: &str = include_str!("before/want.lua");
const RENEW: &str = include_str!("before/renew.lua");
const RELEASE: &str = include_str!("before/release.lua");
const COMMIT: &str = include_str!("before/commit.lua");
/// A fence, where the lease was had.
type Had = Option<String>;

/// A processor of the release before.
struct Old<'a> {
    server: &'a Server,
    id: &'static str,
}

impl Old<'_> {
    async fn announce(&self) -> Result<()> {
        let now = self.server.command::<(i64, i64)>(&["TIME"]).await?.0 * 1000;
        let key = keys::workers(Role::Processor);
        self.server.command(&["ZADD", key, &now.to_string(), self.id]).await
    }

    async fn leave(&self) -> Result<()> {
        self.server.command(&["ZREM", keys::workers(Role::Processor), self.id]).await
    }

    async fn acquire(&self, camera: &CameraId) -> Result<Had> {
        let (lease, checkpoint) = (keys::lease(Role::Processor, camera), keys::checkpoint(camera));
        let ttl = TTL.as_millis().to_string();
        let reply: Vec<redis::Value> =
            self.server.command(&["EVAL", ACQUIRE, "2", &lease, &checkpoint, self.id, &ttl, "0"]).await?;
        match &reply[..] {
            [redis::Value::Int(1), redis::Value::BulkString(fence), ..] => {
                Ok(Some(String::from_utf8(fence.clone())?))
            }
            // As its Rust reads it: who holds it, and for how many milliseconds.
            [redis::Value::Int(0), redis::Value::BulkString(_), redis::Value::Int(wait)] if *wait > 0 => {
                Ok(None)
            }
            other => anyhow::bail!("{other:?}"),
        }
    }

    async fn want(&self, camera: &CameraId, holder: &str) -> Result<bool> {
        let lease = keys::lease(Role::Processor, camera);
        let stands = TTL.as_millis().to_string();
        let reply: i64 = self.server.command(&["EVAL", WANT, "1", &lease, holder, self.id, &stands]).await?;
        Ok(reply == 1)
    }

    async fn renew(&self, camera: &CameraId, fence: &str) -> Result<Vec<String>> {
        let lease = keys::lease(Role::Processor, camera);
        let ttl = TTL.as_millis().to_string();
        self.server.command(&["EVAL", RENEW, "1", &lease, fence, &ttl]).await
    }
}

async fn put(redis: &Redis, id: &str) -> Result<CameraId> {
    let config: CameraConfig =
        serde_json::from_value(serde_json::json!({ "id": id, "source": { "uri": "synthetic:road" } }))?;
    redis.put_camera(&config).await?;
    Ok(config.id)
}

/// Lets an agreement look until its handle writes this version.
async fn until(agreement: &mut Agreement, redis: &Redis, schema: u16) -> Result<Duration> {
    let since = Instant::now();
    while redis.schema() != schema {
        anyhow::ensure!(since.elapsed() < Duration::from_secs(90), "still {}", redis.schema());
        agreement.look().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(since.elapsed())
}

#[tokio::test]
async fn new_redis_begins_with_the_older_schema() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    Agreement::reach(&redis).await?;
    assert_eq!(redis.schema(), SCHEMA);
    // Also where there are cameras by then.
    put(&redis, "a").await?;
    let later = server.redis().await?;
    Agreement::reach(&later).await?;
    assert_eq!(later.schema(), SCHEMA);
    Ok(())
}

#[tokio::test]
async fn worker_of_the_release_before_does_not_keep_schema_2_or_gets_a_camera_afterwards() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let old = Old { server: &server, id: "old.00000001" };
    old.announce().await?;
    let mut agreement = Agreement::reach(&redis).await?;
    assert_eq!(redis.schema(), OLDEST_SCHEMA);
    let told = redis.schema_state().await?.notices();
    assert_eq!(told, ["processor old is of the release before: schema 2 is written until it is replaced"]);
    let [a, b, free] = [put(&redis, "a").await?, put(&redis, "b").await?, put(&redis, "free").await?];

    // Both take cameras, and ask each other for some.
    let fence = old.acquire(&a).await?.context("refused")?;
    let new = WorkerId::new("new");
    let Acquired::Granted(grant) = redis.acquire(Role::Processor, &b, &new, TTL).await? else {
        panic!("refused")
    };
    assert!(redis.want(Role::Processor, &a, old.id, &new, TTL).await?);
    assert_eq!(old.renew(&a, &fence).await?, ["OK", &new.to_string()]);
    assert!(old.want(&b, &new.to_string()).await?);
    let asked = redis.renew(&grant.lease).await?;
    assert_eq!(asked, peregrine_streams::Renewed::Held { wanted_by: Some("old".into()) });
    redis.release(&grant.lease).await?;
    let Acquired::Refused { holder, .. } = redis.acquire(Role::Processor, &b, &new, TTL).await? else {
        panic!("it was kept for the one that asked")
    };
    assert_eq!(holder, "old");
    let lost = old.acquire(&b).await?.context("refused")?;

    // It stays while others come and go, and while it is there nothing changes.
    for _ in 0..3 {
        agreement.look().await?;
    }
    assert_eq!(redis.schema(), OLDEST_SCHEMA);
    old.leave().await?;
    let took = until(&mut agreement, &redis, SCHEMA).await?;
    assert!(took >= QUIET, "{took:?}");

    // It comes back, with leases that it never gave up.
    old.announce().await?;
    agreement.look().await?;
    assert_eq!(redis.schema(), SCHEMA);
    let told = redis.schema_state().await?.notices();
    assert_eq!(told, ["processor old is of the release before and gets no cameras any more: replace it"]);
    assert_eq!((old.renew(&a, &fence).await?, old.renew(&b, &lost).await?), (fenced(), fenced()));
    let added = put(&redis, "added").await?;
    for camera in [&a, &b, &free, &added] {
        assert_eq!(old.acquire(camera).await?, None, "{camera}");
    }
    // Those of this release go on among themselves, and are not asked by it.
    let (mut one, mut two) = (balance(&redis, "one"), balance(&redis, "two"));
    let cameras = [a, b, free, added];
    crate::balance::settle(&mut [&mut one], &cameras, vec![4]).await?;
    for camera in &cameras {
        assert!(!old.want(camera, &one.worker().to_string()).await?, "{camera}");
        assert_eq!(old.acquire(camera).await?, None, "{camera}");
    }
    old.leave().await?;
    crate::balance::settle(&mut [&mut one, &mut two], &cameras, vec![2, 2]).await?;
    one.leave().await?;
    crate::balance::settle(&mut [&mut two], &cameras, vec![4]).await?;
    two.leave().await?;
    for camera in &cameras {
        assert_eq!(old.acquire(camera).await?, None, "{camera}");
    }
    Ok(())
}

fn fenced() -> Vec<String> {
    vec!["FENCED".into()]
}

fn balance(redis: &Redis, name: &str) -> Balance {
    Balance::new(redis, Role::Processor, WorkerId::new(name), TTL)
}

#[tokio::test]
async fn camera_that_an_old_worker_took_in_the_moment_of_the_switch_stays_with_it() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    Agreement::reach(&redis).await?;
    // Added round the crate: not reserved.
    let camera = cam("a");
    let old = Old { server: &server, id: "old.00000001" };
    let fence = old.acquire(&camera).await?.context("refused")?;
    let mut new = balance(&redis, "new");
    crate::balance::settle(&mut [&mut new], std::slice::from_ref(&camera), vec![1]).await?;
    assert_eq!(old.renew(&camera, &fence).await?, fenced());
    Ok(())
}

#[tokio::test]
async fn attempt_to_raise_the_version_that_was_broken_off_keeps_cameras_reserved() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let old = Old { server: &server, id: "old.00000001" };
    old.announce().await?;
    let mut agreement = Agreement::reach(&redis).await?;
    let camera = put(&redis, "a").await?;
    old.leave().await?;
    let since = Instant::now();
    // Whoever raised the version died after it had reserved the camera, and the old worker is back.
    while since.elapsed() < QUIET {
        agreement.look().await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let key = keys::lease(Role::Processor, &camera);
    let soon = (peregrine_streams::wall_clock_us() / 1000 + 1000).to_string();
    server.command::<()>(&["HSET", &key, "want", "reserved-for-schema-3", "wantexp", &soon]).await?;
    old.announce().await?;
    assert_eq!(old.acquire(&camera).await?, None);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let fence = old.acquire(&camera).await?.context("still reserved")?;
    // And it can be asked for the camera again.
    let new = WorkerId::new("new");
    assert!(redis.want(Role::Processor, &camera, old.id, &new, TTL).await?);
    assert_eq!(old.renew(&camera, &fence).await?, ["OK", &new.to_string()]);
    Ok(())
}

#[tokio::test]
async fn what_is_written_beside_an_old_worker_has_what_it_does_not_know() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let old = Old { server: &server, id: "old.00000001" };
    old.announce().await?;
    let _agreement = Agreement::reach(&redis).await?;
    let camera = put(&redis, "a").await?;
    let lost = || vec![LossCount { reason: LossReason::Damaged, count: 2 }];

    let mut producer = writer(&redis, &camera, Flow::Lossless { queue: 8 }).await?;
    let mut damaged = FrameHeader { damaged: true, lost: lost(), ..header(0) };
    producer.publish(&mut damaged, &crate::support::PIXELS).await?;
    let mut reader = FrameReader::new(&redis);
    reader.follow(&camera, FrameId::ZERO, 9);
    let arrivals = reader.read(Duration::from_secs(5)).await?;
    let [Arrival::Frame(frame)] = &arrivals[..] else { panic!("{arrivals:?}") };
    assert_eq!((frame.header.schema, frame.header.damaged), (OLDEST_SCHEMA, false));
    let undecodable = LossCount { reason: LossReason::Undecodable, count: 2 };
    assert_eq!(frame.header.lost, [undecodable]);

    let mut chain = Chain::take(&redis, &camera, "new").await?;
    chain.intake.lost = lost().into_iter().collect::<Losses>();
    chain.intake.see(&frame.header);
    let mut made = result(&frame.header);
    (made.notices, made.lost) = (vec![Notice::Doubtful], lost());
    let made = made.for_schema(redis.schema());
    let committed = chain.try_commit(frame.id, FrameId::ZERO, b"state", &made).await?;
    assert_eq!(committed, CommitOutcome::Committed { wanted_by: None });
    let counted: String = server.command(&["HGET", &keys::checkpoint(&camera), "lost"]).await?;
    assert_eq!(counted, r#"[{"reason":"undecodable","count":2}]"#);
    let entry = redis.results_between(&camera, FrameId::ZERO, FrameId::MAX, 9).await?.remove(0);
    let read = entry.decode()?;
    assert_eq!((read.schema, read.notices, read.lost), (OLDEST_SCHEMA, Vec::new(), vec![undecodable]));
    // Nothing follows what the release before reads: an array of as many fields.
    assert_eq!(entry.encoded[0], 0x9f);

    let state = SourceState { lost: lost(), ..SourceState::default() };
    redis.put_source_state(&camera, &state).await?;
    let known: String = server.command(&["HGET", &keys::source(&camera), "lost"]).await?;
    assert_eq!(serde_json::from_str::<Vec<LossCount>>(&known)?, [undecodable]);
    Ok(())
}

#[tokio::test]
async fn results_of_an_old_worker_are_refused_under_a_lease_that_both_know() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let old = Old { server: &server, id: "old.00000001" };
    old.announce().await?;
    let _agreement = Agreement::reach(&redis).await?;
    let camera = put(&redis, "a").await?;
    let mut producer = writer(&redis, &camera, Flow::Lossless { queue: 8 }).await?;
    for position in 0..2 {
        write(&mut producer, position).await?;
    }
    let fence = old.acquire(&camera).await?.context("refused")?;
    let mut reader = FrameReader::new(&redis);
    reader.follow(&camera, FrameId::ZERO, 9);
    let arrivals = reader.read(Duration::from_secs(5)).await?;
    let Some(Arrival::Frame(frame)) = arrivals.first() else { panic!("{arrivals:?}") };
    let made = peregrine_proto::encode(&result(&frame.header).for_schema(OLDEST_SCHEMA));
    let id = frame.id.to_string();
    let keys = [
        keys::lease(Role::Processor, &camera),
        keys::frames(&camera),
        keys::results(&camera),
        keys::checkpoint(&camera),
    ];
    let ttl = TTL.as_millis().to_string();
    let mut commit = redis::cmd("EVAL");
    commit.arg(COMMIT).arg(4).arg(&keys).arg(&fence).arg(&id).arg("0-0").arg(1).arg(1).arg("state").arg("[]");
    commit.arg(made).arg(1).arg(&ttl).arg(100).arg(frame.id.next().to_string()).arg("");
    let done: Vec<String> = commit.query_async(&mut server.raw().await?).await?;
    assert_eq!(done, ["OK", ""]);
    // It gives the camera up, and one of this release goes on where it was.
    assert_eq!(server.command::<i64>(&["EVAL", RELEASE, "1", &keys[0], &fence, "1500"]).await?, 1);
    let mut chain = Chain::take(&redis, &camera, "new").await?;
    assert_eq!((chain.at, &chain.state[..]), (frame.id, &b"state"[..]));
    assert_eq!(chain.run(1, Duration::from_secs(30)).await?, 1);
    let done: Vec<String> = commit.query_async(&mut server.raw().await?).await?;
    assert_eq!(done[0], "FENCED");
    let results = redis.results_between(&camera, FrameId::ZERO, FrameId::MAX, 9).await?;
    assert_eq!(results.iter().map(|entry| entry.decode().unwrap().n).collect::<Vec<_>>(), [1, 2]);
    assert!(decode::<peregrine_proto::FrameResult>(&results[1].encoded).is_ok());
    Ok(())
}

#[tokio::test]
async fn camera_that_a_worker_cannot_have_is_not_told() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    put(&redis, "fine").await?;
    let later = r#"{"id":"later","source":{"uri":"synthetic:road"},"analysis":{"dreams":true}}"#;
    server.command::<()>(&["HSET", keys::CAMERAS, "later", later]).await?;
    let cameras = redis.cameras().await?;
    assert_eq!(cameras.cameras.keys().collect::<Vec<_>>(), [&cam("fine")]);
    let why = cameras.broken["later"].clone();
    assert!(why.starts_with("its configuration has what release") && why.contains("`dreams`"), "{why}");

    balance(&redis, "w1").tick(&[], true).await?;
    let mut unfit = Unfit::new(Role::Processor, "w1");
    unfit.say(&redis, cameras.broken).await?;
    assert_eq!(redis.unfit(Role::Processor).await?["w1"]["later"], why);
    assert!(redis.unfit(Role::Producer).await?.is_empty());
    unfit.say(&redis, Default::default()).await?;
    assert!(redis.unfit(Role::Processor).await?.is_empty());
    Ok(())
}
