use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use peregrine_proto::CameraId;
use peregrine_streams::{Balance, Redis, Role, Wake, WorkerId};

use crate::{server::Server, support::cam};

/// Longer than any test takes, but for those that wait for it.
const TTL: Duration = Duration::from_secs(60);
const SHORT_TTL: Duration = Duration::from_secs(1);

fn cameras(count: usize) -> Vec<CameraId> {
    (0..count).map(|i| cam(&format!("cam{i}"))).collect()
}

fn worker(redis: &Redis, name: &str) -> Balance {
    Balance::new(redis, Role::Processor, WorkerId::new(name), TTL)
}

fn brief_worker(redis: &Redis, name: &str) -> Balance {
    Balance::new(redis, Role::Processor, WorkerId::new(name), SHORT_TTL)
}

/// Ticks and hands over at once, as an owner without a frame in hand does.
async fn tick(balance: &mut Balance, cameras: &[CameraId]) -> Result<Duration> {
    let tick = balance.tick(cameras, true).await?;
    for camera in &tick.release {
        balance.release(camera).await?;
    }
    Ok(tick.next)
}

/// Ticks all until each holds one of `shares`, in any order, and every camera has exactly one holder.
pub(crate) async fn settle(
    workers: &mut [&mut Balance],
    cameras: &[CameraId],
    mut shares: Vec<usize>,
) -> Result<()> {
    shares.sort_unstable();
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        for worker in workers.iter_mut() {
            tick(worker, cameras).await?;
        }
        let mut counts: Vec<usize> = workers.iter().map(|w| w.held().count()).collect();
        counts.sort_unstable();
        let held: BTreeSet<_> = workers.iter().flat_map(|w| w.held().cloned()).collect();
        if counts == shares && held.len() == cameras.len() {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "never settled: {counts:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn workers_arrive_at_even_shares_and_leave_in_order() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(7);
    let (mut a, mut b, mut c) = (worker(&redis, "a"), worker(&redis, "b"), worker(&redis, "c"));
    settle(&mut [&mut a], &all, vec![7]).await?;
    settle(&mut [&mut a, &mut b], &all, vec![4, 3]).await?;
    settle(&mut [&mut a, &mut b, &mut c], &all, vec![3, 2, 2]).await?;
    a.leave().await?;
    assert_eq!(redis.live_workers(Role::Processor, TTL).await?.len(), 2);
    settle(&mut [&mut b, &mut c], &all, vec![4, 3]).await?;
    Ok(())
}

#[tokio::test]
async fn fewer_cameras_than_workers_leave_some_idle() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let (mut a, mut b, mut c) = (worker(&redis, "a"), worker(&redis, "b"), worker(&redis, "c"));
    settle(&mut [&mut a, &mut b, &mut c], &cameras(2), vec![1, 1, 0]).await
}

#[tokio::test]
async fn camera_that_others_may_not_take_is_taken_beyond_the_share() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(6);
    let (mut able, mut restricted) = (brief_worker(&redis, "able"), brief_worker(&redis, "restricted"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while able.held().count() + restricted.held().count() < 6 {
        tick(&mut able, &all).await?;
        tick(&mut restricted, &all[..2]).await?;
        assert!(Instant::now() < deadline, "some camera is never taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(able.held().count() >= 4);
    Ok(())
}

#[tokio::test]
async fn camera_of_a_dead_worker_waits_longer_than_its_lease_lasts() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(4);
    let (mut dead, mut other) = (brief_worker(&redis, "dead"), brief_worker(&redis, "other"));
    let deadline = Instant::now() + Duration::from_secs(60);
    while dead.held().count() != 2 || other.held().count() != 2 {
        tick(&mut dead, &all).await?;
        tick(&mut other, &all).await?;
        assert!(Instant::now() < deadline, "never settled");
    }
    tick(&mut dead, &all).await?;
    let died = Instant::now();
    // Judged by when it means to look again, not by when this machine lets it: within a moment of the end of the
    // lease, and of the heartbeat that makes the dead one count as alive.
    loop {
        let asked = Instant::now();
        let next = tick(&mut other, &all).await?;
        if other.held().count() == 4 {
            break;
        }
        let left = (died + SHORT_TTL).saturating_duration_since(asked);
        assert!(
            next <= left.max(Duration::from_millis(2)) + Duration::from_millis(5),
            "{next:?} of {left:?}"
        );
        tokio::time::sleep(next).await;
    }
    Ok(())
}

#[tokio::test]
async fn worker_without_progress_loses_its_cameras() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(1);
    let mut wedged = brief_worker(&redis, "wedged");
    settle(&mut [&mut wedged], &all, vec![1]).await?;
    let mut other = brief_worker(&redis, "other");
    let deadline = Instant::now() + Duration::from_secs(60);
    while other.held().count() == 0 {
        wedged.tick(&all, false).await?;
        tick(&mut other, &all).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(Instant::now() < deadline, "it keeps the camera although it does nothing");
    }
    let tick = wedged.tick(&all, true).await?;
    assert_eq!(tick.lost, all, "and it learns that when it wakes");
    Ok(())
}

#[tokio::test]
async fn removed_camera_is_released() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(2);
    let mut a = worker(&redis, "a");
    settle(&mut [&mut a], &all, vec![2]).await?;
    let tick = a.tick(&all[..1], true).await?;
    assert_eq!(tick.lost, all[1..]);
    assert_eq!(redis.holders(Role::Processor, &all[1..]).await?, [None]);
    Ok(())
}

#[tokio::test]
async fn release_wakes_those_who_wait() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(1);
    let mut a = worker(&redis, "a");
    settle(&mut [&mut a], &all, vec![1]).await?;
    let mut control = redis.control();
    // What was before is not told.
    server.until_blocked(1).await?;
    a.release(&all[0]).await?;
    let woken = tokio::time::timeout(Duration::from_secs(30), control.next()).await??;
    assert_eq!(woken, [Wake::Released { role: Role::Processor, camera: all[0].clone() }]);
    Ok(())
}

#[tokio::test]
async fn worker_is_not_told_that_redis_lost_its_data() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let mut balance = worker(&redis, "a");
    assert!(!balance.tick(&cameras(2), true).await?.forgotten, "it signs in for the first time");
    assert!(!balance.tick(&cameras(2), true).await?.forgotten);
    server.command::<String>(&["FLUSHALL"]).await?;
    assert!(balance.tick(&cameras(2), true).await?.forgotten);
    assert!(!balance.tick(&cameras(2), true).await?.forgotten, "it is told once");
    Ok(())
}
