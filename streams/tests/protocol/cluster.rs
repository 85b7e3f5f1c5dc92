use std::{
    net::TcpListener,
    ops::Range,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use peregrine_proto::{CameraConfig, CameraId, FrameId};
use peregrine_streams::{
    Arrival, Balance, CommitOutcome, Danger, DangerKind, Flow, FrameReader, PreviewReader, Published, Redis,
    RedisUrls, ResultReader, Role, ServerRole, SourceState, StreamError, Wake, WorkerId, keys,
};

use crate::{
    balance::settle,
    outage::file_survives,
    server::Server,
    support::{Chain, SIZE, TTL, cam, numbers, write, writer},
};

/// For what is sure to come.
const BLOCK: Duration = Duration::from_secs(30);
const SLOTS: u16 = 16384;

/// Ports that nobody listens on, each given once: a killed server must find its own still free, and one that is taken for
/// absent must stay so. So they are none that the system gives to those who ask for any.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    const NOT_GIVEN_BY_LINUX: Range<u16> = 20_000..32_000;
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(rand::random()));
    let next =
        || NOT_GIVEN_BY_LINUX.start + NEXT.fetch_add(1, Ordering::Relaxed) % NOT_GIVEN_BY_LINUX.len() as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut free = std::iter::repeat_with(next).take(1000).filter(is_free);
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free.next().context("no port is free")?;
    }
    Ok(ports)
}

/// Starts a server on free ports; another program may take one first, then on others.
pub(crate) async fn on_free_ports<const N: usize>(
    arguments: impl Fn([u16; N]) -> Vec<String>,
) -> Result<(Server, [u16; N])> {
    for _ in 0..5 {
        let ports = free_ports()?;
        let arguments = arguments(ports);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        if let Ok(server) = Server::with(&arguments).await {
            return Ok((server, ports));
        }
    }
    anyhow::bail!("redis-server does not start on free ports")
}

struct Node {
    server: Server,
    port: u16,
    bus_port: u16,
    id: String,
}

/// Masters that share the slots evenly, in order.
struct Cluster {
    masters: Vec<Node>,
}

impl Cluster {
    async fn start(masters: usize) -> Result<Self> {
        let mut cluster = Self { masters: Vec::new() };
        for at in 0..masters as u16 {
            let node = start_node().await?;
            let share = SLOTS.div_ceil(masters as u16);
            let (first, last) = (at * share, ((at + 1) * share).min(SLOTS) - 1);
            let (first, last) = (first.to_string(), last.to_string());
            let () = node.server.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
            let () = node.server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]).await?;
            cluster.masters.push(node);
        }
        for node in &cluster.masters[1..] {
            cluster.meet(node).await?;
        }
        cluster.until_joined(&[]).await?;
        Ok(cluster)
    }

    async fn meet(&self, node: &Node) -> Result<()> {
        let (port, bus_port) = (node.port.to_string(), node.bus_port.to_string());
        let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port];
        self.masters[0].server.command(&meet).await
    }

    /// Waits until all nodes serve, and each is connected to all others and knows which slots they have. Nodes get to know
    /// each other one by one: one that serves may not have heard of all others yet.
    async fn until_joined(&self, replicas: &[&Node]) -> Result<()> {
        let nodes: Vec<&Node> = self.masters.iter().chain(replicas.iter().copied()).collect();
        for node in &nodes {
            until("the cluster to form", async || {
                let info: String = node.server.command(&["CLUSTER", "INFO"]).await?;
                let serves = ["cluster_state:ok", "cluster_slots_ok:16384"]
                    .iter()
                    .all(|wanted| info.lines().any(|line| line.trim() == *wanted));
                let known: String = node.server.command(&["CLUSTER", "NODES"]).await?;
                // id, address, flags, master, ping, pong, epoch, link
                let known: Vec<Vec<&str>> = known.lines().map(|line| line.split(' ').collect()).collect();
                let joined = |other: &&Node| {
                    known.iter().any(|fields| fields[0] == other.id && fields.get(7) == Some(&"connected"))
                };
                Ok(serves && nodes.iter().all(joined))
            })
            .await?;
        }
        Ok(())
    }

    /// A replica of a master, that has all of its data.
    async fn replica_of(&self, master: &Node) -> Result<Node> {
        let node = start_node().await?;
        self.meet(&node).await?;
        until("the replica to join", async || {
            Ok(node.server.command::<()>(&["CLUSTER", "REPLICATE", &master.id]).await.is_ok())
        })
        .await?;
        until("the replica to have caught up", async || {
            let info: String = node.server.command(&["INFO", "replication"]).await?;
            Ok(info.contains("master_link_status:up"))
        })
        .await?;
        for other in &self.masters {
            // A failover that others have not heard enough for comes to nothing.
            until("all to know the replica", async || {
                let known: Vec<String> = other.server.command(&["CLUSTER", "REPLICAS", &master.id]).await?;
                Ok(known.iter().any(|line| line.starts_with(&node.id)))
            })
            .await?;
        }
        self.until_joined(&[&node]).await?;
        Ok(node)
    }

    fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.masters[0].port, self.masters[1].port)
    }

    async fn redis(&self) -> Result<Redis> {
        Ok(Redis::open(&RedisUrls::single(self.url())).await?)
    }

    async fn slot(&self, key: &str) -> Result<u16> {
        self.masters[0].server.command(&["CLUSTER", "KEYSLOT", key]).await
    }

    /// Which master a key lives on.
    async fn home(&self, key: &str) -> Result<usize> {
        let share = SLOTS.div_ceil(self.masters.len() as u16);
        Ok(usize::from(self.slot(key).await? / share))
    }

    /// Cameras, so many on each master, those of a master together.
    async fn cameras(&self, each: usize) -> Result<Vec<CameraId>> {
        let mut by_home: Vec<Vec<CameraId>> = vec![Vec::new(); self.masters.len()];
        for i in 0.. {
            let name = format!("cam{i}");
            let home = &mut by_home[self.home(&name).await?];
            if home.len() < each {
                home.push(cam(&name));
            }
            if by_home.iter().all(|home| home.len() == each) {
                break;
            }
        }
        Ok(by_home.concat())
    }

    /// Moves a slot with all its keys, as `redis-cli --cluster reshard` does.
    async fn migrate(&self, slot: u16, from: usize, to: usize) -> Result<()> {
        let (from, to, slot) = (&self.masters[from], &self.masters[to], slot.to_string());
        let () = to.server.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id]).await?;
        let () = from.server.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id]).await?;
        loop {
            let keys: Vec<String> = from.server.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).await?;
            let Some(key) = keys.first() else { break };
            let port = to.port.to_string();
            let () = from.server.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await?;
            // Long enough for commands to come between two keys.
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        for node in [to, from] {
            let () = node.server.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.id]).await?;
        }
        Ok(())
    }
}

async fn start_node() -> Result<Node> {
    let (server, [port, bus_port]) = on_free_ports(|[port, bus_port]| {
        let (port, bus_port) = (port.to_string(), bus_port.to_string());
        let arguments = [
            ["--port", &port],
            ["--cluster-port", &bus_port],
            ["--bind", "127.0.0.1"],
            ["--cluster-enabled", "yes"],
            ["--cluster-require-full-coverage", "no"],
            // A busy machine must not look like a dead node.
            ["--cluster-node-timeout", "15000"],
            ["--repl-diskless-sync-delay", "0"],
            ["--save", ""],
            ["--appendonly", "no"],
        ];
        arguments.concat().into_iter().map(str::to_owned).collect()
    })
    .await?;
    let id = server.command(&["CLUSTER", "MYID"]).await?;
    Ok(Node { server, port, bus_port, id })
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await? {
        ensure!(Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_serves_cameras_on_all_its_nodes() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let redis = cluster.redis().await?;
    let cameras = cluster.cameras(2).await?;

    // What is shared by all, each somewhere.
    let config: CameraConfig = serde_json::from_value(
        serde_json::json!({ "id": cameras[0].as_str(), "source": { "uri": "synthetic:road" } }),
    )?;
    let mut control = redis.control();
    cluster.masters[cluster.home(keys::CONTROL).await?].server.until_blocked(1).await?;
    assert!(redis.put_camera(&config).await?);
    let woken = tokio::time::timeout(BLOCK, control.next()).await??;
    assert_eq!(woken, [Wake::CameraChanged { camera: cameras[0].clone() }]);
    assert_eq!(redis.cameras().await?.cameras.len(), 1);
    redis.ping().await?;

    // Two workers share cameras that live on three nodes.
    // Requests to hand over are seen when leases are renewed: after a quarter of their time.
    let ttl = Duration::from_secs(4);
    let worker = |name: &str| Balance::new(&redis, Role::Processor, WorkerId::new(name), ttl);
    let (mut a, mut b) = (worker("a"), worker("b"));
    settle(&mut [&mut a], &cameras, vec![6]).await?;
    settle(&mut [&mut a, &mut b], &cameras, vec![3, 3]).await?;
    assert!(redis.holders(Role::Processor, &cameras).await?.iter().all(Option::is_some));
    a.leave().await?;
    b.leave().await?;

    // One reader for all frames, one for all results, one for all pictures.
    let (mut results, mut previews) = (ResultReader::new(&redis), PreviewReader::new(&redis));
    let mut frames = FrameReader::new(&redis);
    let (mut writers, mut chains) = (Vec::new(), Vec::new());
    for camera in &cameras {
        writers.push(writer(&redis, camera, Flow::Live { queue: 8 }).await?);
        chains.push(Chain::take(&redis, camera, "a").await?);
        frames.follow(camera, chains[chains.len() - 1].at, usize::MAX);
        assert!(results.join(camera).await?.is_none());
        previews.follow(camera, FrameId::ZERO);
    }
    for round in 0..3 {
        for writer in &mut writers {
            assert!(matches!(write(writer, round).await?, Published::Written { .. }));
        }
        let mut seen = 0;
        while seen < cameras.len() {
            for arrival in frames.read(BLOCK).await? {
                let Arrival::Frame(frame) = arrival else { panic!("{arrival:?}") };
                let at = cameras.iter().position(|camera| *camera == frame.camera).unwrap();
                redis.put_preview(&frame.camera, frame.id, SIZE, b"jpeg", false, 10).await?;
                let _ = chains[at].intake.see(&frame.header);
                let outcome = chains[at].commit(frame.id, &frame.header).await?;
                assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
                seen += 1;
            }
        }
        let (mut got, mut shown) = (0, 0);
        while got < cameras.len() {
            got += results.read(BLOCK).await?.len();
        }
        while shown < cameras.len() {
            shown += previews.read(BLOCK).await?.len();
        }
        assert_eq!((seen, got, shown), (6, 6, 6));
    }

    // Questions about many cameras.
    let progress = redis.progress(&cameras).await?;
    assert!(progress.iter().all(|progress| (progress.backlog, progress.results) == (0, 3)), "{progress:?}");
    redis.put_source_state(&cameras[5], &SourceState::default()).await?;
    let states = redis.source_states(&cameras).await?;
    assert_eq!(
        states.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, false, false, false, false, true]
    );
    redis.watch(&cameras[3], 640, TTL).await?;
    assert_eq!(redis.watched(&cameras).await?[3], [640]);

    // A waker ends the wait for all of them.
    let waker = frames.waker();
    let began = Instant::now();
    let (read, ()) = tokio::join!(frames.read(BLOCK), async { waker.wake() });
    assert!(read?.is_empty() && began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn file_survives_the_migration_of_its_slot() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let redis = cluster.redis().await?;
    let (slot, from) = (cluster.slot("c").await?, cluster.home("c").await?);
    let migrate = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.migrate(slot, from, (from + 1) % 3).await
    };
    file_survives(&redis, migrate).await?;
    let there: u16 = cluster.masters[(from + 1) % 3]
        .server
        .command(&["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()])
        .await?;
    assert!(there >= 4, "{there} keys");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn file_survives_a_failover_within_the_cluster() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let master = &cluster.masters[cluster.home("c").await?];
    let replica = cluster.replica_of(master).await?;
    let redis = cluster.redis().await?;
    let failover = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let () = replica.server.command(&["CLUSTER", "FAILOVER"]).await?;
        until("the failover", async || {
            Ok(replica.server.command::<String>(&["INFO", "replication"]).await?.contains("role:master"))
        })
        .await
    };
    file_survives(&redis, failover).await
}

#[tokio::test(flavor = "multi_thread")]
async fn cameras_of_other_nodes_go_on_while_one_is_away() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let redis = cluster.redis().await?;
    let cameras = cluster.cameras(1).await?;
    // The node of what all share stays.
    let victim = (cluster.home(keys::workers(Role::Processor)).await? + 1) % 3;
    let (away, there) = (&cameras[victim], &cameras[(victim + 1) % 3]);
    let mut worker = Balance::new(&redis, Role::Processor, WorkerId::new("w"), TTL);
    settle(&mut [&mut worker], &cameras, vec![3]).await?;
    worker.leave().await?;
    let mut lost_writer = writer(&redis, away, Flow::Live { queue: 8 }).await?;
    let mut writer = writer(&redis, there, Flow::Live { queue: 8 }).await?;
    write(&mut lost_writer, 0).await?;
    let mut chain = Chain::take(&redis, there, "a").await?;
    chain.reader.follow(away, chain.at, usize::MAX);
    let mut seen = Vec::new();
    while seen.is_empty() {
        seen = chain.reader.read(BLOCK).await?;
    }
    cluster.masters[victim].server.kill()?;

    for position in 0..5 {
        let lost = write(&mut lost_writer, position + 1).await?;
        assert!(matches!(lost, Published::Dropped(_) | Published::Unanswered), "{lost:?}");
        let written = write(&mut writer, position).await?;
        assert!(matches!(written, Published::Written { .. }), "{written:?}");
        assert_eq!(chain.run(1, BLOCK).await?, 1);
    }
    assert_eq!(numbers(&redis, there).await?, [1, 2, 3, 4, 5]);
    let holders = redis.holders(Role::Processor, &[away.clone(), there.clone()]).await?;
    assert!(holders[0].is_none() && holders[1].is_some(), "{holders:?}");
    // What can be held is held, and what cannot be seen is not taken for free.
    let tick = worker.tick(&cameras, true).await?;
    assert!(tick.taken.iter().all(|grant| grant.lease.camera != *away));
    let error = redis.holders(Role::Processor, std::slice::from_ref(away)).await.err().context("away")?;
    assert!(error.is_transient(), "{error}");

    cluster.masters[victim].server.run().await?;
    until("the node to serve again", async || Ok(redis.checkpoint(away).await.is_ok())).await?;
    let mut again = Chain::take(&redis, away, "b").await?;
    let deadline = Instant::now() + BLOCK;
    while !matches!(write(&mut lost_writer, 10).await?, Published::Written { .. }) {
        assert!(Instant::now() < deadline, "frames are dropped for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(again.run(1, BLOCK).await?, 1);
    Ok(())
}

#[tokio::test]
async fn node_that_does_not_know_all_slots_is_believed() -> Result<()> {
    // Each has half of the slots, and they have not met.
    let nodes = [start_node().await?, start_node().await?];
    for (node, [first, last]) in nodes.iter().zip([["0", "8191"], ["8192", "16383"]]) {
        let () = node.server.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await?;
    }
    for node in &nodes {
        until("the node to serve", async || {
            Ok(node.server.command::<String>(&["CLUSTER", "INFO"]).await?.contains("cluster_state:ok"))
        })
        .await?;
    }
    let cluster = Cluster { masters: nodes.into() };
    let redis = cluster.redis().await?;
    for camera in cluster.cameras(1).await? {
        redis.put_source_state(&camera, &SourceState::default()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn setting_of_one_node_is_not_looked_at() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let redis = cluster.redis().await?;
    let evicts = Danger { server: ServerRole::State, kind: DangerKind::Evicts };
    assert!(!redis.dangers().await?.contains(&evicts));
    for node in &cluster.masters {
        let set = async |policy| node.server.command(&["CONFIG", "SET", "maxmemory-policy", policy]).await;
        let () = set("allkeys-lru").await?;
        assert!(redis.dangers().await?.contains(&evicts));
        let () = set("noeviction").await?;
    }
    assert!(!redis.dangers().await?.contains(&evicts));
    Ok(())
}

#[tokio::test]
async fn loss_of_what_all_share_is_not_noticed() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let redis = cluster.redis().await?;
    let cameras = cluster.cameras(1).await?;
    let slot = cluster.slot(keys::CAMERAS).await?;
    for key in [keys::MODELS, keys::CONTROL, keys::workers(Role::Processor), keys::workers(Role::Producer)] {
        assert_eq!(cluster.slot(key).await?, slot, "{key} is not lost with the cameras");
    }
    let mut worker = Balance::new(&redis, Role::Producer, WorkerId::new("w"), TTL);
    assert!(!worker.tick(&cameras, true).await?.forgotten);
    let home = cluster.home(keys::CAMERAS).await?;
    let () = cluster.masters[home].server.command(&["FLUSHALL"]).await?;
    assert!(worker.tick(&cameras, true).await?.forgotten);
    Ok(())
}

#[tokio::test]
async fn address_that_does_not_fit_the_server_is_told() -> Result<()> {
    let single = Server::start().await?;
    let (tcp, [port]) = on_free_ports(|[port]| vec!["--port".into(), port.to_string()]).await?;
    let told = async |url: String| {
        Redis::open(&RedisUrls::single(url)).await.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let text = told(format!("redis+cluster://u:secret@127.0.0.1:{port}")).await;
    assert!(!text.contains("secret"), "{text}");
    let text = told(format!("redis+cluster://127.0.0.1:{port}")).await;
    assert!(text.contains("single server") && text.contains("redis://host:port"), "{text}");
    drop((single, tcp));
    let node = start_node().await?;
    let text = told(node.server.url()).await;
    assert!(text.contains("a node of a cluster") && text.contains("redis+cluster://"), "{text}");
    let [nobody] = free_ports()?;
    let error = Redis::open(&RedisUrls::single(format!("redis+cluster://u:secret@127.0.0.1:{nobody}"))).await;
    let error = error.err().context("nobody is there")?;
    assert!(matches!(error, StreamError::Unreachable { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    Ok(())
}
