use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use peregrine_proto::{Step, encode};
use peregrine_streams::{NewStep, STEPS_KEPT, StepReader, keys};

use crate::{server::Server, support::cam};

/// For what is sure to come.
const BLOCK: Duration = Duration::from_secs(30);

fn step(number: u64) -> NewStep {
    let step = Step {
        step: number,
        sim_time_us: 20_000 * number as i64,
        wall_time_us: 1,
        ego: None,
        trajectory: Vec::new(),
        objects: Vec::new(),
        timings_us: BTreeMap::new(),
        scalars: BTreeMap::new(),
        map: None,
        result: None,
    };
    NewStep { step: encode(&step), map: None }
}

fn with_map(number: u64, map: &str) -> NewStep {
    NewStep { map: Some(map.into()), ..step(number) }
}

#[tokio::test]
async fn late_reader_gets_no_map_or_not_the_newest_step() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let stream = cam("sim");
    let mut early = StepReader::new(&redis);
    assert!(early.join(&stream).await?.is_none());
    redis.put_steps(&stream, &[with_map(1, "road"), step(2)]).await?;
    let last = redis.put_steps(&stream, &[step(3)]).await?;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(early.read(BLOCK).await?);
    }
    let numbers: Vec<u64> =
        seen.iter().map(|entry| entry.decode().map(|s| s.step)).collect::<Result<_, _>>()?;
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(seen[0].map.as_deref(), Some(&b"road"[..]));
    assert!(seen[1].map.is_none(), "a map is given once");
    let mut late = StepReader::new(&redis);
    let newest = late.join(&stream).await?.context("no newest step")?;
    assert_eq!((newest.id, newest.map.as_deref()), (last, Some(&b"road"[..])));
    redis.put_steps(&stream, &[with_map(4, "other road")]).await?;
    let next = late.read(BLOCK).await?.pop().context("nothing follows")?;
    assert_eq!((next.decode()?.step, next.map.as_deref()), (4, Some(&b"other road"[..])));
    Ok(())
}

#[tokio::test]
async fn steps_pile_up() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let stream = cam("sim");
    for batch in 0..6 {
        let steps: Vec<NewStep> = (0..500).map(|n| step(500 * batch + n)).collect();
        redis.put_steps(&stream, &steps).await?;
    }
    let kept: usize = server.command(&["XLEN", &keys::steps(&stream)]).await?;
    assert!((STEPS_KEPT..STEPS_KEPT + 200).contains(&kept), "{kept}");
    let lives_ms: i64 = server.command(&["PTTL", &keys::steps(&stream)]).await?;
    assert!(lives_ms > 3_500_000, "a stream that ended is forgotten some day: {lives_ms}");
    Ok(())
}

#[tokio::test]
async fn streams_are_listed_without_those_that_ended_long_ago() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let () = server.command(&["ZADD", keys::STREAMS, "1000", "old", "9999999999999999", "{strange}"]).await?;
    for name in ["sim", "robot"] {
        redis.note_stream(&cam(name)).await?;
    }
    let listed = redis.streams().await?;
    let names: Vec<&str> = listed.iter().map(|known| known.stream.as_str()).collect();
    assert_eq!(names, ["robot", "sim"]);
    assert!(listed.iter().all(|known| known.silent < Duration::from_secs(10)));
    let old: Option<String> = server.command(&["ZSCORE", keys::STREAMS, "old"]).await?;
    assert_eq!(old, None, "it is removed as well");
    Ok(())
}
