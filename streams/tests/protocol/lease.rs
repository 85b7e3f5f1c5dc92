use std::time::{Duration, Instant};

use anyhow::Result;
use peregrine_proto::FrameId;
use peregrine_streams::{Acquired, Attempt, Renewed, Role, WorkerId};

use crate::{
    server::Server,
    support::{Chain, TTL, cam, grant},
};

#[tokio::test]
async fn held_camera_is_refused_to_others() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let (a, b) = (WorkerId::new("a"), WorkerId::new("b"));
    let first = grant(&redis, Role::Processor, &cam("c"), &a, TTL).await?;
    assert_eq!(first.lease.epoch, 1);
    let Acquired::Refused { holder, wait } = redis.acquire(Role::Processor, &cam("c"), &b, TTL).await? else {
        panic!("two holders")
    };
    assert_eq!(holder, "a");
    assert!(wait <= TTL && !wait.is_zero(), "{wait:?}");
    // Another role is another lease.
    grant(&redis, Role::Producer, &cam("c"), &b, TTL).await?;
    Ok(())
}

#[tokio::test]
async fn lease_passes_on_after_its_ttl_and_the_first_holder_is_fenced() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    // Long enough that a busy machine renews within it.
    let ttl = Duration::from_secs(2);
    let first = grant(&redis, Role::Processor, &cam("c"), &WorkerId::new("a"), ttl).await?;
    let since = Instant::now();
    assert_eq!(redis.renew(&first.lease).await?, Renewed::Held { wanted_by: None });
    let second = grant(&redis, Role::Processor, &cam("c"), &WorkerId::new("b"), ttl).await?;
    assert!(since.elapsed() >= ttl - Duration::from_millis(20));
    assert_eq!(second.lease.epoch, 2);
    assert_eq!(redis.renew(&first.lease).await?, Renewed::Fenced);
    assert!(!redis.release(&first.lease).await?);
    assert_eq!(redis.begin_attempt(&first.lease, FrameId::ZERO).await?, Attempt::Fenced);
    Ok(())
}

#[tokio::test]
async fn silence_of_a_holder_that_died_is_not_told_or_an_orderly_release_is() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let ttl = Duration::from_millis(200);
    let asked_at = Instant::now();
    let first = grant(&redis, Role::Processor, &cam("c"), &WorkerId::new("a"), ttl).await?;
    assert_eq!(first.silent_for, None, "nobody held it before");
    tokio::time::sleep(ttl * 2).await;
    let second = grant(&redis, Role::Processor, &cam("c"), &WorkerId::new("b"), ttl).await?;
    let silent_for = second.silent_for.expect("it was never released");
    assert!(silent_for >= ttl * 2 && silent_for <= asked_at.elapsed() + ttl / 10, "{silent_for:?}");
    redis.release(&second.lease).await?;
    let third = grant(&redis, Role::Processor, &cam("c"), &WorkerId::new("c"), ttl).await?;
    assert_eq!(third.silent_for, None, "it was released");
    Ok(())
}

#[tokio::test]
async fn restarted_worker_of_the_same_name_is_somebody_else() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    grant(&redis, Role::Processor, &cam("c"), &WorkerId::new("a"), TTL).await?;
    let again = redis.acquire(Role::Processor, &cam("c"), &WorkerId::new("a"), TTL).await?;
    assert!(matches!(again, Acquired::Refused { .. }));
    Ok(())
}

#[tokio::test]
async fn released_camera_is_kept_for_the_one_who_asked() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let (a, b, other) = (WorkerId::new("a"), WorkerId::new("b"), WorkerId::new("other"));
    let held = grant(&redis, Role::Processor, &cam("c"), &a, TTL).await?;
    assert!(redis.want(Role::Processor, &cam("c"), &a.to_string(), &b, TTL).await?);
    assert!(!redis.want(Role::Processor, &cam("c"), &a.to_string(), &other, TTL).await?, "asked twice");
    assert_eq!(redis.renew(&held.lease).await?, Renewed::Held { wanted_by: Some("b".into()) });
    assert!(redis.release(&held.lease).await?);
    let refused = redis.acquire(Role::Processor, &cam("c"), &other, TTL).await?;
    assert!(matches!(refused, Acquired::Refused { holder, .. } if holder == "b"));
    assert!(matches!(redis.acquire(Role::Processor, &cam("c"), &b, TTL).await?, Acquired::Granted(_)));
    Ok(())
}

#[tokio::test]
async fn request_of_a_worker_that_died_expires() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let (a, gone) = (WorkerId::new("a"), WorkerId::new("gone"));
    let held = grant(&redis, Role::Processor, &cam("c"), &a, TTL).await?;
    assert!(redis.want(Role::Processor, &cam("c"), &a.to_string(), &gone, Duration::from_millis(50)).await?);
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(redis.renew(&held.lease).await?, Renewed::Held { wanted_by: None });
    Ok(())
}

#[tokio::test]
async fn only_three_attempts_at_the_same_frame_make_it_poison() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let ttl = Duration::from_millis(30);
    let (one, two) = (FrameId { ms: 1, seq: 0 }, FrameId { ms: 2, seq: 0 });
    let mut attempts = Vec::new();
    for frame in [one, one, two, one, one, one, one] {
        // Each holder dies: it never releases.
        let chain = Chain::take_for(&redis, &cam("c"), "w", ttl).await?;
        attempts.push(redis.begin_attempt(&chain.grant.lease, frame).await?);
    }
    let begin = |attempt| Attempt::Begin { attempt };
    assert_eq!(attempts, [begin(1), begin(2), begin(1), begin(1), begin(2), begin(3), Attempt::Poison]);
    let chain = Chain::take_for(&redis, &cam("c"), "w", ttl).await?;
    redis.release(&chain.grant.lease).await?;
    let chain = Chain::take_for(&redis, &cam("c"), "w", ttl).await?;
    assert_eq!(redis.begin_attempt(&chain.grant.lease, one).await?, begin(1), "leaving in order clears it");
    Ok(())
}

#[tokio::test]
async fn epoch_rises_above_the_checkpoint_when_the_lease_was_lost() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let () =
        server.command(&["HSET", "peregrine:{c}:checkpoint", "id", "5-0", "n", "9", "inc", "41"]).await?;
    let grant = grant(&redis, Role::Producer, &cam("c"), &WorkerId::new("p"), TTL).await?;
    assert_eq!(grant.lease.epoch, 42);
    assert_eq!((grant.checkpoint.n, grant.checkpoint.id), (9, FrameId { ms: 5, seq: 0 }));
    Ok(())
}

#[tokio::test]
async fn lease_of_a_worker_that_died_before_the_clock_went_back_has_run_out() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let (camera, dead) = (cam("c"), WorkerId::new("dead"));
    let held = grant(&redis, Role::Processor, &camera, &dead, TTL).await?;
    redis.want(Role::Processor, &camera, &dead.to_string(), &WorkerId::new("dead too"), TTL).await?;
    let key = "peregrine:{c}:owner";
    for field in ["exp", "askedexp"] {
        let () = server.command(&["HINCRBY", key, field, "3600000"]).await?;
    }
    assert_eq!(redis.holders(Role::Processor, std::slice::from_ref(&camera)).await?, [None]);
    let next = redis.acquire(Role::Processor, &camera, &WorkerId::new("next"), TTL).await?;
    let Acquired::Granted(next) = next else { panic!("{next:?}") };
    assert_eq!(next.silent_for, None, "nobody knows for how long");
    assert_eq!(redis.renew(&held.lease).await?, Renewed::Fenced);
    Ok(())
}

#[tokio::test]
async fn lease_of_the_release_before_lasts_as_long_as_its_own_ttl() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let (camera, key) = (cam("c"), "peregrine:{c}:owner");
    let first =
        grant(&redis, Role::Processor, &camera, &WorkerId::new("new"), Duration::from_secs(1)).await?;
    redis.release(&first.lease).await?;
    // As its script takes a lease: it knows of no `ttl` and leaves that of the holder before.
    let exp = (peregrine_streams::wall_clock_us() / 1000 + 300_000).to_string();
    let () = server
        .command(&["HSET", key, "owner", "old.1", "fence", "2:old.1", "epoch", "2", "exp", &exp])
        .await?;
    let refused = redis.acquire(Role::Processor, &camera, &WorkerId::new("new"), TTL).await?;
    assert!(matches!(refused, Acquired::Refused { holder, .. } if holder == "old"));
    let holders = redis.holders(Role::Processor, std::slice::from_ref(&camera)).await?;
    assert_eq!(holders.into_iter().flatten().map(|holder| holder.worker).collect::<Vec<_>>(), ["old"]);
    Ok(())
}
