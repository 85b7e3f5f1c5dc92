use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use peregrine_streams::{CommitOutcome, Flow, Published, Redis, RedisUrls, Role, StreamError};
use tempfile::TempDir;

use crate::{
    cluster::{free_ports, on_free_ports, until},
    server::Server,
    support::{Chain, cam, link, results, write, writer},
};

/// For what is sure to come.
const BLOCK: Duration = Duration::from_secs(30);

/// A sentinel that watches a master named `main`.
struct Sentinel {
    dir: TempDir,
    child: Child,
    port: u16,
}

impl Sentinel {
    async fn start(master: u16) -> Result<Self> {
        for _ in 0..5 {
            let [port] = free_ports()?;
            let dir = TempDir::new()?;
            // It takes nobody for dead until it is told to be quick: a busy machine must not look like a dead master.
            let config = format!(
                "port {port}\nbind 127.0.0.1\nunixsocket sentinel.sock\nsentinel monitor main 127.0.0.1 {master} 1\n\
                 sentinel down-after-milliseconds main 600000\nsentinel failover-timeout main 5000\n"
            );
            std::fs::write(dir.path().join("sentinel.conf"), config)?;
            let child = Command::new("redis-server")
                .args(["sentinel.conf", "--sentinel"])
                .current_dir(dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            let mut sentinel = Self { dir, child, port };
            while matches!(sentinel.child.try_wait(), Ok(None)) {
                if sentinel.command::<String>(&["PING"]).await.is_ok() {
                    return Ok(sentinel);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        anyhow::bail!("the sentinel does not start")
    }

    async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        Ok(redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await?)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.dir;
    }
}

async fn start(more: &[&str]) -> Result<(Server, u16)> {
    let (server, [port]) = on_free_ports(|[port]| {
        let port = port.to_string();
        let always =
            ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"];
        always.iter().chain(more).map(ToString::to_string).collect()
    })
    .await?;
    Ok((server, port))
}

/// A master, its replica, and who watches them.
struct Watched {
    master: Server,
    replica: Server,
    sentinel: Sentinel,
}

impl Watched {
    async fn start() -> Result<Self> {
        let (master, master_port) = start(&[]).await?;
        let (replica, _) = start(&["--replicaof", &format!("127.0.0.1 {master_port}")]).await?;
        until("the replica to have caught up", async || {
            let info: String = replica.command(&["INFO", "replication"]).await?;
            Ok(info.contains("master_link_status:up"))
        })
        .await?;
        let sentinel = Sentinel::start(master_port).await?;
        until("the sentinel to see the replica", async || {
            let main: redis::Value = sentinel.command(&["SENTINEL", "MASTER", "main"]).await?;
            let main: std::collections::HashMap<String, String> = redis::from_redis_value(main)?;
            Ok(main.get("num-slaves").is_some_and(|replicas| replicas == "1"))
        })
        .await?;
        Ok(Self { master, replica, sentinel })
    }

    async fn redis(&self) -> Result<Redis> {
        let [nobody] = free_ports()?;
        let url = format!("redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{}/main", self.sentinel.port);
        Ok(Redis::open(&RedisUrls::single(url)).await?)
    }

    /// Waits until the replica has all that the master has. Replication is asynchronous: what had not arrived would be lost.
    async fn until_replicated(&self) -> Result<()> {
        // WAIT looks at writes of its own connection, and what came before them.
        let mut raw = self.master.raw().await?;
        let () = redis::cmd("SET").arg("marker").arg(1).query_async(&mut raw).await?;
        let replicas: i64 = redis::cmd("WAIT").arg(1).arg(30_000).query_async(&mut raw).await?;
        anyhow::ensure!(replicas == 1, "the replica is behind");
        Ok(())
    }

    /// kill -9, and the sentinel shall see it soon.
    async fn kill_master(&mut self) -> Result<()> {
        self.master.kill()?;
        self.sentinel.command(&["SENTINEL", "SET", "main", "down-after-milliseconds", "500"]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_goes_on_with_the_replica_of_a_killed_master() -> Result<()> {
    let mut watched = Watched::start().await?;
    let redis = watched.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Lossless { queue: 8 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    for position in 0..5 {
        write(&mut writer, position).await?;
    }
    assert_eq!(chain.run(5, Duration::from_secs(30)).await?, 5);
    watched.until_replicated().await?;
    watched.kill_master().await?;
    let write_more = async {
        for position in 5..15 {
            write(&mut writer, position).await?;
        }
        anyhow::Ok(())
    };
    let process = async {
        let mut done = 0;
        while done < 10 {
            let frames = match chain.read(Duration::from_millis(200)).await {
                Err(error) if error.downcast_ref::<StreamError>().is_some_and(StreamError::is_transient) => {
                    continue;
                }
                other => other?,
            };
            for frame in frames {
                let outcome = chain.commit(frame.id, &frame.header).await?;
                assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
                done += 1;
            }
        }
        anyhow::Ok(())
    };
    let all = async { tokio::try_join!(write_more, process) };
    tokio::time::timeout(Duration::from_secs(60), all).await.context("the replica never took over")??;
    let info: String = watched.replica.command(&["INFO", "replication"]).await?;
    assert!(info.contains("role:master"), "{info}");
    let positions: Vec<u64> =
        results(&redis, &cam("c")).await?.iter().map(|(_, result)| result.position).collect();
    assert_eq!(positions, (0..15).collect::<Vec<_>>());
    let state = (1..=15).fold(Vec::new(), |state, n| link(&state, n));
    assert_eq!(redis.checkpoint(&cam("c")).await?.state, state);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_that_takes_commits_back_leaves_a_contradiction() -> Result<()> {
    let mut watched = Watched::start().await?;
    let redis = watched.redis().await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Live { queue: 8 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    write(&mut writer, 0).await?;
    write(&mut writer, 1).await?;
    assert_eq!(chain.run(2, BLOCK).await?, 2);
    write(&mut writer, 2).await?;
    watched.until_replicated().await?;
    // The replica's link goes down and stays down: what is acknowledged from now on will be taken back.
    let () = watched.replica.command(&["CONFIG", "SET", "masterauth", "wrong"]).await?;
    let () = watched.master.command(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
    write(&mut writer, 3).await?;
    write(&mut writer, 4).await?;
    assert_eq!(chain.run(3, BLOCK).await?, 3);
    let before = results(&redis, &cam("c")).await?;
    watched.kill_master().await?;
    until("the replica to take over", async || {
        let holders = redis.holders(Role::Processor, &[cam("c")]).await;
        Ok(holders.is_ok_and(|holders| holders[0].is_some()))
    })
    .await?;
    while !matches!(write(&mut writer, 5).await?, Published::Written { .. }) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The third frame is back, the fourth and the fifth are gone. Who had gone further is told, and goes back as well.
    let frame = loop {
        match chain.read(BLOCK).await {
            Err(error) if error.downcast_ref::<StreamError>().is_some_and(StreamError::is_transient) => {}
            read => {
                if let Some(frame) = read?.pop() {
                    break frame;
                }
            }
        }
    };
    let outcome = chain.commit(frame.id, &frame.header).await?;
    assert!(matches!(outcome, CommitOutcome::Stale { .. }), "{outcome:?}");
    redis.release(&chain.grant.lease).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    assert_eq!(chain.run(2, BLOCK).await?, 2);

    let after = results(&redis, &cam("c")).await?;
    let numbers: Vec<u64> = after.iter().map(|(_, result)| result.n).collect();
    assert_eq!(numbers, [1, 2, 3, 6], "in order, each once");
    assert_eq!(after[2].0.id, before[2].0.id, "the same frame under the same id");
    assert_eq!(chain.intake.lost.total(), 2, "what was taken back is counted");
    let state = [1, 2, 3, 6].into_iter().fold(Vec::new(), |state, n| link(&state, n));
    assert_eq!(redis.checkpoint(&cam("c")).await?.state, state);
    Ok(())
}

#[tokio::test]
async fn name_that_no_sentinel_knows_is_told() -> Result<()> {
    let (_master, port) = start(&[]).await?;
    let sentinel = Sentinel::start(port).await?;
    let open = async |tail: &str| {
        let url = format!("redis+sentinel://u:secret@127.0.0.1:{}{tail}", sentinel.port);
        let error = Redis::open(&RedisUrls::single(url)).await.err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret"), "{text}");
        text
    };
    let text = open("/other").await;
    assert!(text.contains("the master's name `other`"), "{text}");
    let text = open("/").await;
    assert!(text.contains("the master's name is missing"), "{text}");
    let url = format!("redis://127.0.0.1:{}", sentinel.port);
    let text = Redis::open(&RedisUrls::single(url)).await.err().unwrap().to_string();
    assert!(text.contains("is a sentinel") && text.contains("redis+sentinel://"), "{text}");
    Ok(())
}
