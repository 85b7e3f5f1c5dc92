use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use peregrine_streams::{CommitOutcome, Flow, Redis, RedisUrls, StreamError};
use tempfile::TempDir;

use crate::{
    cluster::{free_ports, on_free_ports, until},
    server::Server,
    support::{Chain, cam, link, results, write, writer},
};

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

#[tokio::test(flavor = "multi_thread")]
async fn file_goes_on_with_the_replica_of_a_killed_master() -> Result<()> {
    let (mut master, master_port) = start(&[]).await?;
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

    let [nobody] = free_ports()?;
    let url = format!("redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{}/main", sentinel.port);
    let redis = Redis::open(&RedisUrls::single(url)).await?;
    let mut writer = writer(&redis, &cam("c"), Flow::Lossless { queue: 8 }).await?;
    let mut chain = Chain::take(&redis, &cam("c"), "a").await?;
    for position in 0..5 {
        write(&mut writer, position).await?;
    }
    assert_eq!(chain.run(5, Duration::from_secs(30)).await?, 5);
    // Replication is asynchronous: what had not arrived would be lost. WAIT looks at writes of its own connection, and
    // what came before them.
    let mut raw = master.raw().await?;
    let () = redis::cmd("SET").arg("marker").arg(1).query_async(&mut raw).await?;
    let replicas: i64 = redis::cmd("WAIT").arg(1).arg(30_000).query_async(&mut raw).await?;
    assert_eq!(replicas, 1);

    master.kill()?;
    let quick = ["SENTINEL", "SET", "main", "down-after-milliseconds", "500"];
    let () = sentinel.command(&quick).await?;
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
    let info: String = replica.command(&["INFO", "replication"]).await?;
    assert!(info.contains("role:master"), "{info}");
    let positions: Vec<u64> =
        results(&redis, &cam("c")).await?.iter().map(|(_, result)| result.position).collect();
    assert_eq!(positions, (0..15).collect::<Vec<_>>());
    let state = (1..=15).fold(Vec::new(), |state, n| link(&state, n));
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
