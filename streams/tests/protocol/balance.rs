use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use peregrine_proto::CameraId;
use peregrine_streams::{Balance, Redis, Role, Wake, WorkerId};

use crate::{server::Server, support::cam};

const TTL: Duration = Duration::from_millis(600);

fn cameras(count: usize) -> Vec<CameraId> {
    (0..count).map(|i| cam(&format!("cam{i}"))).collect()
}

fn worker(redis: &Redis, name: &str) -> Balance {
    Balance::new(redis, Role::Processor, WorkerId::new(name), TTL)
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
async fn settle(workers: &mut [&mut Balance], cameras: &[CameraId], mut shares: Vec<usize>) -> Result<()> {
    shares.sort_unstable();
    let deadline = Instant::now() + Duration::from_secs(20);
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
    let (mut able, mut restricted) = (worker(&redis, "able"), worker(&redis, "restricted"));
    let deadline = Instant::now() + Duration::from_secs(20);
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
async fn camera_of_a_dead_worker_runs_again_within_its_ttl_and_half_a_second() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(4);
    let (mut dead, mut other) = (worker(&redis, "dead"), worker(&redis, "other"));
    settle(&mut [&mut dead, &mut other], &all, vec![2, 2]).await?;
    tick(&mut dead, &all).await?;
    let died = Instant::now();
    while other.held().count() < 4 {
        let next = tick(&mut other, &all).await?;
        tokio::time::sleep(next).await;
        assert!(died.elapsed() < TTL + Duration::from_secs(5), "never taken");
    }
    // The dead worker also leaves the list of the living within its TTL: that bounds the share.
    assert!(died.elapsed() < TTL + Duration::from_millis(500), "{:?}", died.elapsed());
    Ok(())
}

#[tokio::test]
async fn worker_without_progress_loses_its_cameras() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let all = cameras(1);
    let mut wedged = worker(&redis, "wedged");
    settle(&mut [&mut wedged], &all, vec![1]).await?;
    let mut other = worker(&redis, "other");
    let deadline = Instant::now() + Duration::from_secs(10);
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
    let first = tokio::time::timeout(Duration::from_millis(50), control.next()).await;
    assert!(first.is_err(), "what was before is not told: {first:?}");
    a.release(&all[0]).await?;
    let woken = tokio::time::timeout(Duration::from_secs(4), control.next()).await??;
    assert_eq!(woken, [Wake::Released { role: Role::Processor, camera: all[0].clone() }]);
    Ok(())
}
