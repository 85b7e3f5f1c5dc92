//! Unit costs: what each operation of the protocol costs the Redis server. [docs/scale.md](../../docs/scale.md) is made of them.

use std::{collections::VecDeque, fmt::Write, net::TcpListener, thread, time::Duration};

use anyhow::{Context, Result, bail};
use peregrine_proto::{
    CameraConfig, CameraId, Detection, FrameHeader, FrameId, FrameResult, ResultStatus, SCHEMA, Size, Stage,
    StageTime, Subscribe, Track, TrackState, encode,
};
use peregrine_stack::{RedisOptions, Stack};
use peregrine_streams::{
    Acquired, Arrival, Balance, Commit, CommitOutcome, Flow, FrameReader, FrameWriter, Intake, Lease,
    Published, Redis, RedisUrls, ResultReader, Role, SourceState, WorkerId, keys, wall_clock_us,
};
use serde::Serialize;

use crate::{client::Client, cpu};

/// Measures what each operation costs the Redis server, over TCP as in a cluster: CPU time of its main thread, which is the one
/// that a shard has, bytes in and out, memory, connections. Through the library that the daemons use, on a private server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each operation of one camera is done.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    times: u32,
    /// Numbers of cameras to look at in one go, for what every worker does once a second.
    #[arg(long, value_delimiter = ',', default_value = "100,1000,10000")]
    cameras: Vec<usize>,
    /// Numbers of streams that one blocking read waits for.
    #[arg(long, value_delimiter = ',', default_value = "1,20,100")]
    streams: Vec<usize>,
    /// Print all figures as JSON.
    #[arg(long)]
    json: bool,
}

/// The picture: 416x234 I420 is 146 KB.
const SIZE: Size = Size { width: 416, height: 234 };
/// A live camera's queue.
const QUEUE: u32 = 8;
/// A result with some ten objects, and the state of as many tracks with their speeds.
const RESULT_BYTES: usize = 1500;
const STATE_BYTES: usize = 8 * 1024;
const TTL: Duration = Duration::from_secs(3);
const BLOCK: Duration = Duration::from_secs(1);
/// Parts of each measurement, of which the median counts.
const BATCHES: u32 = 5;

#[derive(Debug, Default, Serialize)]
struct Units {
    operations: Vec<Cost>,
    memory: Vec<(String, u64)>,
    connections: Vec<(String, i64)>,
}

/// What one operation costs.
#[derive(Debug, Serialize)]
struct Cost {
    operation: String,
    /// CPU time of the server's main thread, microseconds.
    server_us: f64,
    /// CPU time of whoever asks, microseconds.
    client_us: f64,
    /// Bytes that the server receives.
    bytes_in: f64,
    /// Bytes that it sends.
    bytes_out: f64,
}

pub(crate) fn run(args: &Args) -> Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let units = Units {
        operations: runtime.block_on(operations(args))?,
        memory: runtime.block_on(memory())?,
        connections: runtime.block_on(connections())?,
    };
    if args.json { Ok(serde_json::to_string_pretty(&units)?) } else { table(&units) }
}

// --- A server, and what it says of itself ---------------------------------------------------------------------------

/// A private Redis that listens on a port of this machine.
struct Server {
    _stack: Stack,
    connection: redis::Connection,
    urls: RedisUrls,
}

/// The server's counters at one moment.
#[derive(Clone, Copy)]
struct Counters {
    cpu_us: f64,
    client_cpu: Duration,
    bytes_in: f64,
    bytes_out: f64,
}

impl Server {
    fn start() -> Result<Self> {
        let options = RedisOptions { maxmemory_mb: 4096, append_only: false };
        let stack = Stack::builder().producer(false).processors(0).redis(options).start()?;
        let mut connection = redis::Client::open(stack.redis_urls().state)?.get_connection()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut set = |key: &str, value: &str| {
            redis::cmd("CONFIG").arg("SET").arg(key).arg(value).exec(&mut connection)
        };
        set("bind", "127.0.0.1")?;
        set("port", &port.to_string())?;
        Ok(Self { _stack: stack, connection, urls: RedisUrls::single(format!("redis://127.0.0.1:{port}")) })
    }

    async fn client(&self) -> Result<Redis> {
        Ok(Redis::open(&self.urls).await?)
    }

    fn counters(&mut self) -> Result<Counters> {
        let info: String = redis::cmd("INFO").arg("cpu").arg("stats").query(&mut self.connection)?;
        let seconds =
            number(&info, "used_cpu_user_main_thread")? + number(&info, "used_cpu_sys_main_thread")?;
        Ok(Counters {
            cpu_us: seconds * 1e6,
            client_cpu: cpu::of_this_thread()?,
            bytes_in: number(&info, "total_net_input_bytes")?,
            bytes_out: number(&info, "total_net_output_bytes")?,
        })
    }

    fn memory_of(&mut self, key: &str) -> Result<u64> {
        let mut usage = redis::cmd("MEMORY");
        let bytes: Option<u64> =
            usage.arg("USAGE").arg(key).arg("SAMPLES").arg(0).query(&mut self.connection)?;
        bytes.with_context(|| format!("there is no {key}"))
    }

    /// Does something so many times, in a few batches: what it cost each time, in the median batch.
    async fn cost(
        &mut self,
        operation: impl Into<String>,
        times: u32,
        mut work: impl AsyncFnMut() -> Result<()>,
    ) -> Result<Cost> {
        let (operation, times) = (operation.into(), times.div_ceil(BATCHES));
        eprintln!("{operation} …");
        let mut batches = Vec::new();
        for _ in 0..BATCHES {
            let before = self.counters()?;
            for _ in 0..times {
                work().await?;
            }
            let after = self.counters()?;
            let each = |total: f64| total / f64::from(times);
            batches.push(Cost {
                operation: operation.clone(),
                server_us: each(after.cpu_us - before.cpu_us),
                client_us: each((after.client_cpu - before.client_cpu).as_secs_f64() * 1e6),
                bytes_in: each(after.bytes_in - before.bytes_in),
                bytes_out: each(after.bytes_out - before.bytes_out),
            });
        }
        batches.sort_by(|a, b| a.server_us.total_cmp(&b.server_us));
        Ok(batches.swap_remove(batches.len() / 2))
    }
}

fn number(info: &str, field: &str) -> Result<f64> {
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("INFO has no {field}"))?.trim().parse()?)
}

impl Cost {
    /// What is left without another operation that was done along with it.
    fn without(mut self, other: &Self) -> Self {
        self.server_us -= other.server_us;
        self.client_us -= other.client_us;
        self.bytes_in -= other.bytes_in;
        self.bytes_out -= other.bytes_out;
        self
    }
}

// --- What is done for each frame of each camera ---------------------------------------------------------------------

async fn operations(args: &Args) -> Result<Vec<Cost>> {
    let mut costs = of_one_camera(args).await?;
    for &cameras in &args.cameras {
        costs.extend(of_all_cameras(cameras).await?);
    }
    Ok(costs)
}

async fn of_one_camera(args: &Args) -> Result<Vec<Cost>> {
    let mut server = Server::start()?;
    let redis = server.client().await?;
    let (camera, worker) = (CameraId::new("camera-0")?, WorkerId::new("bench"));
    let lease = lease(&redis, Role::Producer, &camera, &worker).await?;
    let mut writer = FrameWriter::open(&redis, &lease, Flow::Live { queue: QUEUE }).await?;
    let pixels = pixels();
    let mut costs = Vec::new();
    for &streams in &args.streams {
        let mut reader = FrameReader::new(&redis);
        for other in 1..streams {
            reader.follow(&CameraId::new(&format!("camera-{other}"))?, FrameId::ZERO, usize::MAX);
        }
        // Each time anew: what else the machine does changes.
        let publishing = publishing(&mut server, args.times, &mut writer, &pixels).await?;
        let newest = publish(&mut writer, &pixels).await?;
        reader.follow(&camera, newest, usize::MAX);
        let both = server
            .cost(format!("read a frame, waiting for {streams} streams"), args.times, async || {
                // The reader first, so that it waits when the frame comes.
                let (arrived, published) = tokio::join!(reader.read(BLOCK), publish(&mut writer, &pixels));
                published?;
                match arrived?.as_slice() {
                    [Arrival::Frame(_)] => Ok(()),
                    other => bail!("{} entries read instead of one frame", other.len()),
                }
            })
            .await?;
        costs.push(both.without(&publishing));
    }
    let publishing = publishing(&mut server, args.times, &mut writer, &pixels).await?;

    // From here on the frames are written before, and none is dropped.
    let lease = self::lease(&redis, Role::Processor, &camera, &worker).await?;
    let (mut expected, mut intake) = (FrameId::ZERO, Intake::default());
    let (result, state) = (result(), state());
    let mut commit = async |id: Option<FrameId>| -> Result<()> {
        let id = id.context("there are too few frames")?;
        intake.n += 1;
        let outcome = redis
            .commit(&Commit {
                lease: &lease,
                id,
                expected,
                intake: &intake,
                state: &state,
                result: &result,
                results_kept: 1000,
            })
            .await?;
        expected = id;
        match outcome {
            CommitOutcome::Committed { .. } => Ok(()),
            other => bail!("a commit led to {other:?}"),
        }
    };
    let mut writer = waiting_writer(&redis, &camera, &worker).await?;
    let mut frames = backlog(&mut writer, args.times, &pixels).await?;
    let committing = server
        .cost("commit a result (1.5 KB) and state (8 KB)", args.times, async || {
            commit(frames.pop_front()).await
        })
        .await?;

    for &streams in &args.streams {
        let mut reader = ResultReader::new(&redis);
        for other in 1..streams {
            reader.follow(&CameraId::new(&format!("camera-{other}"))?, FrameId::ZERO);
        }
        reader.join(&camera).await?;
        let mut frames = backlog(&mut writer, args.times, &pixels).await?;
        let both = server
            .cost(format!("read a result, waiting for {streams} streams"), args.times, async || {
                let (arrived, committed) = tokio::join!(reader.read(BLOCK), commit(frames.pop_front()));
                committed?;
                if arrived?.len() == 1 { Ok(()) } else { bail!("a result was not read") }
            })
            .await?;
        costs.push(both.without(&committing));
    }

    let renewing = server
        .cost("renew a lease", args.times, async || redis.renew(&lease).await.map(drop).map_err(Into::into))
        .await?;
    let source = source_state();
    let telling = server
        .cost("tell a source's state", args.times, async || {
            redis.put_source_state(&camera, &source).await.map_err(Into::into)
        })
        .await?;
    costs.splice(0..0, [publishing, committing, renewing, telling]);
    Ok(costs)
}

// --- What every worker does once a second ---------------------------------------------------------------------------

async fn of_all_cameras(cameras: usize) -> Result<Vec<Cost>> {
    let mut server = Server::start()?;
    let redis = server.client().await?;
    let ids: Vec<CameraId> =
        (0..cameras).map(|number| CameraId::new(&format!("camera-{number}"))).collect::<Result<_, _>>()?;
    let (other, long) = (WorkerId::new("other"), Duration::from_secs(3600));
    for id in &ids {
        redis.put_camera(&camera(id)?).await?;
        redis.put_source_state(id, &source_state()).await?;
        for role in [Role::Producer, Role::Processor] {
            if let Acquired::Refused { holder, .. } = redis.acquire(role, id, &other, long).await? {
                bail!("camera {id} is held by {holder}");
            }
        }
    }
    let times = u32::try_from(200_000 / cameras.max(1))?.clamp(20, 500);
    let listing = server
        .cost(format!("list {cameras} cameras"), times, async || {
            redis.cameras().await.map(drop).map_err(Into::into)
        })
        .await?;
    // All cameras are somebody else's: what is left is the looking.
    let mut balance = Balance::new(&redis, Role::Processor, WorkerId::new("bench"), TTL);
    let looking = server
        .cost(format!("look who holds {cameras} cameras"), times, async || {
            let tick = balance.tick(&ids, true).await?;
            if tick.taken.is_empty() { Ok(()) } else { bail!("cameras were taken") }
        })
        .await?;
    let showing = server
        .cost(format!("a gateway's look at {cameras} cameras"), times, async || {
            redis.cameras().await?;
            redis.source_states(&ids).await?;
            redis.holders(Role::Producer, &ids).await?;
            redis.holders(Role::Processor, &ids).await?;
            redis.progress(&ids).await?;
            Ok(())
        })
        .await?;
    Ok(vec![listing, looking, showing])
}

// --- Memory and connections -----------------------------------------------------------------------------------------

/// Bytes of a camera's keys, as `MEMORY USAGE` gives them.
async fn memory() -> Result<Vec<(String, u64)>> {
    const RESULTS: u64 = 1000;
    let mut server = Server::start()?;
    let redis = server.client().await?;
    let (id, worker) = (CameraId::new("camera-0")?, WorkerId::new("bench"));
    redis.put_camera(&camera(&id)?).await?;
    redis.put_source_state(&id, &source_state()).await?;
    let producer = lease(&redis, Role::Producer, &id, &worker).await?;
    let processor = lease(&redis, Role::Processor, &id, &worker).await?;
    let mut writer = FrameWriter::open(&redis, &producer, Flow::Live { queue: QUEUE }).await?;
    let pixels = pixels();
    let (mut expected, mut intake) = (FrameId::ZERO, Intake::default());
    let (result, state) = (result(), state());
    for _ in 0..RESULTS {
        let frame = publish(&mut writer, &pixels).await?;
        intake.n += 1;
        let commit = Commit {
            lease: &processor,
            id: frame,
            expected,
            intake: &intake,
            state: &state,
            result: &result,
            results_kept: RESULTS,
        };
        redis.commit(&commit).await?;
        expected = frame;
    }
    for _ in 0..QUEUE {
        publish(&mut writer, &pixels).await?;
    }
    let leases = server.memory_of(&keys::lease(Role::Producer, &id))?
        + server.memory_of(&keys::lease(Role::Processor, &id))?;
    Ok(vec![
        (format!("{QUEUE} frames of {} bytes", pixels.len()), server.memory_of(&keys::frames(&id))?),
        ("each result kept".into(), server.memory_of(&keys::results(&id))? / RESULTS),
        ("checkpoint".into(), server.memory_of(&keys::checkpoint(&id))?),
        ("both leases".into(), leases),
        ("source state".into(), server.memory_of(&keys::source(&id))?),
        ("configuration".into(), server.memory_of(keys::CAMERAS)?),
    ])
}

/// Connections that each daemon holds to Redis: how many fewer there are when it has ended.
async fn connections() -> Result<Vec<(String, i64)>> {
    eprintln!("connections …");
    let stack = Stack::builder()
        .cameras((1..=2).map(|n| camera(&CameraId::new(&format!("file-{n}"))?)).collect::<Result<_>>()?)
        .gateway(0)
        .model("simulated:10")
        .start()?;
    // A gateway that nobody watches makes fewer.
    let everything = Subscribe { results: true, preview_width: Some(320), ..Subscribe::default() };
    let _client = Client::subscribe(&stack, everything).await?;
    let mut connection = redis::Client::open(stack.redis_urls().state)?.get_connection()?;
    let mut before = settled(&mut connection)?;
    let mut connections = Vec::new();
    for (daemon, what) in
        [("gateway", "gateway"), ("producer", "producer of two files"), ("processor-1", "processor")]
    {
        stack.stop(daemon)?;
        let after = settled(&mut connection)?;
        connections.push((what.to_owned(), before - after));
        before = after;
    }
    Ok(connections)
}

/// The number of connections once it stays the same: some are made only when they are needed, some take a while to go.
fn settled(connection: &mut redis::Connection) -> Result<i64> {
    const STEADY: usize = 8;
    let mut same = (0, 0);
    while same.1 < STEADY {
        thread::sleep(Duration::from_millis(500));
        let info: String = redis::cmd("INFO").arg("clients").query(connection)?;
        let now = number(&info, "connected_clients")? as i64;
        same = if now == same.0 { (now, same.1 + 1) } else { (now, 0) };
    }
    Ok(same.0)
}

// --- What is written ------------------------------------------------------------------------------------------------

async fn lease(redis: &Redis, role: Role, camera: &CameraId, worker: &WorkerId) -> Result<Lease> {
    match redis.acquire(role, camera, worker, TTL).await? {
        Acquired::Granted(grant) => Ok(grant.lease),
        Acquired::Refused { holder, .. } => bail!("camera {camera} is held by {holder}"),
    }
}

async fn publish(writer: &mut FrameWriter, pixels: &[u8]) -> Result<FrameId> {
    match writer.publish(&mut header(), pixels).await? {
        Published::Written { id, .. } => Ok(id),
        other => bail!("a frame was not written: {other:?}"),
    }
}

async fn publishing(
    server: &mut Server,
    times: u32,
    writer: &mut FrameWriter,
    pixels: &[u8],
) -> Result<Cost> {
    server.cost("publish a frame", times, async || publish(writer, pixels).await.map(drop)).await
}

/// A writer whose frames stay until they are committed.
async fn waiting_writer(redis: &Redis, camera: &CameraId, worker: &WorkerId) -> Result<FrameWriter> {
    let lease = lease(redis, Role::Producer, camera, worker).await?;
    Ok(FrameWriter::open(redis, &lease, Flow::Live { queue: u32::MAX }).await?)
}

/// Writes as many frames as are then committed, oldest first.
async fn backlog(writer: &mut FrameWriter, times: u32, pixels: &[u8]) -> Result<VecDeque<FrameId>> {
    let mut frames = VecDeque::new();
    // The batches of a measurement are equal: they may take a few more.
    for _ in 0..times + BATCHES {
        frames.push_back(publish(writer, pixels).await?);
    }
    Ok(frames)
}

fn header() -> FrameHeader {
    let now_us = wall_clock_us();
    FrameHeader {
        media_time_us: now_us,
        captured_at_us: now_us,
        ..FrameHeader::of_picture(Size { width: 1920, height: 1080 }, SIZE)
    }
}

/// As many bytes as a picture has; Redis does not care which.
fn pixels() -> Vec<u8> {
    let bytes = header().data_len();
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

fn state() -> Vec<u8> {
    (0..STATE_BYTES).map(|at| (at % 241) as u8).collect()
}

/// A result with as many objects as make it as large as results are.
pub(crate) fn result() -> FrameResult {
    let head = header();
    let stages = [Stage::Decode, Stage::Resize, Stage::Read, Stage::Preprocess, Stage::Infer, Stage::Track];
    let mut result = FrameResult {
        schema: SCHEMA,
        n: 1,
        inc: 1,
        position: 0,
        media_time_us: head.media_time_us,
        captured_at_us: head.captured_at_us,
        status: ResultStatus::Ok,
        reason: None,
        source: head.source,
        track_epoch: 1,
        detections: Vec::new(),
        tracks: Vec::new(),
        stages: stages.map(|stage| StageTime { stage, us: 1234 }).to_vec(),
        worker: "processor-1".into(),
        lost: Vec::new(),
        notices: Vec::new(),
    };
    while encode(&result).len() < RESULT_BYTES {
        let at = result.detections.len() as f32;
        let (xyxy, confidence) = ([at * 40.0 + 0.3, 10.7, at * 40.0 + 30.1, 80.9], 0.83);
        result.detections.push(Detection { xyxy, confidence, class_id: 0 });
        result.tracks.push(Track {
            track_id: result.tracks.len() as u32,
            state: TrackState::Tracked,
            xyxy,
            confidence,
            class_id: 0,
            detection: Some(result.tracks.len() as u16),
            ground_m: None,
            speed: None,
            in_region: true,
            class_share: None,
        });
    }
    result
}

fn source_state() -> SourceState {
    SourceState {
        size: Some(Size { width: 1920, height: 1080 }),
        analysed: Some(SIZE),
        fps: 5.0,
        position: Some(123_456),
        first_n: 1,
        published: 123_456,
        fingerprint: format!("sha256:{}", "0".repeat(64)),
        worker: "producer-1".into(),
        updated_us: wall_clock_us(),
        ..SourceState::default()
    }
}

/// A camera as its configuration stands in Redis.
fn camera(id: &CameraId) -> Result<CameraConfig> {
    Ok(serde_json::from_value(serde_json::json!({
        "id": id,
        "name": format!("Entrance {id}"),
        "source": { "uri": "synthetic:road?w=160&h=96&fps=5" },
        "analysis": { "size": SIZE, "classes": ["person", "car"] },
    }))?)
}

fn table(units: &Units) -> Result<String> {
    let mut out = format!("{:<48} server µs   client µs    bytes in   bytes out\n", "each");
    for cost in &units.operations {
        writeln!(
            out,
            "{:<48} {:9.1} {:11.0} {:11.0} {:11.0}",
            cost.operation, cost.server_us, cost.client_us, cost.bytes_in, cost.bytes_out
        )?;
    }
    out += "\nbytes of memory, by camera\n";
    for (what, bytes) in &units.memory {
        writeln!(out, "{what:<48} {bytes:9}")?;
    }
    out += "\nconnections to Redis\n";
    for (what, count) in &units.connections {
        writeln!(out, "{what:<48} {count:9}")?;
    }
    Ok(out)
}
