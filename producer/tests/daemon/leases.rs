use anyhow::Result;
use peregrine_streams::Role;

use crate::{
    server::Server,
    support::{Consumer, Producer, cam, camera, positions, until},
};

const ROAD: &str = "synthetic:road?w=160&h=96&fps=25";

#[tokio::test(flavor = "multi_thread")]
async fn producers_share_the_cameras_and_hand_over_without_a_gap() -> Result<()> {
    let server = Server::start().await?;
    let redis = server.redis().await?;
    let ids = [cam("a"), cam("b")];
    for id in &ids {
        redis.put_camera(&camera(id.as_str(), ROAD)).await?;
    }
    let first = Producer::start(&server, "first", "")?;
    let mut consumers = [Consumer::take(&redis, &ids[0]).await?, Consumer::take(&redis, &ids[1]).await?];
    let [a, b] = &mut consumers;
    let (mut from_a, mut from_b) = tokio::try_join!(a.next(10), b.next(10))?;
    let second = Producer::start(&server, "second", "")?;
    let shared = until("each has one", async || {
        let holders = redis.holders(Role::Producer, &ids).await?;
        let mut names: Vec<_> = holders.into_iter().flatten().map(|holder| holder.worker).collect();
        names.sort();
        Ok(names == ["first", "second"])
    });
    let consume = async {
        loop {
            let (more_a, more_b) = tokio::try_join!(a.next(1), b.next(1))?;
            from_a.extend(more_a);
            from_b.extend(more_b);
            if from_a.iter().chain(&from_b).any(|frame| frame.header.inc > 1) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::try_join!(shared, consume)?;
    first.stop().await?;
    until("the second has both", async || {
        let holders = redis.holders(Role::Producer, &ids).await?;
        Ok(holders.iter().all(|holder| holder.as_ref().is_some_and(|holder| holder.worker == "second")))
    })
    .await?;
    let (more_a, more_b) = tokio::try_join!(a.next(30), b.next(30))?;
    from_a.extend(more_a);
    from_b.extend(more_b);
    for frames in [from_a, from_b] {
        assert_eq!(
            positions(&frames),
            (0..frames.len() as u64).collect::<Vec<_>>(),
            "every frame once, in order"
        );
        assert_eq!(frames.iter().filter(|frame| frame.header.discontinuity).count(), 1);
        assert!(frames.last().unwrap().header.inc > 1, "written by two");
    }
    second.stop().await
}
